"""Stages and levels have the names and sizes they should, nothing frozen moves, weights arrive whole or not at all."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from resnest_edu import Backbone, Variant, create_model
from resnest_edu.speed import PerSplitBottleneck, accelerate
from resnest_edu.training import Recipe, save_checkpoint
from resnest_edu.transfer import Pyramid, StageBackbone, create_backbone, load_backbone
from tests.randomize import randomize, randomize_norms
from tests.refused import assert_refused

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
    ("resnest50", 8): {"C2": 4, "C3": 8, "C4": 8, "C5": 8},
    ("resnest20_cifar", 32): {"C1": 2, "C2": 4, "C3": 8},
    (SMALL, 8): {"C2": 4, "C3": 8, "C4": 8},
}


@pytest.mark.parametrize(("name", "output_stride"), STRIDES)
def test_stages_are_named_for_their_strides(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name, output_stride=output_stride)
        features = backbone(torch.empty(2, 3, 97, 66))
    strides = STRIDES[name, output_stride]
    assert backbone.strides == strides and list(features) == list(backbone.channels) == list(strides)
    for stage, stride in strides.items():
        assert features[stage].shape == (2, backbone.channels[stage], -(-97 // stride), -(-66 // stride))
    body = Backbone(Variant((1, 1), planes=(16, 32), stem_width=16, stem_stride=1))
    assert StageBackbone(body).strides == {"C0": 1, "C1": 2}


@pytest.mark.parametrize("output_stride", [32, 8])
def test_the_features_are_those_of_the_network_alone(output_stride: int) -> None:
    strided, backbone = small(), create_backbone(SMALL, output_stride=output_stride).eval()
    plain = create_model(SMALL, features_only=True, output_stride=output_stride).eval()
    backbone.load_state_dict(strided.state_dict())
    plain.load_state_dict(strided.body.state_dict())
    x = torch.randn(2, 3, 50, 65)
    for found, expected in zip(backbone(x).values(), plain(x).values(), strict=True):
        assert torch.equal(found, expected) and found.std() > 0


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
        assert (parameter.grad is None) == (not parameter.requires_grad) == name.startswith(prefixes), name
    for name, tensor in backbone.state_dict().items():
        if "running" in name or "num_batches" in name:
            assert torch.equal(tensor, before[name]) == name.startswith(prefixes), name


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
    x, every = torch.randn(4, 3, 64, 64), ("C2", "C3", "C4")
    regularized = {"frozen_stages": 4, "stochastic_depth": 0.9, "dropblock": 0.5}
    for options, names in (({"norm": "frozen"}, every), ({"frozen_stages": 2}, ("C2",)), (regularized, every)):
        backbone = small(**options)
        found, expected = backbone.train()(x), backbone.eval()(x)
        assert all(torch.equal(found[name], expected[name]) == (name in names) for name in expected)


@pytest.mark.parametrize("options", [{"norm": "frozen"}, {"frozen_stages": 3}, {"norm": "synchronized"}])
def test_freezing_changes_no_name_and_no_feature_and_a_copy_is_as_frozen(options: dict) -> None:
    plain, other = small().eval(), create_backbone(SMALL, **options).eval()
    other.load_state_dict(plain.state_dict())
    assert list(other.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for name, expected in plain(x).items():
        torch.testing.assert_close(other(x)[name], expected)
    copied = copy.deepcopy(nn.Sequential(other)).train()
    found = [module.training for module in copied.modules()]
    assert found == [module.training for module in nn.Sequential(other).train().modules()]
    assert all(found) == (options == {"norm": "synchronized"})
    assert [p.requires_grad for p in copied.parameters()] == [p.requires_grad for p in other.parameters()]


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
    plain, other = small(), create_backbone(SMALL, norm="synchronized")
    norms = [module for module in other.modules() if is_norm(module)]
    assert {type(module) for module in norms} == {nn.SyncBatchNorm}
    assert len(norms) == sum(map(is_norm, plain.modules()))
    other.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(other.train()(x), plain.train()(x))


# Weights


@pytest.mark.parametrize("kind", ["bare", "wrapped", "trained", "averaged"])
def test_a_classifiers_weights_are_loaded_without_their_head(kind: str, tmp_path: Path) -> None:
    path, model, average = tmp_path / "weights", randomize(RECIPE.build(2), 1), randomize(RECIPE.build(2), 2)
    state = model.state_dict()
    if kind in ("bare", "wrapped"):
        torch.save({"state_dict": state} if kind == "wrapped" else state, path)
    else:
        averaged = {"average": average.state_dict()} if kind == "averaged" else {}
        save_checkpoint(path, model, RECIPE, ("a", "b"), **averaged)
        state = averaged.get("average", state)
    expected = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    for options in ({}, {"norm": "frozen", "frozen_stages": 2}, {"norm": "synchronized"}):
        assert same(create_backbone(SMALL, weights=str(path), **options).body.state_dict(), expected)
    classifier = randomize(create_model(SMALL, 5), 2)
    head = {name: tensor.clone() for name, tensor in classifier.fc.state_dict(prefix="fc.").items()}
    load_backbone(classifier, SMALL, path)
    assert same(classifier.state_dict(), state | head)


def test_a_name_stands_for_the_published_file_unless_there_is_one_of_that_name(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        first = create_backbone(SMALL, weights=SMALL).body.state_dict()["conv1.0.weight"]
        assert torch.equal(first, torch.load(released)["conv1.0.weight"]) != Path(SMALL).exists()
        save_checkpoint(SMALL, RECIPE.build(2), RECIPE, ("a", "b"))
    with pytest.raises(ValueError, match=r"^weights \(='resnest14'\) must be those of resnest11_small; they are of r"):
        create_backbone(SMALL, weights="resnest14")
    with pytest.raises(FileNotFoundError, match=r"^weights \(='resnet14'\) must be .*; did you mean resnest14\?$"):
        create_backbone(SMALL, weights="resnet14")


def test_files_and_models_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(
            FileNotFoundError, match=r"^weights \(='.*'\) must be a file, or the name of a published network"
        ):
            create_backbone(SMALL, weights=path)
    ours, published = tmp_path / "best.pt", tmp_path / "weights.pth"
    save_checkpoint(ours, RECIPE.build(2), RECIPE, ("a", "b"))
    torch.save(create_model(SMALL).state_dict(), published)
    whole, spoiled = ours.read_bytes(), {}
    for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:1000], b"no weights"):
        spoiled[len(content)] = tmp_path / f"{len(content)}.pt"
        spoiled[len(content)].write_bytes(content)
    checksum, cut, nothing = spoiled.values()
    other = rf"^weights \(='{ours}'\) must be those of resnest20_cifar; they are of resnest11_small$"
    rows = [
        (("resnest20_cifar", ours), other),
        (("resnest20_cifar", published), r"must be a checkpoint for this model: it lacks layer1\.1\."),
        ((SMALL, checksum), "it is damaged: its checksum does not agree"),
        ((SMALL, cut), "it is damaged"),
        ((SMALL, nothing), "damaged"),
    ]
    assert_refused(lambda row: create_backbone(row[0], weights=row[1]), rows)
    models = {0: nn.Linear(1, 1), 2: nn.ModuleList([create_model(SMALL), create_model(SMALL)])}
    holds = r"^model \(a .*\) must hold one ResNeSt, .*, and holds {}$"
    assert_refused(
        lambda count: load_backbone(models[count], SMALL, published), [(count, holds.format(count)) for count in models]
    )


# The pyramid


def pyramid(**options: object) -> Pyramid:
    torch.manual_seed(1)
    return Pyramid(small(), out_channels=8, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(64, 64), (33, 97)])
def test_the_pyramid_is_that_of_torchvision(size: tuple[int, int]) -> None:
    ours = pyramid()
    names = {"layer1": "0", "layer2": "1", "layer3": "2"}
    theirs = BackboneWithFPN(ours.backbone.body, names, [64, 128, 256], 8).eval()
    theirs.fpn.load_state_dict(ours.fpn.state_dict())
    x = torch.randn(2, 3, *size)
    found, expected = ours(x), theirs(x)
    assert list(found) == list(ours.strides) == list(expected) == ["0", "1", "2", "pool"]
    for (name, one), other in zip(found.items(), expected.values(), strict=True):
        stride = ours.strides[name]
        assert torch.equal(one, other) and one.shape == (2, 8, -(-size[0] // stride), -(-size[1] // stride))
    assert ours.out_channels == theirs.out_channels == 8


def test_torchvisions_detector_finds_the_levels() -> None:
    torch.manual_seed(0)
    body = Backbone(Variant((1,) * 4, planes=(8,) * 4, stem_width=8))
    theirs = BackboneWithFPN(body, {f"layer{i + 1}": str(i) for i in range(4)}, list(body.channels.values()), 8)
    detectors = [
        FasterRCNN(one, num_classes=3, min_size=64, max_size=64).eval()
        for one in (Pyramid(StageBackbone(body), out_channels=8), theirs)
    ]
    weights = {
        name.replace("backbone.body", "backbone.backbone.body"): tensor
        for name, tensor in detectors[1].state_dict().items()
    }
    detectors[0].load_state_dict(weights)
    (ours,), (expected,) = (detector([torch.rand(3, 64, 64, generator=torch.manual_seed(1))]) for detector in detectors)
    assert len(expected["boxes"]) > 0 and same(ours, expected)


def test_levels_are_chosen_by_name() -> None:
    x = torch.randn(1, 3, 50, 65)
    for levels, extra, names in (
        (None, False, ["0", "1", "2"]),
        (("C3", "C4"), True, ["0", "1", "pool"]),
        (("C2", "C4"), False, ["0", "1"]),
        (("C3",), True, ["0", "pool"]),
    ):
        model = pyramid(levels=levels, extra_level=extra)
        maps = model(x)
        assert list(maps) == list(model.strides) == names
        for name, stride in model.strides.items():
            assert maps[name].shape == (1, 8, -(-50 // stride), -(-65 // stride))
        # The deepest level is nothing but the deepest stage, through two convolutions.
        deepest = model.backbone(x)[model.levels[-1]]
        expected = model.fpn.layer_blocks[-1](model.fpn.inner_blocks[-1](deepest))
        assert torch.equal(maps[str(len(model.levels) - 1)], expected)
    dilated = Pyramid(create_backbone(SMALL, output_stride=8), out_channels=8)
    assert dilated.strides == {"0": 4, "1": 8, "2": 8, "pool": 16}
    assert [level.shape[2] for level in dilated(torch.randn(2, 3, 64, 64)).values()] == [16, 8, 8, 4]


def test_the_norm_of_the_pyramid_is_the_one_asked_for() -> None:
    for options, count in (({"norm_layer": nn.BatchNorm2d}, 6), ({}, 0)):
        assert sum(isinstance(module, nn.BatchNorm2d) for module in pyramid(**options).fpn.modules()) == count


def test_the_error_says_what_is_wrong() -> None:
    stages = r"^frozen_stages \(={}\) must be an integer from 0 to 4, the number of parts \(stem, C2, C3, C4\)$"
    rows = [
        ({"norm": "none"}, r"^norm \(='none'\) must be one of trained, frozen, synchronized$"),
        *[({"frozen_stages": value}, stages.format(value)) for value in (5, -1, True, 1.0)],
        ({"output_stride": 4}, r"^output_stride \(=4\) must be 8, 16 or 32$"),
        ({"dropblock": 1}, r"^dropblock \(=1\) must be below 1$"),
    ]
    assert_refused(lambda options: create_backbone(SMALL, **options), rows)
    order = r"^levels \(={}\) must be some of C2, C3, C4, in this order$"
    names = [("C4", "C3"), ("C3", "C5"), ("C3", "C3"), ()]
    rows = [({"levels": some}, order.format(repr(some).replace("(", r"\(").replace(")", r"\)"))) for some in names]
    rows.append(({"out_channels": 0}, r"^out_channels \(=0\) must be an integer of at least 1$"))
    assert_refused(lambda options: Pyramid(create_backbone(SMALL), **options), rows)
    with pytest.raises(ValueError, match=r"^body \(a ResNeSt\) must be a Backbone; create_model\(name, features_only"):
        StageBackbone(create_model(SMALL))  # type: ignore[arg-type]
    some = create_model(SMALL, features_only=True, out_indices=(0, 2))
    with pytest.raises(ValueError, match=r"^body's out_indices \(=\(0, 2\)\) must be None: all stages are wanted$"):
        StageBackbone(some)
    with pytest.raises(ValueError, match=r"^backbone \(a Backbone\) must be a StageBackbone, which can be made of it$"):
        Pyramid(create_model(SMALL, features_only=True))  # type: ignore[arg-type]


def test_an_exported_pyramid_computes_the_same_for_any_batch() -> None:
    model = pyramid()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(2, 3, 50, 65),), dynamic_shapes=({0: batch},))
    x = torch.randn(3, 3, 50, 65)
    found, expected = program.module()(x), model(x)
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
