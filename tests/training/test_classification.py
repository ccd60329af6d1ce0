"""Data sets of one's own get the checks that folders get, before the first step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from resnest_edu.training import RECIPES, TensorImages, evaluate, predict, train
from resnest_edu.training.augmentation import normalize
from tests.refused import assert_refused
from tests.training.small_runs import images, values

PLAIN = replace(RECIPES["shapes"], image_size=8, epochs=1, batch_size=4, warmup_epochs=0, shift=0, base_rate=0.01)
MIXING = replace(PLAIN, mixup=0.2, cutmix=1.0)
GOOD = images(8, 0)


class Items(Dataset):
    """Items of any kind: ``image(i)`` and ``label(i)`` of the good ones."""

    def __init__(self, image=lambda image: image, label=int, item=lambda *pair: pair):
        self.image, self.label, self.item = image, label, item

    def __len__(self):
        return len(GOOD)

    def __getitem__(self, index):
        image, label = GOOD[index]
        return self.item(self.image(image), self.label(label))


def network(classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


class Untouched(nn.Module):
    """A network of two classes that must not see a batch to be trained on."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        assert not self.training
        return self.inner(x)


BAD = [
    (Items(image=lambda image: image / 255), r"images \(=torch.float32, \(4, 3, 8, 8\)\) must be uint8 .* PILToTensor"),
    (Items(image=lambda image: image.int()), r"images \(=torch.int32, \(4, 3, 8, 8\)\) must be uint8"),
    (Items(image=lambda image: image.permute(1, 2, 0).numpy()), r"images \(=torch.uint8, \(4, 8, 8, 3\)\) must be"),
    (Items(image=lambda image: "a.png"), r"images \(=(list|tuple)\) must be tensors"),
    (Items(item=lambda image, label: (image, label, 0)), r"items \(=list\) must be \(image, label\)"),
    (Items(item=lambda image, label: {"image": image, "label": label}), r"items \(=dict\) must be \(image, label\)"),
    (Items(label=float), r"labels \(=torch.float64, \(4,\)\) must be integers of shape \(B,\)$"),
    (Items(label=bool), r"labels \(=torch.bool, \(4,\)\) must be integers"),
    (Items(label=str), r"labels \(=(list|tuple)\) must be a tensor of integers"),
    (Items(label=lambda label: torch.eye(2)[label]), r"labels \(=torch.float32, \(4, 2\)\) must be .* argmax\(1\)"),
    (Items(label=lambda label: label + 1), r"labels \(=2\) must be from 0 to 1: the model has 2 outputs$"),
    (Items(label=lambda label: label - 1), r"labels \(=-1\) must be from 0 to 1"),
    (Items(label=lambda label: -100), r"labels \(=-100\) must be from 0 to 1"),
    (TensorImages(GOOD.images, GOOD.labels + 1), r"labels \(=2\) must be from 0 to 1"),
]


def test_bad_items_are_refused_before_a_step():
    assert_refused(lambda data: train(Untouched(), data, GOOD, PLAIN, progress=False), BAD)
    assert_refused(lambda data: evaluate(network(), data, batch_size=4), BAD)
    empty = torch.utils.data.Subset(GOOD, [])
    rows = [(BAD[-1][0], BAD[-1][1]), (empty, r"test_data \(=0 images\) must contain at least one image")]
    assert_refused(lambda data: train(Untouched(), GOOD, data, PLAIN, progress=False), rows)
    assert_refused(lambda data: evaluate(network(), data), [(empty, r"data \(=0 images\) must contain")])


def test_a_bad_label_is_found_wherever_it_is():
    places = [TensorImages(GOOD.images, torch.where(torch.arange(8) == place, 9, GOOD.labels)) for place in range(8)]
    data = [places[7], *(torch.utils.data.Subset(one, range(8)) for one in places)]  # in memory, and read one by one
    rows = [(one, r"labels \(=9\) must be from 0 to 1") for one in data]
    assert_refused(lambda data: train(network(), data, GOOD, PLAIN, progress=False), rows)
    assert_refused(lambda data: train(network(), data, GOOD, MIXING, progress=False), rows)
    assert_refused(lambda data: evaluate(network(), data, batch_size=2), rows)


def test_only_bytes_are_normalized():
    for call in (normalize, lambda given: predict(network(), given)):
        rows = [(GOOD.images / 255, r"images \(=torch.float32\) must be uint8"), (GOOD.images.int(), "must be uint8")]
        assert_refused(call, rows)


def test_a_network_that_gives_no_logits_is_refused():
    class Pair(nn.Sequential):
        def forward(self, x):
            return super().forward(x), x

    rows = [
        (Pair(*network()), r"model's output \(=tuple\)"),
        (network()[:2], r"model's output \(=\(1, 4, 1, 1\)\) must"),
    ]
    assert_refused(lambda model: train(model, GOOD, GOOD, PLAIN, progress=False), rows)


@pytest.mark.parametrize("recipe", [PLAIN, MIXING])
def test_integers_of_any_kind_are_labels(recipe):
    kinds = (int, np.int32, np.uint8, lambda label: label.to(torch.int16), lambda label: np.array(int(label)))
    ended = []
    for data in (GOOD, *(Items(label=kind) for kind in kinds)):
        model = network()
        train(model, data, data, recipe, progress=False)
        ended.append(values(model))
    assert all(one.equal(ended[1]) for one in ended[2:])
    torch.testing.assert_close(ended[0], ended[1])


def test_grey_bytes_are_three_equal_channels():
    model = network()
    grey = Items(image=lambda image: image[:1])
    three = Items(image=lambda image: image[:1].expand(3, -1, -1))
    assert evaluate(model, grey) == evaluate(model, three)
    train(model, grey, grey, replace(PLAIN, crop=0.5), progress=False)
