import itertools
import re
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


# Policies


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raises(message: str):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def photographs(count: int, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=seeded(5))


def test_no_policy_leaves_images_and_generator_alone():
    images, generator = photographs(3), seeded()
    assert apply_policy(images, "none", generator=generator) is images
    assert generator.get_state().equal(seeded().get_state())


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_a_policy_is_shared_by_a_group_and_by_no_more(policy):
    one = photographs(1)
    images = one.expand(40, -1, -1, -1)
    result = apply_policy(images, policy, generator=seeded(1), group=4)
    assert result.dtype == torch.uint8
    assert result.shape == images.shape
    groups = result.view(10, 4, -1)
    assert (groups == groups[:, :1]).all()
    assert len({bytes(group[0].tolist()) for group in groups}) > 5
    assert apply_policy(images, policy, generator=seeded(1)).equal(
        apply_policy(images, policy, generator=seeded(1), group=8)
    )


@pytest.mark.parametrize("policy", ["autoaugment", "randaugment"])
def test_an_image_does_not_depend_on_its_group(policy):
    images = photographs(12)
    together = apply_policy(images, policy, generator=seeded(2), group=12)
    for i, image in enumerate(images):
        assert apply_policy(image[None], policy, generator=seeded(2), group=1)[0].equal(together[i])


def test_a_last_group_may_be_smaller():
    images = photographs(7)
    assert apply_policy(images, "randaugment", generator=seeded(), group=3).shape == images.shape


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


def test_what_a_policy_uncovers_is_the_mean_colour():
    white = torch.full((400, 3, 16, 16), 255, dtype=torch.uint8)
    result = apply_policy(white, "randaugment", generator=seeded(), group=1)
    mean = torch.tensor([124, 116, 104], dtype=torch.uint8)
    assert (result == mean[:, None, None]).all(1).flatten(1).any(1).sum() > 20
    assert not ((result == 0).all(1).flatten(1).any(1) & (result == 255).all(1).flatten(1).any(1)).any()
    # Bilinear: along a slanted edge there are colours between the two.
    between = (result.int() - mean[:, None, None].int()).abs().sum(1)
    whole = (255 - mean.int()).sum()
    assert ((between > 0.2 * whole) & (between < 0.8 * whole)).flatten(1).any(1).sum() > 20


def test_the_policies_are_torchvisions():
    images = photographs(4)
    fill = [124, 116, 104]
    settings = {"interpolation": v2.InterpolationMode.BILINEAR, "fill": fill}
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


def test_apply_policy_names_what_is_wrong():
    images = photographs(2)
    for wrong, said in ((images.float(), "torch.float32, (2, 3, 16, 16)"), (images[0], "torch.uint8, (3, 16, 16)")):
        with raises(f"images (={said}) must be uint8 of shape (B, 3, H, W)"):
            apply_policy(wrong, "none", generator=seeded())
    with raises("images (=torch.uint8, (2, 1, 16, 16)) must be uint8 of shape (B, 3, H, W)"):
        apply_policy(images[:, :1], "none", generator=seeded())
    with raises("group (=0) must be an integer of at least 1"):
        apply_policy(images, "none", generator=seeded(), group=0)
    with raises("policy (='trivial') must be one of none, autoaugment, randaugment"):
        apply_policy(images, "trivial", generator=seeded())


# Lighting


def test_lighting_adds_a_combination_of_the_principal_components():
    vectors = torch.tensor(Lighting.EIGENVECTORS)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=1e-3, rtol=0)
    assert (vectors[:, 0] < 0).all()  # the first is brightness: the three colours together

    torch.manual_seed(0)
    lighting = Lighting()
    grey = torch.full((3, 2, 4), 128, dtype=torch.uint8)
    results = torch.stack([lighting(grey) for _ in range(3000)])
    assert results.dtype == torch.uint8
    assert (results == results[:, :, :1, :1]).all()
    shifts = (results[:, :, 0, 0].float() - 128) / 255
    assert shifts.mean(0).abs().max() < 0.002
    expected = vectors @ torch.diag((0.1 * torch.tensor(Lighting.EIGENVALUES)) ** 2) @ vectors.T
    rounding = torch.eye(3) / 12 / 255**2
    torch.testing.assert_close(shifts.T.cov(), expected + rounding, rtol=0.08, atol=2e-6)


def test_lighting_is_as_strong_as_told_and_stays_within_a_byte():
    torch.manual_seed(1)
    grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    assert Lighting(0.0)(grey).equal(grey)
    strong = torch.stack([Lighting(1.0)(grey) for _ in range(500)]).float().std(0).mean()
    weak = torch.stack([Lighting(0.25)(grey) for _ in range(500)]).float().std(0).mean()
    assert strong / weak == pytest.approx(4, rel=0.15)
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2).expand(3, 1, 2)
    for _ in range(50):
        low, high = Lighting(1.0)(ends)[:, 0].int().unbind(1)
        assert (low < 200).all()  # no wrapping round
        assert (high > 55).all()
    assert repr(Lighting(0.3)) == "Lighting(deviation=0.3)"
    assert Lighting().deviation == 0.1


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
        torch.testing.assert_close(result.double(), expected, atol=0.501, rtol=0)
        assert (result[expected == 0] == 0).all()
        assert (result[expected == 255] == 255).all()


