import torch

from resnest_edu.training.augment import MEAN, STD, flip_and_shift, normalize


def pictures(count: int) -> torch.Tensor:
    return torch.arange(count * 3 * 5 * 4, dtype=torch.int32).view(count, 3, 5, 4)


def test_normalize():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    result = normalize(images)
    assert result.dtype == torch.float32
    for channel in range(3):
        torch.testing.assert_close(result[0, channel, 0, 0].item(), -MEAN[channel] / STD[channel])
        torch.testing.assert_close(result[1, channel, 0, 0].item(), (1 - MEAN[channel]) / STD[channel])


def test_neither_flip_nor_shift_leaves_images_alone():
    images = pictures(3)
    assert flip_and_shift(images, flip=False, shift=0, generator=torch.Generator()) is images


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = pictures(200)
    result = flip_and_shift(images, flip=True, shift=0, generator=torch.Generator().manual_seed(0))
    same = (result == images).flatten(1).all(1)
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_shift_moves_by_every_distance_up_to_the_limit_and_repeats_the_border():
    images = pictures(300)
    result = flip_and_shift(images, flip=False, shift=1, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images.float(), (1, 1, 1, 1), mode="replicate").int()
    found = torch.zeros(3, 3, dtype=torch.int)
    for image, source in zip(result, padded, strict=True):
        matches = [(dy, dx) for dy in range(3) for dx in range(3) if image.equal(source[:, dy : dy + 5, dx : dx + 4])]
        assert len(matches) == 1
        found[matches[0]] += 1
    assert (found > 10).all()


def test_the_generator_decides():
    images = pictures(20)
    runs = [
        flip_and_shift(images, flip=True, shift=2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])
