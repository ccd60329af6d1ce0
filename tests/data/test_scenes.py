import hashlib
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_edu.data import SHAPE_CLASSES, TEST_START, SceneConfig, Scenes, ShapesDataset, draw_scenes
from tests.refused import assert_refused

CROWDED = SceneConfig(size=32, objects=(1, 8), scale=(0.2, 0.7), clutter=2, occlusion=0.4)


def assert_same(one: Scenes, other: Scenes) -> None:
    for field in fields(Scenes):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.dtype == right.dtype, field.name
        np.testing.assert_array_equal(left, right, err_msg=field.name)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SceneConfig(), "09c9b371971fac4ce49fd70246f44e989b2638138e65d2dbe58c5b0d8873b6ef"),
        (CROWDED, "d7a7d010b1e5a04bb502af0078c80a1ff687120275e84889b8c4716f8ca4c2b3"),
    ],
    ids=["one object", "crowded"],
)
def test_same_bytes_on_every_machine(config: SceneConfig, expected: str) -> None:
    scenes = draw_scenes(5, 24, seed=3, config=config)
    digest = hashlib.sha256()
    for field in fields(Scenes):
        array = getattr(scenes, field.name)
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest() == expected


def test_shapes_and_dtypes() -> None:
    scenes = draw_scenes(0, 3, config=SceneConfig(size=16, objects=(1, 2), scale=(0.4, 0.5)))
    arrays = {field.name: getattr(scenes, field.name) for field in fields(Scenes)}
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        "images": ((3, 3, 16, 16), np.uint8),
        "labels": ((3,), np.int64),
        "boxes": ((3, 2, 4), np.float32),
        "classes": ((3, 2), np.int64),
        "instance_masks": ((3, 2, 16, 16), np.bool_),
        "semantic": ((3, 16, 16), np.uint8),
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 400), st.integers(0, 150), st.integers(0, 2**64 - 1))
def test_scenes_do_not_depend_on_the_batch(start: int, count: int, seed: int) -> None:
    config = SceneConfig(size=16, objects=(1, 2), scale=(0.4, 0.6))
    together = draw_scenes(start, count + 1, seed=seed, config=config)
    alone = draw_scenes(start + count, 1, seed=seed, config=config)
    assert_same(Scenes(*(getattr(together, field.name)[-1:] for field in fields(Scenes))), alone)


def test_batches_longer_than_a_chunk_join_up() -> None:
    long = draw_scenes(0, 300)
    assert_same(Scenes(*(getattr(long, field.name)[100:] for field in fields(Scenes))), draw_scenes(100, 200))


def test_annotations_agree() -> None:
    scenes = draw_scenes(0, 300, config=CROWDED)
    hidden = 0
    for scene in range(300):
        painted = np.zeros((32, 32), dtype=np.uint8)
        for slot in range(8):
            mask, box = scenes.instance_masks[scene, slot], scenes.boxes[scene, slot]
            if scenes.classes[scene, slot] < 0:
                assert not mask.any() and not box.any()
                hidden += (scenes.classes[scene, slot + 1 :] >= 0).any()
                continue
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert not painted[mask].any()
            painted[mask] = scenes.classes[scene, slot] + 1
        np.testing.assert_array_equal(scenes.semantic[scene], painted)
    np.testing.assert_array_equal(scenes.labels, scenes.classes[:, 0])
    assert (scenes.labels >= 0).all()
    assert hidden, "no object was hidden altogether, so the test saw no emptied slot"


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_enlarge_changes_the_extent_and_nothing_else(factor: float) -> None:
    small, large = (
        draw_scenes(0, 60, config=SceneConfig(size=128, scale=(0.3, 0.4), occlusion=0, enlarge=enlarge))
        for enlarge in (1.0, factor)
    )
    np.testing.assert_array_equal(small.labels, large.labels)
    extent, enlarged = (scenes.boxes[:, 0, 2:] - scenes.boxes[:, 0, :2] for scenes in (small, large))
    assert np.abs(enlarged - factor * extent).max() <= 1 + 2 * factor
    # Far from the object the picture is the same to the byte.
    far = np.ones((60, 128, 128), dtype=bool)
    for scenes in (small, large):
        for scene, (x1, y1, x2, y2) in enumerate(scenes.boxes[:, 0].astype(int)):
            reach = 16  # the shadow, longest in the mouth of a crescent
            far[scene, max(y1 - reach, 0) : y2 + reach, max(x1 - reach, 0) : x2 + reach] = False
    assert far.mean() > 0.2
    assert (small.images == large.images).all(axis=1)[far].all()
    assert (small.images != large.images).any(axis=(1, 2, 3)).all()
    # The object keeps its colours, and its centre wherever there is room.
    means = [
        (scenes.images * scenes.instance_masks).sum(axis=(2, 3)) / scenes.instance_masks.sum(axis=(2, 3))
        for scenes in (small, large)
    ]
    assert np.abs(means[0] - means[1]).max() < 25
    # The middle of a round box is the centre, which moves only where the picture ends.
    centres = [(scenes.boxes[:, 0, 2:] + scenes.boxes[:, 0, :2]) / 2 for scenes in (small, large)]
    expected = np.clip(centres[0], enlarged / 2, 128 - enlarged / 2)
    disk_or_ring = small.labels < 2
    assert np.abs(centres[1] - expected)[disk_or_ring].max() <= 1.5


