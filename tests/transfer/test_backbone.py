"""Stages and levels have the names and sizes they should, nothing frozen moves, weights arrive whole or not at all."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from resnest_edu import Backbone, Variant, create_model
from resnest_edu.speed import PerSplitBottleneck, accelerate
from resnest_edu.training import Recipe, save_checkpoint
from resnest_edu.transfer import Pyramid, StageBackbone, create_backbone, load_backbone
from tests.randomize import randomize, randomize_norms

SMALL = "resnest11_small"
RECIPE = Recipe(model=SMALL, image_size=32, epochs=2, batch_size=16, base_rate=0.1, warmup_epochs=1)


def small(**options: object) -> StageBackbone:
    torch.manual_seed(0)
    backbone = create_backbone(SMALL, **options)  # type: ignore[arg-type]
    randomize_norms(backbone)
    return backbone


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)


def loss(maps: dict[str, Tensor]) -> Tensor:
    return torch.stack([features.square().mean() for features in maps.values()]).sum()


STRIDES = {
    ("resnest50", 32): {"C2": 4, "C3": 8, "C4": 16, "C5": 32},
    ("resnest50", 16): {"C2": 4, "C3": 8, "C4": 16, "C5": 16},
    ("resnest50", 8): {"C2": 4, "C3": 8, "C4": 8, "C5": 8},
    ("resnest20_cifar", 32): {"C1": 2, "C2": 4, "C3": 8},
    (SMALL, 32): {"C2": 4, "C3": 8, "C4": 16},
    (SMALL, 8): {"C2": 4, "C3": 8, "C4": 8},
}


@pytest.mark.parametrize(("name", "output_stride"), STRIDES)
def test_stages_are_named_for_their_strides(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name, output_stride=output_stride)
        features = backbone(torch.empty(2, 3, 97, 66))
    strides = STRIDES[name, output_stride]
    assert backbone.strides == strides
    assert list(features) == list(backbone.channels) == list(strides)
    for stage, stride in strides.items():
        sizes = 2, backbone.channels[stage], -(-97 // stride), -(-66 // stride)
        assert features[stage].shape == sizes


def test_the_names_of_a_stem_without_a_stride_begin_at_zero() -> None:
    body = Backbone(Variant((1, 1), planes=(16, 32), stem_width=16, stem_stride=1))
    assert StageBackbone(body).strides == {"C0": 1, "C1": 2}


@pytest.mark.parametrize("output_stride", [32, 8])
def test_the_features_are_those_of_the_network_alone(output_stride: int) -> None:
    backbone = small(output_stride=output_stride).eval()
    plain = create_model(SMALL, features_only=True, output_stride=output_stride).eval()
    plain.load_state_dict(backbone.body.state_dict())
    x = torch.randn(2, 3, 50, 65)
    for found, expected in zip(backbone(x).values(), plain(x).values(), strict=True):
        assert torch.equal(found, expected)
        assert found.std() > 0


def test_regularization_reaches_the_network() -> None:
    body = create_backbone(SMALL, dropblock=0.1, stochastic_depth=0.2).body
    options = {"features_only": True, "dropblock": 0.1, "stochastic_depth": 0.2}
    assert str(body) == str(create_model(SMALL, **options))  # type: ignore[call-overload]
    assert str(body) != str(create_backbone(SMALL).body)


def test_a_dilated_network_takes_the_weights_of_a_strided_one() -> None:
    strided, dilated = small().eval(), create_backbone(SMALL, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(2, 3, 64, 64)
    expected, found = strided(x), dilated(x)
    for name in ("C2", "C3"):
        assert torch.equal(found[name], expected[name])
    assert found["C4"].shape[2:] == (8, 8)
    assert expected["C4"].shape[2:] == (4, 4)


# What is frozen


PARTS = (("body.conv1.", "body.bn1."), ("body.layer1.",), ("body.layer2.",), ("body.layer3.",))


@pytest.mark.parametrize("frozen_stages", range(5))
def test_frozen_stages_keep_weights_and_statistics_and_the_rest_learns(frozen_stages: int) -> None:
    backbone = small(frozen_stages=frozen_stages, stochastic_depth=0.5, dropblock=0.1)
    prefixes = sum(PARTS[:frozen_stages], ())
    parent = nn.ModuleDict({"inner": nn.Sequential(backbone)}).eval()
    parent.train()
    before = copy.deepcopy(backbone.state_dict())
    loss(backbone(torch.randn(8, 3, 64, 64, requires_grad=True))).backward()
    for name, parameter in backbone.named_parameters():
        frozen = name.startswith(prefixes) if prefixes else False
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name
    for name, tensor in backbone.state_dict().items():
        if "running" in name or "num_batches" in name:
            frozen = name.startswith(prefixes) if prefixes else False
            assert torch.equal(tensor, before[name]) == frozen, name


def test_a_frozen_stage_is_not_regularized_either() -> None:
    backbone = small(frozen_stages=4, stochastic_depth=0.9, dropblock=0.5)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone.train()(x)["C4"], backbone.eval()(x)["C4"])


def test_frozen_norms_stay_and_convolutions_learn() -> None:
    backbone = small(norm="frozen", frozen_stages=1)
    nn.Sequential(backbone).train()
    before = copy.deepcopy(backbone.state_dict())
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1, weight_decay=0.1)
    backbone(torch.randn(1, 3, 64, 64))["C4"].square().mean().backward()  # one image does: nothing is measured
    optimizer.step()
    norms = {name for name, module in backbone.named_modules() if is_norm(module)}
    assert {"body.layer1.0.conv2.bn0", "body.layer1.0.conv2.bn1", "body.layer2.0.downsample.2"} <= norms
    for name, tensor in backbone.state_dict().items():
        stays = name.rpartition(".")[0] in norms or name.startswith("body.conv1.")
        assert torch.equal(tensor, before[name]) == stays, name


def test_what_is_frozen_says_the_same_in_both_modes() -> None:
    x = torch.randn(4, 3, 64, 64)
    for options, names in (({"norm": "frozen"}, ("C2", "C3", "C4")), ({"frozen_stages": 2}, ("C2",))):
        backbone = small(**options)
        found, expected = backbone.train()(x), backbone.eval()(x)
        assert all(torch.equal(found[name], expected[name]) == (name in names) for name in expected)


@pytest.mark.parametrize("options", [{"norm": "frozen"}, {"frozen_stages": 2}, {"norm": "synchronized"}])
def test_freezing_changes_no_name_and_no_feature(options: dict) -> None:
    plain, other = small().eval(), create_backbone(SMALL, **options).eval()
    other.load_state_dict(plain.state_dict())
    assert list(other.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for name, expected in plain(x).items():
        torch.testing.assert_close(other(x)[name], expected)


@pytest.mark.parametrize("options", [{"norm": "frozen"}, {"frozen_stages": 3}])
def test_a_copy_is_as_frozen(options: dict) -> None:
    original = nn.Sequential(small(**options))
    copied = copy.deepcopy(original).train()
    original.eval()
    found = [module.training for module in copied.modules()]
    assert found == [module.training for module in original.train().modules()]
    assert not all(found)
    assert [p.requires_grad for p in copied.parameters()] == [p.requires_grad for p in original.parameters()]


@pytest.mark.parametrize(
    "options", [{}, {"norm": "frozen"}, {"frozen_stages": 2}, {"norm": "frozen", "frozen_stages": 1}]
)
def test_an_accelerated_backbone_is_as_frozen_and_learns_the_same(options: dict) -> None:
    plain = small(**options).double()
    fast = accelerate(copy.deepcopy(plain))
    assert any(isinstance(module, PerSplitBottleneck) for module in fast.modules())
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    for backbone in (plain, fast):
        nn.Sequential(backbone).eval().train()
        loss(backbone(x)).backward()
    for (name, one), other in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        torch.testing.assert_close(other.grad, one.grad)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], tensor)


def test_every_norm_is_synchronized_and_one_process_measures_alone() -> None:
    plain, other = small(), small(norm="synchronized", frozen_stages=1)
    norms = [module for module in other.modules() if is_norm(module)]
    assert {type(module) for module in norms} == {nn.SyncBatchNorm}
    assert len(norms) == sum(map(is_norm, plain.modules()))
    other = create_backbone(SMALL, norm="synchronized")
    other.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(other.train()(x), plain.train()(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "none"}, r"^norm \(='none'\) must be one of trained, frozen, synchronized$"),
        (
            {"frozen_stages": 5},
            r"^frozen_stages \(=5\) must be an integer from 0 to 4, the number of parts \(stem, C2, C3, C4\)$",
        ),
        ({"frozen_stages": -1}, r"^frozen_stages \(=-1\) must be an integer from 0 to 4, "),
        ({"frozen_stages": True}, r"^frozen_stages \(=True\) must be an integer from 0 to 4, "),
        ({"frozen_stages": 1.0}, r"^frozen_stages \(=1\.0\) must be an integer from 0 to 4, "),
        ({"output_stride": 4}, r"^output_stride \(=4\) must be 8, 16 or 32$"),
        ({"dropblock": 1}, r"^dropblock \(=1\) must be below 1$"),
    ],
)
def test_the_error_says_what_is_wrong(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone(SMALL, **options)


# Weights


@pytest.mark.parametrize("options", [{}, {"norm": "frozen", "frozen_stages": 2}, {"norm": "synchronized"}])
@pytest.mark.parametrize("wrapped", [True, False])
def test_published_weights_are_loaded_without_their_head(wrapped: bool, options: dict, tmp_path: Path) -> None:
    state = randomize(create_model(SMALL, 7)).state_dict()
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "weights.pth")
    backbone = create_backbone(SMALL, weights=tmp_path / "weights.pth", **options)
    expected = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert same(backbone.body.state_dict(), expected)


@pytest.mark.parametrize("average", [True, False])
def test_weights_of_our_training_are_loaded_without_their_head(average: bool, tmp_path: Path) -> None:
    path, model, other = tmp_path / "best.pt", randomize(RECIPE.build(2), 1), randomize(RECIPE.build(2), 2)
    state = {"average": other.state_dict()} if average else {}
    save_checkpoint(path, model, RECIPE, ("a", "b"), **state)
    expected = (other if average else model).state_dict()
    del expected["fc.weight"], expected["fc.bias"]
    assert same(create_backbone(SMALL, weights=str(path), frozen_stages=1).body.state_dict(), expected)


@pytest.mark.parametrize("trained", [True, False])
def test_a_classifier_takes_the_weights_of_another_but_keeps_its_head(trained: bool, tmp_path: Path) -> None:
    path, other, model = tmp_path / "weights", randomize(RECIPE.build(2), 1), randomize(create_model(SMALL, 5), 2)
    if trained:
        save_checkpoint(path, other, RECIPE, ("a", "b"))
    else:
        torch.save(other.state_dict(), path)
    head = {name: tensor.clone() for name, tensor in model.fc.state_dict(prefix="fc.").items()}
    load_backbone(model, SMALL, path)
    assert same(model.state_dict(), other.state_dict() | head)


def test_a_model_without_a_network_or_with_two_is_refused(tmp_path: Path) -> None:
    for model, count in ((nn.Linear(1, 1), 0), (nn.ModuleList([create_model(SMALL), create_model(SMALL)]), 2)):
        with pytest.raises(ValueError, match=rf"^model \(a .*\) must hold one ResNeSt, .*, and holds {count}$"):
            load_backbone(model, SMALL, tmp_path / "weights.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    ours, published = tmp_path / "best.pt", tmp_path / "weights.pth"
    save_checkpoint(ours, RECIPE.build(2), RECIPE, ("a", "b"))
    torch.save(create_model(SMALL).state_dict(), published)
    message = rf"^weights \(='{re.escape(str(ours))}'\) must be those of resnest20_cifar; they are of resnest11_small$"
    with pytest.raises(ValueError, match=message):
        create_backbone("resnest20_cifar", weights=ours)
    with pytest.raises(ValueError, match=r"must be a checkpoint for this model: it lacks layer1\.1\."):
        create_backbone("resnest20_cifar", weights=published)


def test_files_that_are_missing_or_damaged_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(FileNotFoundError, match=r"^weights \(='.*'\) must be a file$"):
            create_backbone(SMALL, weights=path)
    path = tmp_path / "best.pt"
    save_checkpoint(path, RECIPE.build(2), RECIPE, ("a", "b"))
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "it is damaged: its checksum does not agree"),
        (whole[:1000], "it is damaged"),
        (b"no weights", "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            create_backbone(SMALL, weights=path)


def test_what_is_no_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^body \(a ResNeSt\) must be a Backbone; create_model\(name, features_only"):
        StageBackbone(create_model(SMALL))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^backbone \(a Backbone\) must be a StageBackbone, which can be made of it$"):
        Pyramid(create_model(SMALL, features_only=True))  # type: ignore[arg-type]


# The pyramid


def pyramid(**options: object) -> Pyramid:
    torch.manual_seed(1)
    return Pyramid(small(), out_channels=8, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(64, 64), (50, 65), (33, 97)])
def test_the_pyramid_is_that_of_torchvision(size: tuple[int, int]) -> None:
    ours = pyramid()
    names = {"layer1": "P2", "layer2": "P3", "layer3": "P4"}
    theirs = BackboneWithFPN(ours.backbone.body, names, [64, 128, 256], 8).eval()
    theirs.fpn.load_state_dict(ours.fpn.state_dict())
    x = torch.randn(2, 3, *size)
    found, expected = ours(x), theirs(x)
    assert list(found) == list(ours.strides) == ["P2", "P3", "P4", "P5"]
    for (name, one), other in zip(found.items(), expected.values(), strict=True):
        assert torch.equal(one, other)
        stride = ours.strides[name]
        assert one.shape == (2, 8, -(-size[0] // stride), -(-size[1] // stride))
    assert ours.out_channels == theirs.out_channels == 8


def test_levels_are_chosen_by_name() -> None:
    x = torch.randn(1, 3, 50, 65)
    for levels, extra, names in (
        (None, False, ["P2", "P3", "P4"]),
        (("C3", "C4"), True, ["P3", "P4", "P5"]),
        (("C2", "C4"), False, ["P2", "P4"]),
        (("C3",), True, ["P3", "P4"]),
    ):
        model = pyramid(levels=levels, extra_level=extra)
        maps = model(x)
        assert list(maps) == list(model.strides) == names
        for name, stride in model.strides.items():
            assert maps[name].shape == (1, 8, -(-50 // stride), -(-65 // stride))
        # The deepest level is nothing but the deepest stage, through two convolutions.
        last = model.levels[-1]
        expected = model.fpn.layer_blocks[-1](model.fpn.inner_blocks[-1](model.backbone(x)[last]))
        assert torch.equal(maps["P" + last[1:]], expected)


def test_levels_of_a_dilated_backbone() -> None:
    model = Pyramid(create_backbone(SMALL, output_stride=8), out_channels=8)
    assert model.strides == {"P2": 4, "P3": 8, "P4": 8, "P5": 16}
    assert [f.shape[2] for f in model(torch.randn(2, 3, 64, 64)).values()] == [16, 8, 8, 4]


def test_the_norm_of_the_pyramid_is_the_one_asked_for() -> None:
    model = pyramid(norm_layer=nn.BatchNorm2d)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.fpn.modules()) == 6
    assert not any(isinstance(module, nn.BatchNorm2d) for module in pyramid().fpn.modules())


def test_a_frozen_backbone_stays_frozen_under_a_pyramid() -> None:
    model = Pyramid(small(norm="frozen"), out_channels=8).train()
    assert model.fpn.training
    assert not any(module.training for module in model.modules() if is_norm(module))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_channels": 0}, r"^out_channels \(=0\) must be an integer of at least 1$"),
        ({"levels": ("C4", "C3")}, r"^levels \(=\('C4', 'C3'\)\) must be some of C2, C3, C4, in this order$"),
        ({"levels": ("C3", "C5")}, r"^levels \(=\('C3', 'C5'\)\) must be some of "),
        ({"levels": ("C3", "C3")}, r"^levels \(=\('C3', 'C3'\)\) must be some of "),
        ({"levels": ()}, r"^levels \(=\(\)\) must be some of "),
    ],
)
def test_the_pyramids_error_says_what_is_wrong(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pyramid(create_backbone(SMALL), **options)


def test_an_exported_pyramid_computes_the_same_for_any_batch() -> None:
    model = pyramid()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(2, 3, 50, 65),), dynamic_shapes=({0: batch},))
    x = torch.randn(3, 3, 50, 65)
    found, expected = program.module()(x), model(x)
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
