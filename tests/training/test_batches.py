from dataclasses import replace

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from resnest_edu.training import RECIPES, TensorImages, folder_data
from resnest_edu.training.batches import Plan, evaluation_batches, seed_of, training_batches
from resnest_edu.training.distributed import Group
from tests.refused import assert_refused


def numbered(count: int) -> TensorImages:
    return TensorImages(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), torch.arange(count))


def streamed(data: TensorImages) -> TensorDataset:
    return TensorDataset(data.images, data.labels)


class Noise(Dataset):
    """What an item is, is left to chance."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.rand(3), index


def test_places_have_unrelated_seeds():
    places = [(0, "order", 1), (0, "order", 10), (0, "image", 1), (1, "order", 0), (0, "order", 1, 0), (2**70, "x")]
    assert len({seed_of(*place) for place in places}) == len(places)
    assert all(0 <= seed_of(*place) < 2**63 for place in places)
    assert seed_of(0, "order", 1) == seed_of(0, "order", 1)


@pytest.mark.parametrize("form", [lambda data: data, streamed])
def test_an_epoch_sees_every_image_once_in_an_order_of_its_own(form):
    data, plan = numbered(21), Plan(21, 8, 2, seed=0)
    labels = [labels for _, labels in training_batches(form(data), plan)]
    assert [len(batch) for batch in labels] == [8, 8, 5] * 2
    first, second = torch.cat(labels[:3]), torch.cat(labels[3:])
    for epoch in (first, second):
        assert epoch.sort().values.equal(torch.arange(21))
        assert not epoch.equal(torch.arange(21))
    assert not first.equal(second)
    other = next(training_batches(form(data), Plan(21, 8, 2, seed=1)))[1]
    assert not other.equal(labels[0])


@pytest.mark.parametrize("form", [lambda data: data, streamed])
def test_a_run_can_be_entered_at_any_step(form):
    data, plan = form(numbered(21)), Plan(21, 8, 3, seed=4)
    whole = [labels for _, labels in training_batches(data, plan)]
    assert len(whole) == plan.steps == 9
    for first in range(10):
        rest = [labels for _, labels in training_batches(data, plan, first=first)]
        assert len(rest) == 9 - first
        assert all(a.equal(b) for a, b in zip(rest, whole[first:], strict=True))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("count", [20, 21, 26, 27, 29])
def test_processes_share_every_batch_without_duplicates(size, count):
    data, whole = numbered(count), Plan(count, 8, 1, seed=0)
    plans = [Plan(count, 8, 1, seed=0, group=Group(rank, size)) for rank in range(size)]
    shares = [[labels for _, labels in training_batches(data, plan)] for plan in plans]
    for step, everything in zip(range(plans[0].steps), training_batches(data, whole), strict=False):
        parts = [share[step] for share in shares]
        assert torch.cat(parts).sort().values.equal(everything[1].sort().values)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert min(map(len, parts)) >= 2  # or batch norm could not train
    assert plans[0].steps == whole.steps - (0 < count % 8 < 2 * size and count % 8 != 1)
    tested = torch.cat([labels for plan in plans for _, labels in evaluation_batches(data, 4, group=plan.group)])
    assert tested.sort().values.equal(torch.arange(count))


def test_a_last_batch_of_one_is_tested_but_not_trained_on():
    for data in (numbered(9), streamed(numbered(9))):
        assert [len(labels) for _, labels in training_batches(data, Plan(9, 8, 1, seed=0))] == [8]
        assert [len(labels) for _, labels in evaluation_batches(data, 8)] == [8, 1]
        assert torch.cat([labels for _, labels in evaluation_batches(data, 8)]).equal(torch.arange(9))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_chance_depends_on_epoch_and_image_alone(workers):
    plan = Plan(12, 4, 2, seed=0)
    expected = [values for values, _ in training_batches(Noise(), plan)]
    found = [values for values, _ in training_batches(Noise(), plan, first=2, workers=workers)]
    assert all(a.equal(b) for a, b in zip(found, expected[2:], strict=True))
    drawn = torch.cat(expected)
    assert len(drawn.unique()) == drawn.numel()  # another epoch, another draw


def test_bad_plans_and_bad_images():
    plans = [
        ((1, 8, 1, 0), r"images \(=1\) must be at least 2$"),
        ((8, 3, 1, 0, Group(0, 2)), r"batch_size \(=3\) must be at least 4, two for each of 2 processes"),
    ]
    assert_refused(lambda arguments: Plan(*arguments), plans)
    black, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    images = [
        ((black / 255, labels), r"images \(=torch.float32, \(2, 3, 4, 4\)\) must be uint8"),
        ((black[:, :1], labels), r"must be uint8 of shape \(N, 3, H, W\)"),
        ((black, labels[:1]), r"labels \(=1\) must be as many as images \(=2\)"),
        ((black[:0], labels[:0]), r"labels \(=0\) .* at least one"),
        ((black, labels.float()), r"labels \(=torch.float32, \(2,\)\) must be integers of shape \(B,\)$"),
        ((black, labels.bool()), r"labels \(=torch.bool"),
        (
            (black, torch.eye(2).long()),
            r"labels \(=torch.int64, \(2, 2\)\) must be .*: argmax\(1\) finds the classes of",
        ),
        ((black, labels[:, None]), r"labels \(=torch.int64, \(2, 1\)\) must be integers of shape \(B,\)$"),
        ((black.numpy(), labels), r"images \(=ndarray\) must be a tensor"),
        ((black, [0, 1]), r"labels \(=list\) must be a tensor of integers"),
    ]
    assert_refused(lambda given: TensorImages(*given), images)
    assert TensorImages(black, labels.byte()).labels.dtype == torch.int64


def test_a_recipe_that_crops_reads_its_images_anew(colour_folder):
    cropping = replace(RECIPES["imagenet-resnest50"], image_size=16)
    train_data, test_data, classes = folder_data(colour_folder, cropping, skip_broken=False, workers=1)
    assert classes == ("blue", "red")
    assert not isinstance(train_data, TensorImages)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(train_data[0][0])
    assert draws[0].shape == (3, 16, 16)
    assert draws[0].dtype == torch.uint8
    assert draws[0].equal(draws[1])
    assert not draws[0].equal(draws[2])
    assert test_data[0][0].equal(test_data[0][0])  # nothing is left to chance there
    plain, _, _ = folder_data(colour_folder, replace(RECIPES["shapes"], image_size=16), skip_broken=False, workers=1)
    assert isinstance(plain, TensorImages)


def test_cifar10_is_not_cropped(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ValueError, match=r"crop \(=0.08\) must be 0 for CIFAR-10"):
        folder_data(tmp_path, RECIPES["imagenet-resnest50"], skip_broken=False, workers=1)