def test_lighting_rounds():
    torch.manual_seed(2)
    grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    mean = torch.stack([Lighting(0.05)(grey) for _ in range(4000)]).float().mean()
    assert abs(mean.item() - 128) < 0.15


def test_lighting_names_what_is_wrong():
    with raises("deviation (=-0.1) must be a finite number at least 0"):
        Lighting(-0.1)
    for wrong, said in (
        (torch.zeros(3, 4, 4), "torch.float32, (3, 4, 4)"),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), "torch.uint8, (1, 4, 4)"),
        (torch.zeros(3, 3, 4, 4, dtype=torch.uint8), "torch.uint8, (3, 3, 4, 4)"),
    ):
        with raises(f"image (={said}) must be uint8 of shape (3, H, W)"):
            Lighting()(wrong)


# Large images, one at a time


def recipe(**changes: object) -> SimpleNamespace:
    plain = {"image_size": 32, "crop": 0.0, "flip": False, "policy": "none", "color_jitter": 0.0, "lighting": 0.0}
    return SimpleNamespace(**{**plain, **changes})


def gradient(height: int, width: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[..., 0] = np.linspace(0, 255, width)[None, :]
    array[..., 1] = np.linspace(0, 255, height)[:, None]
    array[..., 2] = 100
    return Image.fromarray(array)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": 0.08},
        {"crop": 0.08, "flip": True, "policy": "autoaugment", "color_jitter": 0.4, "lighting": 0.1},
        {"crop": 0.5, "policy": "randaugment"},
    ],
)
def test_transforms_give_bytes_of_the_recipes_size(changes):
    torch.manual_seed(0)
    transforms = train_transform(recipe(**changes)), test_transform(recipe(**changes))
    for transform, size in itertools.product(transforms, [(60, 60), (50, 90), (200, 70), (20, 20)]):
        image = transform(gradient(*size))
        assert isinstance(image, torch.Tensor)
        assert image.dtype == torch.uint8
        assert image.shape == (3, 32, 32)


def steps(transform) -> list:
    return list(transform.transforms)


def test_train_transform_is_what_the_recipe_says():
    found = steps(train_transform(recipe(crop=0.2, flip=True, policy="autoaugment", color_jitter=0.4, lighting=0.2)))
    assert [type(step).__name__ for step in found] == [
        "RandomResizedCrop",
        "RandomHorizontalFlip",
        "AutoAugment",
        "ColorJitter",
        "PILToTensor",
        "Lighting",
    ]
    crop, flip, policy, jitter, _, lighting = found
    assert tuple(crop.size) == (32, 32)
    assert tuple(crop.scale) == (0.2, 1)
    assert crop.interpolation == v2.InterpolationMode.BICUBIC
    assert flip.p == 0.5
    assert policy.policy == v2.AutoAugmentPolicy.IMAGENET
    assert tuple(jitter.brightness) == tuple(jitter.contrast) == tuple(jitter.saturation) == (0.6, 1.4)
    assert jitter.hue is None
    assert lighting.deviation == 0.2
    assert isinstance(steps(train_transform(recipe(policy="randaugment")))[3], v2.RandAugment)


def test_a_plain_recipe_trains_on_the_test_cut():
    image = gradient(50, 80)
    assert train_transform(recipe())(image).equal(test_transform(recipe())(image))
    assert [type(step).__name__ for step in steps(train_transform(recipe()))] == [
        "function",
        "Resize",
        "CenterCrop",
        "PILToTensor",
    ]


@pytest.mark.parametrize(
    ("size", "resized", "interpolation"),
    [(32, 37, "BILINEAR"), (224, 256, "BILINEAR"), (320, 352, "BICUBIC"), (416, 448, "BICUBIC")],
)
def test_test_transform_resizes_and_cuts_the_centre(size, resized, interpolation):
    _, resize, crop, _ = steps(test_transform(recipe(image_size=size)))
    assert list(resize.size) == [resized]
    assert resize.interpolation == v2.InterpolationMode[interpolation]
    assert tuple(crop.size) == (size, size)


def test_test_transform_is_not_random_and_looks_at_the_centre():
    transform = test_transform(recipe(crop=0.08, flip=True, policy="randaugment", color_jitter=0.4, lighting=0.1))
    image = transform(gradient(100, 200))
    assert image.equal(transform(gradient(100, 200)))
    assert abs(image[0].float().mean() - 127.5) < 6
    assert abs(image[1].float().mean() - 127.5) < 6
    # 32 / 37 of the height is left, and half as much of the width.
    assert image[1].max().int() - image[1].min().int() == pytest.approx(255 * 32 / 37, abs=8)
    assert image[0].max().int() - image[0].min().int() == pytest.approx(255 * 16 / 37, abs=8)


def test_train_transform_draws_anew_from_the_global_generator():
    transform = train_transform(recipe(crop=0.08, flip=True, policy="randaugment", color_jitter=0.4, lighting=0.1))
    image = gradient(60, 60)
    torch.manual_seed(3)
    first, second = transform(image), transform(image)
    torch.manual_seed(3)
    assert transform(image).equal(first)
    assert not second.equal(first)


def test_train_transform_names_what_is_wrong():
    with raises("policy (='trivial') must be one of none, autoaugment, randaugment"):
        train_transform(recipe(policy="trivial"))
