import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import resnest_edu
from resnest_edu.resnest import VARIANTS, Bottleneck, ResNeSt, Variant

# Parameters, state-dict keys, and multiply-adds at 224 pixels in units of 10⁹, of the published networks.
FAMILY = {
    "resnest14": (10_611_688, 152, 2.749),
    "resnest26": (17_069_448, 260, 3.623),
    "resnest50": (27_483_240, 476, 5.371),
    "resnest101": (48_275_016, 935, 10.201),
    "resnest200": (70_201_544, 1826, 17.408),
    "resnest269": (110_929_480, 2447, 22.434),
    "resnest50_fast_1s1x64d": (26_217_896, 476, 4.329),
    "resnest50_fast_2s1x64d": (27_483_240, 476, 4.331),
    "resnest50_fast_4s1x64d": (31_912_712, 476, 4.335),
    "resnest50_fast_1s2x40d": (25_946_680, 476, 4.365),
    "resnest50_fast_2s2x40d": (26_943_792, 476, 4.366),
    "resnest50_fast_4s2x40d": (30_417_592, 476, 4.369),
    "resnest50_fast_1s4x24d": (25_677_000, 476, 4.400),
}


def test_every_variant_is_held_to_a_figure():
    assert set(resnest_edu.list_models()) == set(FAMILY) | {"resnest11_small"}


@pytest.mark.parametrize("name", FAMILY)
def test_parameters_keys_and_multiply_adds(name):
    with torch.device("meta"):
        model = resnest_edu.create_model(name).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    parameters, keys, giga_multiply_adds = FAMILY[name]
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.state_dict()) == keys
    assert round(counter.get_total_flops() / 2e9, 3) == giga_multiply_adds


@pytest.mark.parametrize(
    ("name", "timm_name"),
    [
        ("resnest14", "resnest14d"),
        ("resnest50", "resnest50d"),
        ("resnest101", "resnest101e"),
        ("resnest50_fast_4s2x40d", "resnest50d_4s2x40d"),
        ("resnest50_fast_1s4x24d", "resnest50d_1s4x24d"),
    ],
)
def test_equals_timm_on_the_same_weights(name, timm_name):
    torch.manual_seed(0)
    theirs = timm.create_model(timm_name).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = resnest_edu.create_model(name).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 97, 64)
    with torch.no_grad():
        expected = theirs(x)
        difference = (ours(x) - expected).norm() / expected.norm()
    assert difference < 1e-5


def test_every_block_of_a_fresh_network_starts_as_its_shortcut():
    for module in resnest_edu.create_model("resnest14").modules():
        if isinstance(module, Bottleneck):
            assert module.bn3.weight.eq(0).all()


def test_each_stage_but_the_first_halves_the_size():
    model = resnest_edu.create_model("resnest11_small", 5).eval()
    shapes = []
    for name in ("maxpool", "layer1", "layer2", "layer3"):
        model.get_submodule(name).register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[1:]))
    assert model(torch.rand(2, 3, 64, 48)).shape == (2, 5)
    assert shapes == [(32, 16, 12), (64, 16, 12), (128, 8, 6), (256, 4, 3)]


def test_every_parameter_gets_a_gradient():
    model = ResNeSt(VARIANTS["resnest11_small"], 4)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.ones_(module.bn3.weight)  # with its zero start, nothing inside the block gets one
    model(torch.rand(4, 3, 32, 32)).square().sum().backward()
    # A bias or scale in front of a batch norm is without effect, so its gradient is zero but for rounding.
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnest51",), r"name \(='resnest51'\) must be one of resnest11_small, "),
        (("resnest50", 0), r"num_classes \(=0\) must be an integer of at least 1"),
    ],
)
def test_create_model_with_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        resnest_edu.create_model(*arguments)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (Variant(()), r"blocks \(=\(\)\) and planes \(=.*\) must name the same stages, at least one"),
        (Variant((1, 1), (16,)), r"blocks \(=\(1, 1\)\) and planes \(=\(16,\)\) must name the same stages"),
        (Variant((0,), (16,)), r"blocks \(=\(0,\)\) must be integers of at least 1"),
    ],
)
def test_bad_variants(variant, message):
    with pytest.raises(ValueError, match=message):
        ResNeSt(variant)