def test_enlarge_keeps_what_is_hidden() -> None:
    config = SceneConfig(size=128, scale=(0.3, 0.4), occlusion=0.3)
    area, enlarged = (
        draw_scenes(0, 60, config=replace(config, enlarge=factor)).instance_masks.sum(axis=(1, 2, 3))
        for factor in (1.0, 2.0)
    )
    np.testing.assert_allclose(enlarged / area, 4, rtol=0.08)


def test_objects_lie_inside_the_picture_at_their_scale() -> None:
    scenes = draw_scenes(0, 400, config=SceneConfig(size=64, scale=(0.5, 0.5), clutter=0, occlusion=0))
    disks = scenes.boxes[scenes.labels == SHAPE_CLASSES.index("disk"), 0]
    np.testing.assert_allclose(disks[:, 2:] - disks[:, :2], 32, atol=1)
    assert ((scenes.boxes[..., 2:] - scenes.boxes[..., :2]).max(axis=(1, 2)) >= 0.8 * 32 * 0.7).all()


def test_occlusion_stays_within_its_share() -> None:
    config = {"size": 64, "scale": (0.6, 0.8), "clutter": 0}
    whole = draw_scenes(0, 300, config=SceneConfig(**config, occlusion=0)).instance_masks.sum(axis=(1, 2, 3))
    share = 1 - draw_scenes(0, 300, config=SceneConfig(**config, occlusion=0.3)).instance_masks.sum(
        axis=(1, 2, 3)
    ) / np.maximum(whole, 1)
    assert share.mean() > 0.03
    assert share.max() < 0.3 + 0.03
    assert (share > 0.02).mean() > 0.7


def test_clutter_changes_neither_object_nor_annotation() -> None:
    bare = draw_scenes(0, 40, config=SceneConfig(clutter=0, occlusion=0))
    full = draw_scenes(0, 40, config=SceneConfig(clutter=6, occlusion=0))
    np.testing.assert_array_equal(bare.instance_masks, full.instance_masks)
    assert (bare.images != full.images).any(axis=(1, 2, 3)).mean() > 0.9


def test_size_changes_only_the_resolution() -> None:
    small, large = (draw_scenes(0, 50, config=SceneConfig(size=size, occlusion=0)) for size in (32, 128))
    np.testing.assert_array_equal(small.labels, large.labels)
    assert np.abs(large.boxes / 4 - small.boxes).max() <= 2.0


