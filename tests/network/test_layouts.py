import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from resnest_edu import (
    Bottleneck,
    CardinalityMajorSplitAttention,
    RadixMajorSplitAttention,
    ResNeSt,
    Variant,
    create_model,
    rectify,
    to_cardinality_major,
    to_radix_major,
)
from resnest_edu.network.layouts import cardinality_major_order, radix_major_order
from tests.differentiate import differentiate
from tests.pairwise import pairwise
from tests.randomize import randomize
from tests.refused import assert_refused


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def same_states(one: nn.Module, other: nn.Module, compare=close) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert list(left) == list(right)
    for name in left:
        compare(left[name], right[name])


def bits(one: Tensor, other: Tensor) -> None:
    assert one.dtype == other.dtype
    assert torch.equal(one, other)


def test_the_two_orders():
    channels = torch.arange(12)  # K = 3, R = 2, two channels a split
    assert radix_major_order(channels, 2, 3, dim=0).tolist() == [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]
    assert cardinality_major_order(channels, 2, 3, dim=0).tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]
    features = torch.randn(2, 12, 3)  # by default the axis is 1
    bits(radix_major_order(features, 2, 3), features[:, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]])
    bits(cardinality_major_order(radix_major_order(features, 2, 3), 2, 3), features)


@pytest.mark.parametrize("order", [radix_major_order, cardinality_major_order])
def test_orders_with_bad_arguments(order):
    rows = [
        ((5, 2), r"^channels \(=12\) must be divisible by radix \* cardinality \(=10\)$"),
        ((0, 2), r"^radix \(=0\) must be an integer of at least 1$"),
        ((2, 0), r"^cardinality \(=0\) must be an integer of at least 1$"),
    ]
    assert_refused(lambda given: order(torch.arange(12), *given, dim=0), rows)


@pytest.mark.parametrize(("radix", "cardinality", "training"), pairwise((1, 2, 3, 4), (1, 2, 3, 4), (False, True)))
def test_a_bottleneck_computes_the_same_in_both_layouts(radix, cardinality, training):
    torch.manual_seed(10 * radix + cardinality)
    # 144 channels and an attention width of 36 R divide by every K and R here.
    width = 144 // cardinality
    block = Bottleneck(20, 64, stride=2, radix=radix, cardinality=cardinality, base_width=width)
    block = randomize(block.double()).train(training)
    other = to_cardinality_major(block)
    assert isinstance(other.conv2, CardinalityMajorSplitAttention)
    assert isinstance(block.conv2, RadixMajorSplitAttention)
    x = torch.randn(3, 20, 6, 5, dtype=torch.double)

    output, input_gradient, gradients = differentiate(block, x)
    other_output, other_input_gradient, other_gradients = differentiate(other, x)
    close(other_output, output)
    close(other_input_gradient, input_gradient)
    # The layouts differ by an order of channels, so gradients convert as weights do. This compares the running
    # statistics after the step as well.
    same_states(to_radix_major(other_gradients), gradients)
    same_states(to_cardinality_major(gradients), other_gradients)
    same_states(to_radix_major(other), block)


