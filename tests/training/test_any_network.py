"""The loop trains whatever maps images to logits, and treats hooks, masks and own classes as PyTorch does."""

import copy
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import prune

from resnest_edu import Bottleneck, ResNeSt, Variant
from resnest_edu.speed import PerSplitBottleneck
from resnest_edu.training import train
from tests.training.small_runs import RECIPE, images, small_model

EAGER = replace(RECIPE, epochs=1, warmup_epochs=0, dropout=0, dropblock=0, stochastic_depth=0)


class Gated(Bottleneck):
    """A bottleneck with a gate of its own, which has to learn like everything else."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.gate = nn.Conv2d(self.conv3.out_channels, 1, 1)

    def branch(self, x: Tensor) -> Tensor:
        out = super().branch(x)
        return out * self.gate(out).sigmoid()


def own_block() -> nn.Module:
    torch.manual_seed(0)
    return ResNeSt(Variant((1, 1), (8, 16), stem_width=4), 2, block=Gated)


def pruned() -> nn.Module:
    model = small_model(drops=False)
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d):
            prune.random_unstructured(module, "weight", 0.5)
    return model


def run(model: nn.Module, *, accelerate: bool, **numbers: float) -> nn.Module:
    train(model, images(24, 0), images(8, 1), replace(EAGER, **numbers), accelerate=accelerate, progress=False)
    return model


@pytest.mark.parametrize("accelerate", [False, True])
def test_other_networks_learn(accelerate):
    torch.manual_seed(0)
    for model in (
        torchvision.models.resnet18(num_classes=2),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)),
        own_block(),
    ):
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        kinds = [type(module) for module in model.modules()]
        run(model, accelerate=accelerate)
        unchanged = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
        # Where the last norm's weight was zero, too little arrives in three steps to move a number near one.
        assert all("conv2" in name or name.endswith("bn1.weight") for name in unchanged)
        assert [type(module) for module in model.modules()] == kinds


def test_blocks_change_their_execution_only_when_asked():
    for accelerate in (False, True):
        model = run(small_model(drops=False), accelerate=accelerate)
        assert any(isinstance(module, PerSplitBottleneck) for module in model.modules()) is accelerate


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_pruned_network_stays_pruned(accelerate, ema):
    model = pruned()
    masks = {name: mask.clone() for name, mask in model.named_buffers() if name.endswith("mask")}
    assert masks
    before = copy.deepcopy(model.state_dict())
    run(model, accelerate=accelerate, ema=ema)
    after = model.state_dict()
    for name, mask in masks.items():
        original = name.removesuffix("mask") + "orig"
        assert torch.equal(after[name], mask)
        assert not torch.equal(after[original], before[original])


def test_hooks_of_a_network_that_trains_are_called():
    heard = {}
    for accelerate in (False, True):
        model, calls = small_model(drops=False), []
        for name, module in model.named_modules():
            module.register_forward_hook(lambda *_, name=name, calls=calls: calls.append(name))
        run(model, accelerate=accelerate, ema=0)
        heard[accelerate] = calls
    assert heard[True] == heard[False] and len(set(calls)) > 20