def test_objects_stand_out_from_the_ground() -> None:
    scenes = draw_scenes(0, 400, config=SceneConfig(size=64, clutter=0, occlusion=0))
    luma = (scenes.images * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(axis=1) / 255
    mask = scenes.instance_masks[:, 0]
    inside, outside = ((luma * m).sum(axis=(1, 2)) / m.sum(axis=(1, 2)) for m in (mask, ~mask))
    assert np.abs(inside - outside).min() > 0.15
    # Lighter and darker are about as frequent, so brightness tells nothing.
    assert 0.35 < (inside > outside).mean() < 0.65


def test_classes_are_balanced() -> None:
    _, labels = ShapesDataset(4000, config=SceneConfig(size=8, scale=(0.8, 0.9), clutter=0)).tensors()
    counts = torch.bincount(labels, minlength=8)
    assert len(counts) == len(SHAPE_CLASSES) == 8
    assert counts.min() > 400 and counts.max() < 600


def test_dataset_items_and_tensors() -> None:
    for split in ("train", "test"):
        dataset = ShapesDataset(5, seed=7, split=split)
        images, labels = dataset.tensors()
        assert (images.dtype, labels.dtype, len(dataset)) == (torch.uint8, torch.int64, 5)
        assert images.shape == (5, 3, 32, 32)
        for index in (0, 4, -1):
            image, label = dataset[index]
            assert torch.equal(image, images[index]) and label == labels[index] and isinstance(label, int)
    with pytest.raises(IndexError):
        ShapesDataset(5)[5]


def test_train_and_test_are_disjoint() -> None:
    train, test = (ShapesDataset(2000, split=split).tensors()[0] for split in ("train", "test"))
    assert not {image.numpy().tobytes() for image in train} & {image.numpy().tobytes() for image in test}
    np.testing.assert_array_equal(test[:3].numpy(), draw_scenes(TEST_START, 3).images)


def test_config_is_checked() -> None:
    rows = [
        ({"size": 0}, r"size \(=0\) must be at least 8"),
        ({"objects": (0, 1)}, r"objects \(=\(0, 1\)\) must be \(least, greatest\) within 1 to 32"),
        ({"objects": (3, 2)}, r"objects \(=\(3, 2\)\) must be \(least, greatest\) within 1 to 32"),
        ({"scale": (0.5, 1.1)}, r"scale \(=\(0.5, 1.1\)\) must be \(least, greatest\) above 0 and up to 1"),
        ({"scale": (0.1, 0.2)}, r"scale \(=\(0.1, 0.2\)\) must give objects of at least 6 pixels at .*"),
        ({"enlarge": 0.5}, r"enlarge \(=0.5\) must be at least 1"),
        ({"enlarge": 2.0}, r"enlarge \(=2.0\) must be at most 1 / greatest scale \(=1.111\)"),
        ({"clutter": -1}, r"clutter \(=-1\) must be from 0 to 32"),
        ({"occlusion": 0.6}, r"occlusion \(=0.6\) must be from 0 to 0.5"),
    ]
    assert_refused(lambda given: SceneConfig(**given), [(given, f"^{message}$") for given, message in rows])


def test_arguments_are_checked() -> None:
    rows = [
        (lambda: draw_scenes(-1, 1), r"start \(=-1\) must be at least 0"),
        (lambda: draw_scenes(0, -1), r"count \(=-1\) must be at least 0"),
        (lambda: draw_scenes(2 * TEST_START, 1), r"start \+ count \(=2199023255553\) must be at most \d+"),
        (lambda: draw_scenes(0, 1, seed=-1), r"seed \(=-1\) must be from 0 to 2\*\*64 - 1"),
        (lambda: ShapesDataset(0), r"count \(=0\) must be from 1 to 1099511627776"),
        (lambda: ShapesDataset(1, split="val"), r"split \(='val'\) must be 'train' or 'test'"),
    ]
    assert_refused(lambda call: call(), [(call, f"^{message}$") for call, message in rows])


def test_throughput() -> None:
    draw_scenes(0, 256)
    start = time.process_time()
    draw_scenes(0, 2048)
    # 7,000 a second on one core that is not shared.
    assert 2048 / (time.process_time() - start) > 1500


def test_pixels_alone_do_not_give_the_class_away() -> None:
    (images, labels), (test_images, test_labels) = (
        ShapesDataset(count, split=split).tensors() for count, split in ((6000, "train"), (1000, "test"))
    )
    pixels, test_pixels = (batch.flatten(1).float() / 128 - 1 for batch in (images, test_images))
    targets = torch.nn.functional.one_hot(labels).float()
    gram = pixels.T @ pixels + 3000 * torch.eye(pixels.shape[1])
    weights = torch.linalg.solve(gram, pixels.T @ (targets - 1 / 8))
    assert ((test_pixels @ weights).argmax(dim=1) == test_labels).float().mean() < 0.5
