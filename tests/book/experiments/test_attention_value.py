"""The experiment trains what it says, takes the attention away as it says, and shows what it says."""

import dataclasses
import json

import pytest
import torch

from resnest_edu.book.experiments import _beyond, _preferences, _shapes, attention_value
from resnest_edu.split_attention import record_attention
from resnest_edu.training import RECIPES, TensorImages
from resnest_edu.training import batches as training_data
from resnest_edu.training.augmentation import normalize
from tests.randomize import randomize_norms

CPU = torch.device("cpu")


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(training_data, "TRAIN_SHAPES", 24)
    monkeypatch.setattr(training_data, "TEST_SHAPES", 80)
    monkeypatch.setattr(_beyond, "SCENES", 8)
    monkeypatch.setattr(attention_value, "SIZED", 8)
    monkeypatch.setitem(RECIPES, "shapes", dataclasses.replace(RECIPES["shapes"], epochs=1, batch_size=8))


@pytest.fixture
def model():
    return randomize_norms(_shapes.build(0)).eval()


@pytest.fixture
def data():
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return TensorImages(images, torch.arange(64) % 8)


def test_a_seed_returns_plain_values_by_kind_and_stage(tiny):
    found = json.loads(json.dumps(attention_value.run_seed(1)))
    ways = ["mean of its class", "average", "uniform", "shuffled within a class", "shuffled", "swapped"]
    assert list(found["accuracy"]) == ["attention", *ways, "never"]
    assert list(found["sizes"]) == ["attention", "averaging", "fresh"]
    told = found["preferences"]
    assert list(told) == ["attention", "averaging", "fresh", "attention, its layers untrained"]
    for kind in told.values():
        assert len(kind["between classes"]) == 3 and all(0 <= share <= 1 for share in kind["between classes"])
    assert len(found["beyond training"]["distance"]) == len(_beyond.DIAMETERS)


def test_both_kinds_start_alike_and_one_never_has_its_attention(tiny, monkeypatch):
    seen = []

    def train(model, train_data, test_data, recipe, *, seed, device, progress):
        attention = record_attention(model.eval(), normalize(test_data.images))
        even = all(torch.equal(a, torch.full_like(a, 0.5)) for a in attention.values())
        seen.append((even, seed, device, model.state_dict()))

    monkeypatch.setattr(_shapes, "train", train)
    for kind in _shapes.KINDS:
        _shapes.trained(kind, 1, _shapes.images_of(1), CPU)
    assert [one[:3] for one in seen] == [(False, 1, CPU), (True, 1, CPU)]
    first, second = (one[3] for one in seen)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["fc.weight"], _shapes.build(2).state_dict()["fc.weight"])


def test_preferences_are_differences_of_the_attention(model, data):
    images = normalize(data.images)
    attention = record_attention(model, images)
    preferred = _preferences.preferences(model, _preferences.contexts(model, images))
    assert list(attention) == list(_preferences.blocks_of(model))
    for d, a in zip(preferred, attention.values(), strict=True):
        torch.testing.assert_close(d, a[:, 0] - a[:, 1], rtol=1e-3, atol=1e-4)
    # One that averages reads other features from the second stage on.
    first, second, _ = zip(
        _preferences.contexts(model, images, averaging=True), _preferences.contexts(model, images), strict=True
    )
    torch.testing.assert_close(*first)
    assert (second[0] - second[1]).abs().max() > 1e-3


def test_what_is_read_off_is_what_is_there():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 8
    telling = torch.eye(8)[labels]
    noise = torch.randn(400, 8, generator=generator)
    assert _preferences.share_between_classes(telling, labels) == pytest.approx(1)
    assert _preferences.read_off(telling + noise / 100, labels) == 1
    assert _preferences.share_between_classes(noise, labels) < 0.05
    assert _preferences.read_off(noise, labels) < 0.25


def test_every_image_gets_the_weights_it_is_given(model, data):
    own = {name: a.flip(1) for name, a in record_attention(model, normalize(data.images)).items()}
    seen = {}

    def forward(module, inputs, output):
        seen["logits"] = output

    model.register_forward_hook(forward)
    attention_value.accuracy_given(own, model, data)
    given = seen["logits"]
    assert all("attention" not in vars(block) for block in _preferences.blocks_of(model).values())
    with torch.no_grad():
        assert (model(normalize(data.images)) - given).abs().max() > 1e-3
    for name, a in record_attention(model, normalize(data.images)).items():
        torch.testing.assert_close(a, own[name].flip(1))


def test_scenes_keep_their_lightness_or_their_colour(data):
    copies = _beyond.lightness_and_colour(data.images // 4 + 96)  # far from black and white, so nothing is cut off
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    as_they_are, lightness, colour = ((copy * luma).sum(1) for copy in copies.values())
    assert (as_they_are - lightness).abs().max() < 1
    assert (colour - 255 / 2).abs().max() < 1
    assert torch.equal(copies["lightness alone"][:, 0], copies["lightness alone"][:, 2])
