import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from resnest_edu.training.augmentation import (
    MEAN,
    STD,
    Lighting,
    apply_policy,
    flip_and_shift,
    normalize,
    test_transform,
    train_transform,
)
from tests.refused import assert_refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int) -> torch.Tensor:
    return torch.arange(count * 3 * 5 * 4, dtype=torch.int32).view(count, 3, 5, 4)


def photographs(count: int, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=seeded(5))


def test_normalize():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    result = normalize(images)
    assert result.dtype == torch.float32
    for channel in range(3):
        torch.testing.assert_close(result[0, channel, 0, 0].item(), -MEAN[channel] / STD[channel])
        torch.testing.assert_close(result[1, channel, 0, 0].item(), (1 - MEAN[channel]) / STD[channel])


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = pictures(200)
    result = flip_and_shift(images, flip=True, shift=0, generator=seeded())
    same = (result == images).flatten(1).all(1)
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_shift_moves_by_every_distance_up_to_the_limit_and_repeats_the_border():
    images = pictures(300)
    result = flip_and_shift(images, flip=False, shift=1, generator=seeded())
    padded = torch.nn.functional.pad(images.float(), (1, 1, 1, 1), mode="replicate").int()
    found = torch.zeros(3, 3, dtype=torch.int)
    for image, source in zip(result, padded, strict=True):
        matches = [(dy, dx) for dy in range(3) for dx in range(3) if image.equal(source[:, dy : dy + 5, dx : dx + 4])]
        assert len(matches) == 1
        found[matches[0]] += 1
    assert (found > 10).all()


def test_the_generator_decides_and_is_not_asked_where_nothing_is_left_to_chance():
    images, photos, generator = pictures(20), photographs(2), seeded()
    runs = [flip_and_shift(images, flip=True, shift=2, generator=seeded(seed)) for seed in (1, 1, 2)]
    assert runs[0].equal(runs[1]) and not runs[0].equal(runs[2])
    assert flip_and_shift(images, flip=False, shift=0, generator=generator) is images
    assert apply_policy(photos, "none", generator=generator) is photos
    assert generator.get_state().equal(seeded().get_state())


# Policies


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_a_policy_is_shared_by_a_group_and_by_no_more(policy):
    images = photographs(1).expand(39, -1, -1, -1)
    result = apply_policy(images, policy, generator=seeded(1), group=4)
    assert result.shape == images.shape
    groups = [group.flatten(1) for group in result.split(4)]  # the last of three
    assert all((group == group[:1]).all() for group in groups)
    assert len({bytes(group[0].tolist()) for group in groups}) > 5
    default, eight = (apply_policy(images, policy, generator=seeded(1), **given) for given in ({}, {"group": 8}))
    assert default.equal(eight)


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_the_policys_generator_decides_and_the_global_one_is_left_alone(policy):
    images = photographs(24)
    runs = []
    for seed, state in ((1, 10), (1, 11), (2, 10)):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        runs.append(apply_policy(images, policy, generator=seeded(seed)))
        assert torch.get_rng_state().equal(before)
    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])
    generator = seeded(1)
    first, second = (apply_policy(images, policy, generator=generator) for _ in range(2))
    assert first.equal(runs[0])
    assert not second.equal(first)


def test_the_policies_are_torchvisions_and_uncover_the_mean_colour():
    images = photographs(4)
    settings = {"interpolation": v2.InterpolationMode.BILINEAR, "fill": [124, 116, 104]}
    for policy, transform in (
        ("autoaugment", v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, **settings)),
        ("randaugment", v2.RandAugment(num_ops=2, magnitude=9, **settings)),
    ):
        for seed in range(20):
            start = torch.randint(2**63 - 1, (), generator=seeded(seed)).item()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(start)
                expected = transform(images)
            assert apply_policy(images, policy, generator=seeded(seed)).equal(expected)


# Lighting


def test_lighting_is_the_sum_that_its_draw_says_cut_to_a_byte():
    image = photographs(1, 5, 6)[0]
    image[:, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    for seed in range(20):
        torch.manual_seed(seed)
        result = Lighting(0.8)(image)
        torch.manual_seed(seed)
        parts = 0.8 * torch.randn(3) * torch.tensor(Lighting.EIGENVALUES)
        shift = 255 * (torch.tensor(Lighting.EIGENVECTORS) * parts).sum(1)
        expected = (image.double() + shift[:, None, None]).clip(0, 255)
        torch.testing.assert_close(result.double(), expected, atol=0.501, rtol=0)  # rounded
        assert result.dtype == torch.uint8


def test_lighting_adds_the_principal_components_of_imagenets_colours():
    vectors = torch.tensor(Lighting.EIGENVECTORS)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=1e-3, rtol=0)
    assert (vectors[:, 0] < 0).all()  # the first is brightness: the three colours together
    assert Lighting().deviation == 0.1 and repr(Lighting(0.3)) == "Lighting(deviation=0.3)"


# Large images, one at a time


