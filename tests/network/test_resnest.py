import inspect

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models._utils import IntermediateLayerGetter

import resnest_edu
from resnest_edu import PUBLISHED, Backbone, Bottleneck, DropBlock, ResNeSt, Variant
from resnest_edu.network.resnest import VARIANTS
from tests.randomize import randomize_norms
from tests.refused import assert_refused

# Parameters, state-dict keys, and multiply-adds in units of 10⁹: of the published networks at 224, and of some at 256,
# 320 and 416 pixels; of the book's own at 32. All for 1000 classes.
FAMILY = {
    "resnest14": (10_611_688, 152, (2.749, 3.590, 5.608, 9.476)),
    "resnest26": (17_069_448, 260, (3.623, 4.732, 7.391, 12.489)),
    "resnest50": (27_483_240, 476, (5.371, 7.014, 10.957, 18.515)),
    "resnest101": (48_275_016, 935, (10.201, 13.321, 20.812, 35.168)),
    "resnest200": (70_201_544, 1826, (17.408, 22.735, 35.520, 60.023)),
    "resnest269": (110_929_480, 2447, (22.434, 29.298, 45.773, 77.349)),
    "resnest50_fast_1s1x64d": (26_217_896, 476, (4.329,)),
    "resnest50_fast_2s1x64d": (27_483_240, 476, (4.331,)),
    "resnest50_fast_4s1x64d": (31_912_712, 476, (4.335,)),
    "resnest50_fast_1s2x40d": (25_946_680, 476, (4.365,)),
    "resnest50_fast_2s2x40d": (26_943_792, 476, (4.366,)),
    "resnest50_fast_4s2x40d": (30_417_592, 476, (4.369, 5.704, 8.909, 15.052)),
    "resnest50_fast_1s4x24d": (25_677_000, 476, (4.400, 5.746, 8.977, 15.169)),
    "resnest11_small": (401_848, 119, (0.003,)),
    "resnest20_cifar": (1_479_240, 200, (0.042,)),
    "resnest29_cifar": (6_350_376, 281, (0.252,)),
}
TIMM = {
    "resnest14": "resnest14d",
    "resnest26": "resnest26d",
    "resnest50": "resnest50d",
    "resnest101": "resnest101e",
    "resnest200": "resnest200e",
    "resnest269": "resnest269e",
    "resnest50_fast_4s2x40d": "resnest50d_4s2x40d",
    "resnest50_fast_1s4x24d": "resnest50d_1s4x24d",
}


def deep_ones_slow(names):
    """To build the two deepest takes as long as all others together."""
    deep = ("resnest200", "resnest269")
    return [pytest.param(name, marks=pytest.mark.slow) if name in deep else name for name in names]


def giga_multiply_adds(model, size):
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, size, size))
    return round(counter.get_total_flops() / 2e9, 3)


@pytest.mark.parametrize("name", deep_ones_slow(VARIANTS))
def test_parameters_keys_and_multiply_adds(name, without_norms):
    with torch.device("meta"):
        model = resnest_edu.create_model(name).eval()
    parameters, keys, multiply_adds = FAMILY[name]
    assert (sum(parameter.numel() for parameter in model.parameters()), len(model.state_dict())) == (parameters, keys)
    sizes = (224, 256, 320, 416) if name in PUBLISHED else (32,)
    for size, expected in zip(sizes, multiply_adds, strict=False):
        assert giga_multiply_adds(model, size) == expected


@pytest.mark.parametrize("name", deep_ones_slow(TIMM))
def test_equals_timm_both_ways_in_training_and_evaluation(name):
    torch.manual_seed(0)
    theirs = randomize_norms(timm.create_model(TIMM[name]))
    with torch.device("meta"):  # its weights come from theirs
        ours = resnest_edu.create_model(name)
    published = theirs.state_dict()
    state = ours.state_dict()
    assert list(state) == list(published)
    assert [tensor.shape for tensor in state.values()] == [tensor.shape for tensor in published.values()]
    ours.load_state_dict({key: tensor.clone() for key, tensor in published.items()}, strict=True, assign=True)
    for size in ((64, 64), (97, 80)):
        x = torch.randn(2, 3, *size)
        for mode in (False, True):  # training moves the running statistics, which the next size then uses
            with torch.no_grad():
                expected, found = theirs.train(mode)(x), ours.train(mode)(x)
            assert (found - expected).norm() <= 1e-5 * expected.norm()
    after = theirs.state_dict()
    for key, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, after[key], rtol=1e-4, atol=1e-4)
    theirs.load_state_dict(ours.state_dict(), strict=True)


