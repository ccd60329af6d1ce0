"""One network at one cost, and in the middle of its blocks what the name says."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu import Bottleneck, ResNeSt, SelectiveKernel, SqueezeExcitation, to_cardinality_major
from resnest_edu.book.rivals import (
    CONTENDERS,
    IMAGE_SIZE,
    REFERENCE,
    Contender,
    PlainBottleneck,
    SelectiveKernelBottleneck,
    SqueezeExcitationBottleneck,
    _cost,
    create_contender,
    equal_cost_base_width,
)
from resnest_edu.data import ShapesDataset
from resnest_edu.network.costs import multiply_adds, parameter_count
from resnest_edu.network.resnest import VARIANTS
from resnest_edu.split_attention import RadixMajorSplitAttention
from tests.randomize import randomize
from tests.refused import assert_refused

# The result of the search: base width, inner width of each stage, parameters for 10 classes.
FOUND = {
    "ResNet": (64, (32, 64, 128), 901_226),
    "ResNeXt": (24, (48, 96, 192), 883_306),
    "SE": (64, (32, 64, 128), 989_146),
    "SK": (20, (40, 80, 160), 947_530),
    "1s1x": (64, (32, 64, 128), 930_922),
    "2s1x": (64, (32, 64, 128), 971_370),
    "4s1x": (64, (32, 64, 128), 1_122_090),
    "2s2x": (40, (40, 80, 160), 947_258),
    "1s4x": (24, (48, 96, 192), 898_474),
}
SPLIT = {"1s1x": (1, 1), "2s1x": (2, 1), "4s1x": (4, 1), "2s2x": (2, 2), "1s4x": (1, 4)}


def blocks(model: nn.Module) -> list[Bottleneck]:
    return [part for part in model.modules() if isinstance(part, Bottleneck)]


def test_all_cost_what_the_plain_network_does_and_no_other_width_is_nearer(without_norms, monkeypatch):
    allowed, target = multiply_adds(create_contender("ResNet", 10), 32), _cost(CONTENDERS["ResNet"], 64)
    for name, (base_width, widths, parameters) in FOUND.items():
        model = create_contender(name, 10)
        assert abs(multiply_adds(model, 32) / allowed - 1) < 0.03, name
        assert equal_cost_base_width(name) == base_width
        assert tuple(stage[0].conv1.out_channels for stage in (model.layer1, model.layer2, model.layer3)) == widths
        assert parameter_count(model) == parameters == sum(tensor.numel() for tensor in model.parameters())
    for name, others in {"ResNeXt": (23, 25), "SK": (19, 21), "2s2x": (36, 44)}.items():
        found = abs(_cost(CONTENDERS[name], equal_cost_base_width(name)) - target)
        assert all(abs(_cost(CONTENDERS[name], other) - target) > found for other in others), name
    kind = CONTENDERS["1s4x"]
    assert _cost(kind, 8) == multiply_adds(Contender(kind, 8), 32)
    asked = []
    monkeypatch.setattr("resnest_edu.book.rivals._cost", lambda kind, base_width, _: asked.append(base_width) or 1)
    for name in ("ResNet", "2s2x", "1s4x"):
        equal_cost_base_width.__wrapped__(name)
    assert asked == [64, 64, 64, 40, 64, 24]  # the reference, then 1x64d, 2x40d, 4x24d of ResNeXt's table 2


def test_multiply_adds_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, padding=1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.BatchNorm2d(12),  # in training it would refuse a single value
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    before = copy.deepcopy(model.state_dict())
    assert multiply_adds(model, 10) == 27 * 8 * 25 + 9 * 2 * 12 * 25 + 60
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and all(part.training for part in model.modules())
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("name", FOUND)
def test_the_rest_is_the_same(name):
    """What remains without the middles is the reference's, but for the width between the two 1×1 convolutions."""
    with torch.device("meta"):
        model, reference = create_contender(name, 10), ResNeSt(REFERENCE, 10)
    for part in (model, reference):
        for block in blocks(part):
            assert isinstance(block.dropblock, nn.Identity) and isinstance(block.stochastic_depth, nn.Identity)
            assert block.pool_first
            block.conv1, block.bn1, block.conv2, block.conv3 = (nn.Identity() for _ in range(4))
            block.__dict__["_modules"].pop("se", None)
            block.__class__ = Bottleneck
    model.__class__ = ResNeSt
    assert repr(model) == repr(reference)


@pytest.mark.parametrize("name", SPLIT)
def test_split_attention_has_the_radix_and_cardinality_of_its_name(name):
    radix, cardinality = SPLIT[name]
    for block in blocks(create_contender(name, 10)):
        assert type(block) is Bottleneck and type(block.conv2) is RadixMajorSplitAttention
        assert (block.conv2.radix, block.conv2.cardinality) == (radix, cardinality)
        width = block.conv1.out_channels
        assert block.conv2.conv.weight.shape == (radix * width, width // (radix * cardinality), 3, 3)


def norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)


def by_hand(block: Bottleneck, x: Tensor, middle: Tensor) -> Tensor:
    """The rest of the block, once its middle is known."""
    out = norm(block.bn3, F.conv2d(middle, block.conv3.weight))
    return (out + block.downsample(x)).relu()


def entrance(block: Bottleneck, x: Tensor) -> Tensor:
    """What reaches the middle."""
    return F.avg_pool2d(norm(block.bn1, F.conv2d(x, block.conv1.weight)).relu(), 3, 2, padding=1)