def recipe(**changes: object) -> SimpleNamespace:
    plain = {"image_size": 32, "crop": 0.0, "flip": False, "policy": "none", "color_jitter": 0.0, "lighting": 0.0}
    return SimpleNamespace(**{**plain, **changes})


EVERYTHING = {"crop": 0.2, "flip": True, "policy": "autoaugment", "color_jitter": 0.4, "lighting": 0.2}


def gradient(height: int, width: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    array = np.full((height, width, 3), 100, dtype=np.uint8)
    array[..., 0] = np.linspace(0, 255, width)[None, :]
    array[..., 1] = np.linspace(0, 255, height)[:, None]
    return Image.fromarray(array)


def steps(transform) -> list:
    return list(transform.transforms)


def test_transforms_give_bytes_of_the_recipes_size():
    torch.manual_seed(0)
    recipes = recipe(), recipe(**EVERYTHING), recipe(crop=0.5, policy="randaugment")
    transforms = [transform(one) for one in recipes for transform in (train_transform, test_transform)]
    for transform, size in itertools.product(transforms, [(60, 60), (50, 90), (200, 70), (20, 20), (1, 65_000)]):
        image = transform(gradient(*size))
        assert isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and image.shape == (3, 32, 32)


def test_train_transform_is_what_the_recipe_says():
    found = steps(train_transform(recipe(**EVERYTHING)))
    names = ["RandomResizedCrop", "RandomHorizontalFlip", "AutoAugment", "ColorJitter", "PILToTensor", "Lighting"]
    assert [type(step).__name__ for step in found] == names
    crop, flip, policy, jitter, _, lighting = found
    assert (tuple(crop.size), tuple(crop.scale)) == ((32, 32), (0.2, 1))
    assert crop.interpolation == v2.InterpolationMode.BICUBIC
    assert flip.p == 0.5
    assert policy.policy == v2.AutoAugmentPolicy.IMAGENET
    assert tuple(jitter.brightness) == tuple(jitter.contrast) == tuple(jitter.saturation) == (0.6, 1.4)
    assert jitter.hue is None
    assert lighting.deviation == 0.2
    assert isinstance(steps(train_transform(recipe(policy="randaugment")))[1], v2.RandAugment)


def test_test_transform_of_a_recipe_that_crops_resizes_and_cuts_the_centre():
    rows = ((32, 37, "BILINEAR"), (256, 293, "BILINEAR"), (320, 352, "BICUBIC"), (416, 448, "BICUBIC"))
    for size, resized, interpolation in rows:
        _, resize, crop, to_tensor = steps(test_transform(recipe(image_size=size, **EVERYTHING)))
        assert isinstance(resize, v2.Resize) and list(resize.size) == [resized]
        assert resize.interpolation == v2.InterpolationMode[interpolation]
        assert isinstance(crop, v2.CenterCrop) and tuple(crop.size) == (size, size)
        assert isinstance(to_tensor, v2.PILToTensor)


def test_of_a_strip_the_middle_is_resized():
    transform = test_transform(recipe(crop=0.5))
    for size, middle in (((4, 400), (168, 0, 232, 4)), ((401, 4), (0, 168, 4, 232))):
        image = gradient(*size)
        assert sorted(steps(transform)[0](image).size) == [4, 64]
        assert transform(image).equal(transform(image.crop(middle)))
    image = gradient(4, 64)
    assert steps(transform)[0](image) is image


def test_errors_name_what_is_wrong():
    images, grey = photographs(2), torch.zeros(3, 4, 4, dtype=torch.uint8)
    form = r"must be uint8 of shape \(B, 3, H, W\)$"
    for call, rows in (
        (
            lambda given: apply_policy(given, "none", generator=seeded()),
            [
                (images.float(), rf"^images \(=torch.float32, \(2, 3, 16, 16\)\) {form}"),
                (images[0], rf"^images \(=torch.uint8, \(3, 16, 16\)\) {form}"),
                (images[:, :1], rf"^images \(=torch.uint8, \(2, 1, 16, 16\)\) {form}"),
            ],
        ),
        (
            lambda given: apply_policy(images, "none", generator=seeded(), group=given),
            [(0, r"^group \(=0\) must be an integer of at least 1$")],
        ),
        (Lighting, [(-0.1, r"^deviation \(=-0.1\) must be a finite number at least 0$")]),
        (
            Lighting(),
            [
                (grey.float(), r"^image \(=torch.float32, \(3, 4, 4\)\) must be uint8 of shape \(3, H, W\)$"),
                (grey[:1], r"^image \(=torch.uint8, \(1, 4, 4\)\) must be"),
                (grey[None], r"^image \(=torch.uint8, \(1, 3, 4, 4\)\) must be"),
            ],
        ),
    ):
        assert_refused(call, rows)
    unknown = [("trivial", r"^policy \(='trivial'\) must be one of none, autoaugment, randaugment$")]
    assert_refused(lambda policy: apply_policy(images, policy, generator=seeded()), unknown)
    assert_refused(lambda policy: train_transform(recipe(policy=policy)), unknown)
