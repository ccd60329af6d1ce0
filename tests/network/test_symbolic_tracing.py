"""torch.fx traces networks and blocks without any input; what it makes of them computes the same to the bit."""

import copy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torchvision.models.feature_extraction import create_feature_extractor

from resnest_edu import (
    Backbone,
    Bottleneck,
    CardinalityMajorSplitAttention,
    RadixMajorSplitAttention,
    ResNeSt,
    SelectiveKernel,
    SqueezeExcitation,
    Variant,
    create_model,
    rectify,
    to_cardinality_major,
)
from resnest_edu.blocks.resnext import AggregatedBottleneck, EarlyConcatenationBottleneck, GroupedBottleneck
from resnest_edu.network.resnest import VARIANTS
from resnest_edu.speed import accelerate
from tests.randomize import randomize_norms

DROPPING = {"dropblock": 0.1, "stochastic_depth": 0.1}
TINY = Variant((1, 1), planes=(8, 16), stem_width=8, cardinality=2)
SMALL = {
    "regularized": lambda: ResNeSt(TINY, 5, dropout=0.2, **DROPPING),
    "backbone": lambda: Backbone(TINY, output_stride=8),
    "rectified": lambda: rectify(ResNeSt(TINY, 5)),
    "network of groups": lambda: to_cardinality_major(ResNeSt(TINY, 5)),
    "bottleneck": lambda: Bottleneck(3, 16, stride=2, **DROPPING),
    "selective kernels": lambda: SelectiveKernel(3, 16, groups=1),
    "squeeze and excitation": lambda: SqueezeExcitation(3, 3),
    "radix-major": lambda: RadixMajorSplitAttention(3, 16, radix=3),
    "groups": lambda: CardinalityMajorSplitAttention(3, 16, radix=3),
    "gates": lambda: CardinalityMajorSplitAttention(3, 16, radix=1),
    "paths": lambda: AggregatedBottleneck(3, 16, cardinality=4),
    "early concatenation": lambda: EarlyConcatenationBottleneck(3, 16, cardinality=4, stride=2),
    "grouped": lambda: GroupedBottleneck(3, 16, cardinality=4),
}
FAMILY = {name: lambda name=name: create_model(name, 5) for name in VARIANTS}
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def slow(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow)


def outputs(found: Tensor | dict[str, Tensor]) -> Tensor:
    return torch.cat([one.flatten() for one in found.values()]) if isinstance(found, dict) else found


def assert_equal_bits(found: nn.Module, expected: nn.Module, training: bool) -> None:
    """Outputs, and the statistics that training moves."""
    results = []
    for network in (found, expected):
        torch.manual_seed(1)  # what is dropped
        results.append([network.train(training)(X), dict(network.state_dict())])
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("name", [*SMALL, *map(slow, VARIANTS)])
def test_what_is_traced_computes_the_same(name):
    model = randomize_norms((SMALL | FAMILY)[name]())
    for training in (True, False):
        model.train(training)
        assert_equal_bits(fx.symbolic_trace(copy.deepcopy(model)), model, training)


def test_an_accelerated_network_is_traced_as_the_reference():
    model = randomize_norms(ResNeSt(TINY, 5))
    for training in (True, False):
        assert_equal_bits(fx.symbolic_trace(accelerate(copy.deepcopy(model)).train(training)), model, training)


def test_features_are_extracted_by_name():
    model, seen = randomize_norms(ResNeSt(TINY, 5, **DROPPING)).eval(), {}
    names = ["layer1.0.bn1", "layer1.0.conv2.fc2", "layer2", "fc"]
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda *given, name=name: seen.update({name: given[-1]}))
    for network in (model, accelerate(copy.deepcopy(model))):
        features = create_feature_extractor(network, names)(X)
        model(X)
        assert all(torch.equal(features[name], seen[name]) for name in names)


@pytest.mark.filterwarnings("ignore")  # PyTorch announces another package for it
@pytest.mark.parametrize("name", ["groups", "selective kernels", *map(slow, ("rectified", "backbone"))])
@torch.no_grad()
def test_quantized_in_graph_mode(name):
    model = randomize_norms(SMALL[name]()).eval()
    observed = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping(), (X,))
    observed(X)
    found, expected = (outputs(network(X)) for network in (convert_fx(observed), model))
    assert 0 < (found - expected).norm() < 0.1 * expected.norm()