def test_the_full_network_in_both_layouts_gives_the_same_logits():
    for name in ("resnest50", "resnest50_fast_4s2x40d"):
        network = randomize_norms(resnest_edu.create_model(name)).double().eval()
        x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
        with torch.no_grad():
            expected = network(x)
            found = resnest_edu.to_cardinality_major(network)(x)
        assert (found - expected).norm() < 1e-12 * expected.norm()
        assert expected.std() > 0.1  # not all the same, which would hide a wrong order


# What the released PyTorch code builds (`resnet.py`, `_make_layer`): for every stage the stride of its first block,
# the dilation of its first and of its other blocks, and the stride of its one 3×3 average pool, if it has one.
DILATED = {
    32: [(1, 1, 1, None), (2, 1, 1, 2), (2, 1, 1, 2), (2, 1, 1, 2)],
    16: [(1, 1, 1, None), (2, 1, 1, 2), (2, 1, 1, 2), (1, 1, 2, 1)],
    8: [(1, 1, 1, None), (2, 1, 1, 2), (1, 1, 2, 1), (1, 2, 4, 1)],
}


@pytest.mark.parametrize("name", ["resnest50", "resnest101", "resnest50_fast_2s2x40d"])
@pytest.mark.parametrize("output_stride", DILATED)
def test_dilated_stages_are_those_of_the_released_code(name, output_stride):
    model = resnest_edu.create_model(name, output_stride=output_stride).eval()
    sizes = []
    for i, (stride, first_dilation, dilation, pool_stride) in enumerate(DILATED[output_stride]):
        stage = model.get_submodule(f"layer{i + 1}")
        stage.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[2]))
        for j, block in enumerate(stage):
            conv = block.conv2.conv
            assert conv.stride == (1, 1)
            expected = first_dilation if j == 0 else dilation
            assert conv.dilation == conv.padding == (expected, expected)
            pools = [part for part in block.modules() if isinstance(part, nn.AvgPool2d)]
            if j > 0:
                assert pools == [] and isinstance(block.downsample, nn.Identity)
                continue
            shortcut = block.downsample[0]
            assert (shortcut.kernel_size, shortcut.stride) == (stride, stride)
            assert shortcut.ceil_mode and not shortcut.count_include_pad
            if pool_stride is None:
                assert pools == [shortcut]
            else:
                assert pools == [block.pool, shortcut]
                assert (block.pool.kernel_size, block.pool.stride, block.pool.padding) == (3, pool_stride, 1)
            assert block.pool_first == ("fast" in name)
    assert list(model.strides.values()) == [4, 8, min(16, output_stride), min(32, output_stride)]
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    assert sizes == [64 // stride for stride in model.strides.values()]


# Stem stride: that of the first convolution, whether there is a max-pool, and what each stage's positions stand for.
STEMS = {1: (1, False, (1, 2, 4, 8, 16)), 2: (2, False, (2, 4, 8, 16, 16)), 4: (2, True, (4, 8, 16, 16, 16))}


@pytest.mark.parametrize("stem_stride", STEMS)
def test_the_stem_shrinks_the_image_by_its_stride(stem_stride):
    torch.manual_seed(0)
    stride, pools, strides = STEMS[stem_stride]
    variant = Variant((1,) * 5, (16,) * 5, stem_width=8, stem_stride=stem_stride)
    model = Backbone(variant, output_stride=16).eval()
    convolutions = [layer for layer in model.conv1 if isinstance(layer, nn.Conv2d)]
    assert [layer.stride for layer in convolutions] == [(stride, stride), (1, 1), (1, 1)]
    assert {layer.padding for layer in convolutions} == {(1, 1)}
    x = torch.randn(1, 3, 64, 33)
    unpooled = model.bn1(model.conv1(x)).relu()
    expected = nn.functional.max_pool2d(unpooled, 3, stride=2, padding=1) if pools else unpooled
    assert torch.equal(model.stem(x), expected)
    assert expected.shape == (1, 16, 64 // stem_stride, -(-33 // stem_stride))
    assert tuple(model.strides.values()) == strides
    for features, total in zip(model(x).values(), strides, strict=True):
        assert features.shape[2:] == (64 // total, -(-33 // total))
    dilations = [model.get_submodule(name)[0].conv2.conv.dilation[0] for name in model.channels]
    # The first stage that keeps its size has, in its first block, half of dilation 2.
    assert dilations == {1: [1, 1, 1, 1, 1], 2: [1, 1, 1, 1, 1], 4: [1, 1, 1, 1, 2]}[stem_stride]


def test_dilation_changes_no_name_and_no_shape():
    shapes = []
    for output_stride in (8, 16, 32):
        with torch.device("meta"):
            state = resnest_edu.create_model("resnest50", output_stride=output_stride).state_dict()
        shapes.append({name: tensor.shape for name, tensor in state.items()})
    assert shapes[0] == shapes[1] == shapes[2]


def test_the_stages_by_name():
    torch.manual_seed(0)
    model = resnest_edu.create_model("resnest14").eval()
    backbone = resnest_edu.create_model("resnest14", features_only=True).eval()
    assert [key for key in model.state_dict() if not key.startswith("fc.")] == list(backbone.state_dict())
    backbone.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith("fc.")})
    x = torch.randn(2, 3, 64, 96)
    names = ("layer1", "layer2", "layer3", "layer4")
    with torch.no_grad():
        features = backbone(x)
        torchvisions = IntermediateLayerGetter(model, {name: name for name in names})(x)
        logits = model.fc(features["layer4"].mean(dim=(2, 3)))
        torch.testing.assert_close(logits, model(x))
    assert tuple(features) == tuple(torchvisions) == names
    for name in names:
        assert torch.equal(features[name], torchvisions[name])
        stride = backbone.strides[name]
        assert features[name].shape == (2, backbone.channels[name], 64 // stride, 96 // stride)


def test_chosen_stages_are_those_of_all_and_nothing_behind_the_last_is_built():
    torch.manual_seed(0)
    whole = resnest_edu.create_model("resnest11_small", features_only=True).eval()
    x = torch.randn(2, 3, 64, 64)
    for indices, names in (((0,), ["stem"]), ((0, 2), ["stem", "layer2"]), ((1, 2, 3), list(whole.channels))):
        some = resnest_edu.create_model("resnest11_small", features_only=True, out_indices=indices).eval()
        some.load_state_dict({name: tensor for name, tensor in whole.state_dict().items() if name in some.state_dict()})
        every = {"stem": whole.relu(whole.bn1(whole.conv1(x))), **whole(x)}
        assert list(some(x)) == list(some.channels) == list(some.strides) == names
        assert [name for name in every if hasattr(some, name) and name != "stem"] == list(whole.channels)[: indices[-1]]
        for name, found in some(x).items():
            assert torch.equal(found, every[name])
            assert found.shape == (2, some.channels[name], *(64 // some.strides[name],) * 2)


def test_models_are_listed_by_pattern_and_by_what_is_published():
    assert resnest_edu.list_models() == list(VARIANTS)
    assert resnest_edu.list_models("*_?s2x40d") == [f"resnest50_fast_{radix}s2x40d" for radix in (1, 2, 4)]
    assert resnest_edu.list_models(pretrained=True) == [name for name in VARIANTS if name in PUBLISHED]
    assert resnest_edu.list_models("*small", pretrained=True) == resnest_edu.list_models("resnet*") == []


def test_dropout_acts_before_the_last_layer_only():
    torch.manual_seed(0)
    model = resnest_edu.create_model("resnest11_small", 5, dropout=0.5)
    seen = []
    model.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(torch.rand(64, 3, 32, 32))
    assert seen[0].shape == (64, 256)
    assert 0.4 < (seen[0] == 0).float().mean() < 0.8  # some features are zero anyway, after the ReLU
    model.eval()(torch.rand(2, 3, 32, 32))
    assert model.dropout.p == 0.5 and resnest_edu.create_model("resnest11_small").dropout.p == 0


def test_dropblock_acts_in_the_last_two_stages():
    model = resnest_edu.create_model("resnest26", dropblock=0.1)
    blocks = {name: part.probability for name, part in model.named_modules() if isinstance(part, DropBlock)}
    assert blocks == {f"layer{i}.{j}.dropblock": 0.1 for i in (3, 4) for j in (0, 1)}


def test_stochastic_depth_grows_linearly():
    model = resnest_edu.create_model("resnest14", stochastic_depth=0.2)
    stages = [model.get_submodule(name)[0] for name in model.channels]
    assert [block.stochastic_depth.p for block in stages] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert {block.stochastic_depth.mode for block in stages} == {"row"}


def test_without_options_nothing_is_random_in_training():
    torch.manual_seed(0)
    model = resnest_edu.create_model("resnest11_small", 5)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.ones_(module.bn3.weight)
    x = torch.rand(4, 3, 32, 32)
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", deep_ones_slow(VARIANTS))
def test_every_model_has_a_function(name):
    function = getattr(resnest_edu, name)
    with torch.device("meta"):
        model = function(7, output_stride=16)
        expected = resnest_edu.create_model(name, 7, output_stride=16)
    assert repr(model) == repr(expected)
    assert function.__name__ == name and repr(name) in inspect.getdoc(function)
    assert name in resnest_edu.__all__


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


def test_create_model_with_bad_arguments():
    rows = [
        ({"name": "resnest51"}, r"name \(='resnest51'\) must be one of resnest11_small, "),
        *[({"name": f"{theirs}.in1k"}, rf"; did you mean {ours}\?$") for ours, theirs in TIMM.items()],
        ({"num_classes": -1}, r"num_classes \(=-1\) must be an integer of at least 0"),
        ({"num_classes": False}, r"num_classes \(=False\) must be an integer of at least 0"),
        ({"in_channels": 0}, r"in_channels \(=0\) must be an integer of at least 1"),
        *[
            ({"features_only": True, "out_indices": bad}, r"out_indices \(=.*\) must be some of 0, 1, 2, 3, 4, rising$")
            for bad in ((), (5,), (2, 1), (1, 1), (-1,))
        ],
        (
            {"num_classes": 10, "features_only": True},
            r"num_classes \(=10\) must not go with features_only: a backbone has no last layer",
        ),
        ({"output_stride": 4}, r"output_stride \(=4\) must be 8, 16 or 32"),
        ({"output_stride": "8"}, r"output_stride \(='8'\) must be 8, 16 or 32"),
        ({"dropout": 1}, r"dropout \(=1\) must be below 1"),
        ({"dropblock": 2}, r"dropblock \(=2\) must be a finite number at least 0 and at most 1"),
        ({"stochastic_depth": -0.5}, r"stochastic_depth \(=-0.5\) must be a finite number at least 0"),
    ]
    assert_refused(lambda given: resnest_edu.create_model(**({"name": "resnest50"} | given)), rows)


def test_create_model_with_an_unknown_option():
    both, asked = "in_channels, output_stride, pretrained, stochastic_depth", "^option \\(='{}'\\) must be one of {}{}$"
    of_a_classifier, of_a_backbone = f"block, dropblock, dropout, {both}", "block, dropblock, in_channels, out_indices"
    rows = [
        ({theirs: 0}, asked.format(theirs, of_a_classifier, rf"; did you mean {ours}\?"))
        for theirs, ours in {
            "weights": "pretrained",
            "checkpoint_path": "pretrained",
            "in_chans": "in_channels",
            "drop_rate": "dropout",
            "drop_path_rate": "stochastic_depth",
        }.items()
    ]
    rows += [
        ({"out_indices": (1,)}, asked.format("out_indices", of_a_classifier, "")),
        (
            {"features_only": True, "dropout": 0.5},
            rf"'dropout'\) must be one of {of_a_backbone}, output_stride, pretrained",
        ),
    ]
    assert_refused(lambda given: resnest_edu.create_model("resnest50", **given), rows, TypeError)


def test_bad_variants():
    rows = [
        (Variant(()), r"blocks \(=\(\)\) and planes \(=.*\) must name the same stages, at least one"),
        (Variant((1, 1), (16,)), r"blocks \(=\(1, 1\)\) and planes \(=\(16,\)\) must name the same stages"),
        (Variant((0,), (16,)), r"blocks \(=\(0,\)\) must be integers of at least 1"),
        (Variant((1,), (16,), stem_stride=3), r"stem_stride \(=3\) must be 1, 2 or 4$"),
        (Variant((1,), (16,), stem_stride=8), r"stem_stride \(=8\) must be 1, 2 or 4$"),
    ]
    assert_refused(ResNeSt, rows)
