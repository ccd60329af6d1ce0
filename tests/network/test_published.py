"""What is published is fetched, and becomes the beginning of networks with other heads, channels and stages."""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib.cbook
import pytest
import timm
import torch
from PIL import Image

import resnest_edu
from resnest_edu import PUBLISHED, create_model, fetch, list_models, load_checkpoint, save
from resnest_edu.training import RECIPES
from resnest_edu.training.augmentation import normalize, test_transform
from tests.randomize import randomize_norms
from tests.refused import assert_refused

SMALL = "resnest11_small"


def test_what_is_published():
    assert set(PUBLISHED) == set(list_models()) - {"resnest11_small", "resnest20_cifar", "resnest29_cifar"}
    for name, published in PUBLISHED.items():
        assert re.fullmatch(rf"(gluon_)?{name}-{published.sha256}\.pth", published.file)
        assert re.fullmatch("[0-9a-f]{8}", published.sha256)
        assert published.url == f"{published.release}/{published.file}"
        assert published.release.startswith("https://github.com/") and published.licence == "Apache-2.0"
    assert len({published.sha256 for published in PUBLISHED.values()}) == len(PUBLISHED)
    sizes = {name: published.image_size for name, published in PUBLISHED.items() if published.image_size != 224}
    assert sizes == {"resnest101": 256, "resnest200": 320, "resnest269": 416}


def test_images_are_prepared_as_in_the_test_of_a_recipe_that_crops():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        photograph = Image.open(file).convert("RGB")
    for depth in (50, 101, 200, 269):
        transform = PUBLISHED[f"resnest{depth}"].transform()
        size = PUBLISHED[f"resnest{depth}"].image_size
        tested = test_transform(replace(RECIPES["imagenet-resnest50"], image_size=size))
        assert torch.equal(transform(photograph), normalize(tested(photograph)[None])[0])
    grey = photograph.convert("P")
    assert torch.equal(transform(grey), transform(grey.convert("RGB"))) and transform(grey).dtype == torch.float32


def test_the_classes_are_those_of_imagenet():
    classes = PUBLISHED["resnest50"].classes
    assert len(classes) == 1000 and (classes[0], classes[281], classes[-1]) == ("tench", "tabby", "toilet tissue")


def test_fetch_downloads_once(released, tmp_path):
    for folder in (None, tmp_path / "new" / "cache", str(tmp_path / "other")):
        path = fetch(SMALL, folder)
        assert path == Path(folder or tmp_path / "torch" / "hub" / "checkpoints") / released.name
    released.unlink()
    assert fetch(SMALL) == tmp_path / "torch" / "hub" / "checkpoints" / released.name


def test_what_cannot_be_fetched_has_an_address_digits_and_a_place(released, tmp_path):
    cached, digits = tmp_path / "cache" / released.name, PUBLISHED[SMALL].sha256
    message = rf"^file://\S+/{released.name} could not be fetched: .+; put it at {cached} by hand; .* {digits}$"
    released.write_bytes(released.read_bytes() + b"more")
    for change in (lambda: None, released.unlink):
        change()
        with pytest.raises(OSError, match=message):
            fetch(SMALL, cached.parent)
        assert list(cached.parent.iterdir()) == []
    cached.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=rf"'{cached}'\) must have the SHA-256 {digits}.*: delete it, and fetch it"):
        load_checkpoint(create_model(SMALL), fetch(SMALL, cached.parent))


HEAD = {"fc.weight", "fc.bias"}
WAYS = [  # options, and what stays fresh
    ({}, set()),
    ({"num_classes": 7}, HEAD),
    ({"num_classes": 0}, set()),
    ({"features_only": True}, set()),
    ({"features_only": True, "num_classes": 0, "out_indices": (0, 2)}, set()),
    ({"num_classes": 7, "in_channels": 1, "dropout": 0.5, "output_stride": 8}, HEAD | {"conv1.0.weight"}),
]


