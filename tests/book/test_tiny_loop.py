import pytest
import torch
from torch import nn

from resnest_edu.book.tiny_loop import figure_and_ground, fit, overlap
from resnest_edu.data import TEST_START, draw_scenes
from resnest_edu.training.augmentation import normalize


def test_figure_and_ground_shows_the_scenes_and_where_their_objects_are():
    for split, start in (("train", 0), ("test", TEST_START)):
        images, targets = figure_and_ground(3, split=split)
        scenes = draw_scenes(start, 3)
        assert torch.equal(images, normalize(torch.from_numpy(scenes.images)))
        assert targets.shape == (3, 16, 16) and targets.dtype == torch.long
        assert torch.equal(targets[1, 5, 9], torch.tensor(int(scenes.semantic[1, 10, 18] > 0)))
        assert 0 < targets.float().mean() < 1


def classifier(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


def separable() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(100, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return images, (images.sum(dim=(1, 2, 3)) > 0).long()


def test_fit_learns_and_its_seed_decides_the_order_of_the_images():
    images = torch.randn(100, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    targets = (images.sum(dim=(1, 2, 3)) > 0).long()
    network = classifier(0)
    fit(network, images, targets, epochs=20, peak=0.5, seed=0, batch=16)
    assert (network(images).argmax(1) == targets).float().mean() > 0.95
    assert not network.training
    results = []
    for seed in (0, 0, 1):
        network = classifier(0)
        torch.manual_seed(len(results))  # must not matter
        fit(network, images, targets, epochs=2, peak=0.5, seed=seed)
        results.append(network(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_overlap_is_the_intersection_over_the_union_in_per_cent():
    one, other = torch.tensor([[1, 1, 0, 0]]), torch.tensor([[0, 1, 1, 0]])
    assert overlap(one, other) == pytest.approx(100 / 3)
    assert overlap(one, one) == 100