OPTIONS = {"stride": 2, "pool_first": True, "radix": 1}


@pytest.mark.parametrize(("groups", "dilation"), [(1, 1), (4, 1), (4, 2)])
def test_the_plain_block_has_a_convolution_in_the_middle(groups, dilation):
    block = PlainBottleneck(24, 32, cardinality=groups, base_width=16, dilation=dilation, **OPTIONS)
    block = randomize(block).double().eval()
    x = torch.randn(2, 24, 11, 8, dtype=torch.float64)
    weight = block.conv2.conv.weight
    assert weight.shape == (8 * groups, 8, 3, 3)
    z = F.conv2d(entrance(block, x), weight, padding=dilation, dilation=dilation, groups=groups)
    torch.testing.assert_close(block(x), by_hand(block, x, norm(block.conv2.bn0, z).relu()))
    assert list(block.conv2.state_dict())[:2] == ["conv.weight", "bn0.weight"]


def test_squeeze_excitation_gates_the_branch_before_the_shortcut():
    block = randomize(SqueezeExcitationBottleneck(24, 32, base_width=16, **OPTIONS)).double().eval()
    x = torch.randn(2, 24, 11, 8, dtype=torch.float64)
    z = norm(block.conv2.bn0, F.conv2d(entrance(block, x), block.conv2.conv.weight, padding=1)).relu()
    out = norm(block.bn3, F.conv2d(z, block.conv3.weight))
    hidden = F.linear(out.mean(dim=(2, 3)), block.se.fc1.weight.flatten(1), block.se.fc1.bias).relu()
    gate = F.linear(hidden, block.se.fc2.weight.flatten(1), block.se.fc2.bias).sigmoid()
    assert gate.std() > 0.1 and hidden.shape == (2, 128 // 16)
    torch.testing.assert_close(block(x), (out * gate[:, :, None, None] + block.downsample(x)).relu())
    assert type(block.se) is SqueezeExcitation


def test_the_selective_kernel_chooses_between_two_spans():
    block = randomize(SelectiveKernelBottleneck(24, 32, cardinality=4, base_width=16, **OPTIONS)).double().eval()
    x = torch.randn(2, 24, 11, 8, dtype=torch.float64)
    middle, z = block.conv2, entrance(block, x)
    assert type(middle) is SelectiveKernel and len(middle.branches) == 2
    branches = []
    for spacing, (conv, bn, _) in enumerate(middle.branches, start=1):
        branches.append(norm(bn, F.conv2d(z, conv.weight, padding=spacing, dilation=spacing, groups=4)).relu())
    context = (branches[0] + branches[1]).mean(dim=(2, 3), keepdim=True)
    hidden = norm(middle.bn1, F.conv2d(context, middle.fc1.weight)).relu()
    share = (F.conv2d(hidden, middle.fc2.weight)).unflatten(1, (2, 32)).softmax(dim=1)
    chosen = share[:, 0] * branches[0] + share[:, 1] * branches[1]
    torch.testing.assert_close(block(x), by_hand(block, x, chosen))


@pytest.mark.parametrize("name", FOUND)
def test_it_trains(name):
    torch.manual_seed(0)
    model = create_contender(name, 8)
    assert all(block.bn3.weight.eq(0).all() for block in blocks(model))  # each block starts as its shortcut
    images, labels = ShapesDataset(16).tensors()
    images = F.avg_pool2d(images.float() / 255 - 0.5, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_seed_fixes_the_weights_whether_or_not_the_search_has_been_made():
    states = []
    for _ in range(2):
        equal_cost_base_width.cache_clear()
        _cost.cache_clear()
        torch.manual_seed(1)
        states.append(create_contender("ResNeXt", 3).state_dict())
        torch.manual_seed(1)
        states.append(create_contender("ResNeXt", 3).state_dict())
    for state in states[1:]:
        assert all(torch.equal(tensor, state[name]) for name, tensor in states[0].items())


def test_layouts_leave_alone_what_has_no_split_attention():
    model = randomize(nn.Sequential(PlainBottleneck(8, 16, radix=1), Bottleneck(64, 16, cardinality=2))).double().eval()
    converted = to_cardinality_major(model)
    assert type(converted[0].conv2) is nn.Sequential and type(converted[1].conv2) is not RadixMajorSplitAttention
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(converted(x), model(x))


def test_bad_arguments():
    rows = [
        (("resnet",), r"^name \(='resnet'\) must be one of ResNet, ResNeXt, SE, SK, 1s1x, 2s1x, 4s1x, 2s2x, 1s4x; did"),
        (("SE", -1), r"^num_classes \(=-1\) must be an integer of at least 0"),
    ]
    assert_refused(lambda arguments: create_contender(*arguments), rows)


def test_another_reference_has_its_own_stages_and_its_own_cost(without_norms):
    small = VARIANTS["resnest11_small"]
    allowed = multiply_adds(create_contender("ResNet", 8, small), IMAGE_SIZE)
    assert allowed < _cost(CONTENDERS["ResNet"], REFERENCE.base_width) / 10
    for name in CONTENDERS:
        model = create_contender(name, 8, small)
        assert len(blocks(model)) == 3
        assert abs(multiply_adds(model, IMAGE_SIZE) / allowed - 1) < 0.03