@pytest.mark.parametrize(("options", "fresh"), WAYS)
def test_what_fits_comes_from_the_file(options, fresh, released):
    theirs, file = torch.load(released), released.with_name("mine.pth")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in theirs.items()}}, file)
    models = [create_model(SMALL, pretrained=source, **options) for source in (True, str(released), file)]
    if "features_only" not in options:
        hub = torch.hub.load(str(Path(__file__).parents[2]), SMALL, source="local", pretrained=True, **options)
        models += [resnest_edu.resnest11_small(pretrained=True, **options), hub]
    for model in models:
        state = model.state_dict()
        assert state.keys() <= theirs.keys() and state.keys() >= fresh
        assert {name for name, tensor in state.items() if not torch.equal(tensor, theirs[name])} == fresh


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_other_channels_pooled_features_and_maps_are_those_of_timm(channels, tmp_path):
    path, x = tmp_path / "weights.pth", torch.randn(2, channels, 64, 96)
    torch.save(randomize_norms(create_model("resnest14", 5)).half().state_dict(), path)
    file = {"file": str(path), "num_classes": 5}
    options = {"pretrained": True, "in_chans": channels, "pretrained_cfg_overlay": file}
    theirs = timm.create_model("resnest14d", num_classes=0, **options).eval()
    ours = create_model("resnest14", 0, in_channels=channels, pretrained=path).eval()
    indices = (0, 1, 4) if channels == 1 else (1, 3)
    their_maps = timm.create_model("resnest14d", features_only=True, out_indices=indices, **options).eval()
    our_maps = create_model("resnest14", features_only=True, out_indices=indices, in_channels=channels, pretrained=path)
    info, expected = our_maps.feature_info, their_maps.feature_info
    assert (info.channels(), info.reduction()) == (expected.channels(), expected.reduction())
    assert sum(p.numel() for p in our_maps.parameters()) == sum(p.numel() for p in their_maps.parameters())
    with torch.no_grad():
        pairs = [(ours(x), theirs(x)), (ours.forward_features(x), theirs.forward_features(x))]
        pairs += zip(our_maps.eval()(x).values(), their_maps(x), strict=True)
    for found, wanted in pairs:
        assert found.shape == wanted.shape and (found - wanted).norm() <= 1e-3 * wanted.norm()


def test_what_does_not_fit_is_refused(released, tmp_path):
    fast = tmp_path / "fast.safetensors"
    save(fast, create_model("resnest50_fast_2s1x64d", 2))
    four = tmp_path / "four.pth"
    torch.save(create_model(SMALL, in_channels=4).state_dict(), four)
    rows = [
        (("resnest29_cifar", True), r"^pretrained \(=True\) must be a file for resnest29_cifar; published are .*14"),
        (
            ("resnest50", fast),
            "must be a checkpoint for this model: it is of resnest50_fast_2s1x64d, not of resnest50$",
        ),
        (("resnest50", released), "it is of resnest11_small, not of resnest50$"),
        (("resnest50", four), r"it lacks layer1\.1\."),
        ((SMALL, four), r"its conv1\.0\.weight has the shape \(16, 4, 3, 3\) instead of \(16, 3, 3, 3\)$"),
    ]
    assert_refused(lambda row: create_model(row[0], 2, pretrained=row[1]), rows)
    with pytest.raises(FileNotFoundError, match=r"^path \(='missing.pth'\) must be a file$"):
        create_model(SMALL, pretrained="missing.pth")


# torch.hub, from a folder


def hub_module() -> object:
    return torch.hub._import_module("hubconf", Path(__file__).parents[2] / "hubconf.py")


def test_the_hub_builds_every_model():
    names = [name for name in vars(hub_module()) if not name.startswith("_") and name != "dependencies"]
    assert names == list_models()
    model = hub_module().resnest11_small(7, output_stride=8, dropout=0.5)
    assert model.fc.out_features == 7 and model.strides["layer3"] == 8 and model.dropout.p == 0.5


def test_what_the_hub_depends_on_is_what_the_package_imports():
    assert {"torch", "torchvision", "einops", "safetensors"} == set(hub_module().dependencies)


def test_a_head_from_the_hub_is_new_if_asked_for(released):
    model = hub_module().resnest11_small(pretrained=True, new_head=True)
    theirs = torch.load(released)
    state = model.state_dict()
    assert {name for name in theirs if not torch.equal(state[name], theirs[name])} == HEAD