@given(
    radix=st.integers(1, 4),
    cardinality=st.integers(1, 4),
    c_in=st.integers(1, 3),
    c=st.integers(1, 3),
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_bare_split_attention_of_any_shape(radix, cardinality, c_in, c, kernel_size, stride, dilation, size, seed):
    batch, height, width = size
    torch.manual_seed(seed)
    in_channels = radix * cardinality * (c_in + 31 // (radix * radix * cardinality))  # the attention width exceeds 31
    block = RadixMajorSplitAttention(
        in_channels,
        cardinality * c,
        radix=radix,
        cardinality=cardinality,
        kernel_size=kernel_size,
        stride=stride,
        dilation=dilation,
        reduction=1,
    )
    block = randomize(block.double()).eval()
    x = torch.randn(batch, in_channels, height, width, dtype=torch.double)
    output, input_gradient, gradients = differentiate(block, x)
    other = to_cardinality_major(block)
    other_output, other_input_gradient, other_gradients = differentiate(
        other, cardinality_major_order(x, radix, cardinality)
    )
    close(other_output, output)
    close(radix_major_order(other_input_gradient, radix, cardinality), input_gradient)
    same_states(to_radix_major(other_gradients), gradients)


def test_the_round_trip_gives_back_the_same_bits():
    for radix, cardinality in itertools.product((1, 2, 3), (1, 2, 3)):
        block = randomize(Bottleneck(16, 64, radix=radix, cardinality=cardinality, base_width=144 // cardinality))
        there = to_cardinality_major(block)
        same_states(to_radix_major(there), block, bits)
        same_states(to_cardinality_major(to_radix_major(there)), there, bits)


def test_groups_that_counted_different_numbers_of_batches_are_refused():
    module = CardinalityMajorSplitAttention(8, 8, cardinality=2)
    module.groups[1].bn1.num_batches_tracked += 1
    with pytest.raises(ValueError, match=r"^bn1\.num_batches_tracked \(=0, 1\) must be the same in every part$"):
        to_radix_major(module)


def test_a_whole_network_converts():
    torch.manual_seed(0)
    variant = Variant((1, 2), planes=(32, 64), radix=2, cardinality=2, base_width=40, stem_width=8, pool_first=True)
    network = randomize(ResNeSt(variant, 5).double()).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # keep the logits of order one
            module.weight.data.mul_(0.5)
    other = to_cardinality_major(network)
    kinds = [type(block.conv2) for block in other.modules() if isinstance(block, Bottleneck)]
    assert kinds == [CardinalityMajorSplitAttention] * 3
    x = torch.randn(2, 3, 33, 40, dtype=torch.double)
    output, input_gradient, gradients = differentiate(network, x)
    other_output, other_input_gradient, other_gradients = differentiate(other, x)
    assert output.abs().max() > 1e-2
    close(other_output, output)
    close(other_input_gradient, input_gradient)
    same_states(to_radix_major(other_gradients), gradients)
    same_states(to_radix_major(other), network, bits)


def test_what_has_the_layout_already_is_copied():
    network = create_model("resnest11_small", 3)
    copied = to_radix_major(network)
    same_states(copied, network, bits)
    assert all(one is not other for one, other in zip(copied.parameters(), network.parameters(), strict=True))
    block = RadixMajorSplitAttention(8, 8)
    assert to_radix_major(block) is not block
    same_states(to_radix_major(block), block, bits)
    there = to_cardinality_major(network)
    same_states(to_cardinality_major(there), there, bits)


@pytest.mark.parametrize("convert", [to_cardinality_major, to_radix_major])
def test_the_original_stays_as_it_was_and_gradients_do_not_travel(convert):
    block = randomize(Bottleneck(16, 64, cardinality=2))
    if convert is to_radix_major:
        block = to_cardinality_major(block)
    block(torch.randn(2, 16, 4, 4)).sum().backward()
    before, random_state = copy.deepcopy(block), torch.get_rng_state()
    result = convert(block)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in result.parameters())
    with torch.no_grad():
        for tensor in result.state_dict().values():
            tensor.zero_()
    same_states(block, before, bits)
    assert block.conv1.weight.grad is not None


def test_what_a_layer_knows_besides_its_numbers_travels():
    block = randomize(Bottleneck(16, 64, cardinality=2)).half()
    block.conv2.bn0.eps, block.conv2.bn0.momentum = 0.25, 0.5
    block.conv2.bn1.eval()
    block.conv2.fc1.bias.requires_grad_(False)
    block.conv2.bn0.weight.requires_grad_(False)
    there = to_cardinality_major(block)
    for group in there.conv2.groups:
        for split in group.splits:
            assert (split.bn0.eps, split.bn0.momentum) == (0.25, 0.5)
            assert not split.bn0.weight.requires_grad
            assert split.bn0.bias.requires_grad
            assert split.training and split.bn0.training
        assert group.bn1.eps == 1e-5
        assert not group.bn1.training
        assert group.training and group.fc1.training
        assert not group.fc1.bias.requires_grad
        assert group.fc1.weight.requires_grad and group.fc2.bias.requires_grad
        assert group.fc2.weight.dtype == torch.half
    back = to_radix_major(there)
    assert (back.conv2.bn0.eps, back.conv2.bn0.momentum) == (0.25, 0.5)
    assert back.conv2.training and not back.conv2.bn1.training
    frozen = [name for name, parameter in back.named_parameters() if not parameter.requires_grad]
    assert frozen == ["conv2.bn0.weight", "conv2.fc1.bias"]
    assert not to_cardinality_major(block.eval()).conv2.training
    assert not to_radix_major(there.eval()).conv2.training


def test_modules_without_split_attention():
    with pytest.raises(ValueError, match=r"^module \(=Conv2d\) must contain split attention$"):
        to_radix_major(nn.Conv2d(3, 3, 1))


def test_split_attention_outside_a_bottleneck():
    bare = RadixMajorSplitAttention(8, 8)
    module = nn.ModuleDict({"head": nn.Sequential(bare), "block": Bottleneck(16, 64), "tail": copy.deepcopy(bare)})
    with pytest.raises(
        ValueError,
        match=r"^split attention head\.0, tail must be inside a Bottleneck$",
    ):
        to_cardinality_major(module)


@pytest.mark.parametrize(("radix", "cardinality"), [(2, 1), (1, 2), (2, 2)])
def test_rectified_convolutions_stay_rectified(radix, cardinality):
    block = Bottleneck(16, 16, radix=radix, cardinality=cardinality, dilation=2)
    block = rectify(randomize(block).double().eval())
    x = torch.randn(1, 16, 5, 4, dtype=torch.float64)
    split = to_cardinality_major(block)
    close(split(x), block(x))
    close(to_radix_major(split)(x), block(x))


def test_a_dilated_network_with_options_converts():
    variant = Variant((1, 2, 1), planes=(16, 32, 64), cardinality=2, stem_width=16)
    network = ResNeSt(variant, 5, output_stride=8, dropblock=0.2, stochastic_depth=0.2, dropout=0.2)
    network = randomize(network).double().eval()
    other = to_cardinality_major(network)
    x = torch.randn(1, 3, 48, 48, dtype=torch.float64)
    close(other(x), network(x))
    assert other.layer3[0].dropblock.probability == 0.2
