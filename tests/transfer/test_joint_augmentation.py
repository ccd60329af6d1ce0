import pickle
from itertools import islice

import pytest
import torch

from resnest_edu.training.augmentation import MEAN
from resnest_edu.transfer.annotated_scenes import DetectionScenes, SegmentationScenes
from resnest_edu.transfer.annotations import check_map, check_target
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform
from tests.refused import assert_refused

CLASSES = len(DetectionScenes.classes)


def empty() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    image, target = DetectionScenes(1)[0]
    return image, {name: field[:0] for name, field in target.items()}


def test_an_image_is_mirrored_with_its_boxes_and_masks_half_of_the_time() -> None:
    transform, mirrored = detection_transform(True), []
    for seed, (image, target) in enumerate(islice(DetectionScenes(40), 40)):
        torch.manual_seed(seed)
        found, moved = transform(image, target)
        check_target(moved, (96, 96), CLASSES, "scene")
        assert type(found) is torch.Tensor and all(type(field) is torch.Tensor for field in moved.values())
        mirrored.append(not torch.equal(found, image))
        if mirrored[-1]:
            assert torch.equal(found, image.flip(-1)) and torch.equal(moved["masks"], target["masks"].flip(-1))
            x1, y1, x2, y2 = target["boxes"].unbind(1)
            assert torch.equal(moved["boxes"], torch.stack([96 - x2, y1, 96 - x1, y2], 1))
        else:
            assert all(torch.equal(moved[name], target[name]) for name in target)
        assert torch.equal(moved["labels"], target["labels"]) and torch.equal(moved["crowd"], target["crowd"])
    assert 10 < sum(mirrored) < 30


def test_without_chance_an_item_stays_as_it_is() -> None:
    for transform in detection_transform(False), detection_transform(True, flip=False):
        for image, target in islice(DetectionScenes(8), 8):
            same, unmoved = transform(image, target)
            assert torch.equal(same, image) and all(torch.equal(unmoved[name], target[name]) for name in target)


def test_boxes_and_masks_are_resized_with_the_image() -> None:
    image, target = DetectionScenes(1)[0]
    wide = torch.cat([image, image], 2)  # 96 x 192
    target["masks"] = torch.cat([target["masks"], torch.zeros_like(target["masks"])], 2)
    found, moved = detection_transform(False, size=48)(wide, target)
    assert found.shape == (3, 48, 96) and found.dtype == torch.uint8
    torch.testing.assert_close(moved["boxes"], target["boxes"] / 2)
    assert moved["masks"].shape[1:] == (48, 96) and moved["masks"].unique().tolist() == [0, 1]
    check_target(moved, (48, 96), CLASSES, "scene")


def test_an_image_without_objects_and_one_without_masks_pass() -> None:
    bare = {name: field for name, field in DetectionScenes(1)[0][1].items() if name != "masks"}
    for size in (None, 50):
        for seed in range(4):
            torch.manual_seed(seed)
            for image, target in empty(), (DetectionScenes(1)[0][0], bare):
                found, moved = detection_transform(True, size=size)(image, target)
                check_target(moved, found.shape[1:], CLASSES, "scene")
                assert found.shape[1] == (size or 96) and moved["boxes"].shape == target["boxes"].shape


def test_a_map_moves_with_its_image() -> None:
    # Pictures that show their own map, so that one can be told from the other.
    transform = segmentation_transform(True, size=64, scale=(1.0, 1.0))
    differs = 0
    for seed, (_, classes) in enumerate(islice(SegmentationScenes(20), 20)):
        classes = classes.repeat_interleave(2, 0).repeat_interleave(2, 1)[:, :160]
        torch.manual_seed(seed)
        image, found = transform((classes * 20).to(torch.uint8).expand(3, -1, -1), classes)
        check_map(found, (64, 64), CLASSES + 1, "scene")
        assert image.shape == (3, 64, 64) and image.dtype == torch.uint8
        assert type(image) is torch.Tensor and type(found) is torch.Tensor
        inside = found[1:-1, 1:-1]
        shown = (image[0, 1:-1, 1:-1].double() / 20).round()
        # Where classes meet, the image is blurred and the map is not.
        assert (shown == inside).double().mean() > 0.8
        differs += int((inside > 0).any())
    assert differs > 10


def test_what_is_added_around_a_small_image_is_mean_and_ignored() -> None:
    transform, shares = segmentation_transform(True, size=60, scale=(0.5, 2.0)), []
    for seed, (_, classes) in enumerate(islice(SegmentationScenes(30), 30)):
        torch.manual_seed(seed)
        image, found = transform(torch.zeros(3, 96, 96, dtype=torch.uint8), classes)
        assert found.shape == (60, 60) and image.shape == (3, 60, 60)
        added = found == 255
        shares.append(float(added.double().mean()))
        assert (image[:, ~added] == 0).all()
        assert (image[:, added] == torch.tensor([round(255 * mean) for mean in MEAN])[:, None]).all()
    # The smallest image is a square of half the side, three quarters around it added; the larger ones need nothing.
    assert 0.6 < max(shares) <= 0.76 and min(shares) == 0 and 0.1 < sum(share > 0 for share in shares) / 30 < 0.6


@pytest.mark.parametrize(("height", "width"), [(12, 3000), (3000, 12), (1, 4000)])
def test_the_longer_side_of_a_strip_has_a_limit(height: int, width: int) -> None:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    short = max(1, 1333 * min(height, width) // max(height, width))
    sides = (short, 1333) if height < width else (1333, short)
    target = {
        "boxes": torch.tensor([[0.0, 0, width, height]]),
        "labels": torch.tensor([1]),
        "crowd": torch.zeros(1) > 0,
    }
    target["masks"] = torch.ones(1, height, width, dtype=torch.uint8)
    for train in (True, False):
        found, moved = detection_transform(train, size=256)(image, target)
        assert found.shape == (3, *sides) and moved["masks"].shape == (1, *sides)
        check_target(moved, sides, CLASSES, "strip")
        torch.testing.assert_close(moved["boxes"], torch.tensor([[0.0, 0, sides[1], sides[0]]]))
    classes = torch.ones(height, width, dtype=torch.int64)
    found, moved = segmentation_transform(False, size=256)(image, classes)
    assert found.shape == (3, *sides) and moved.shape == sides
    with torch.profiler.profile(profile_memory=True) as profile:
        assert segmentation_transform(True, size=256)(image, classes)[1].shape == (256, 256)
    assert max(event.cpu_memory_usage for event in profile.events()) < 20e6


def test_the_limit_leaves_ordinary_images_alone_and_grows_with_the_size() -> None:
    rows = [(256, (300, 1500), (256, 1280)), (800, (300, 600), (666, 1333)), (1500, (300, 400), (1500, 2000))]
    for size, sides, expected in rows:
        image, masks = torch.zeros(3, *sides, dtype=torch.uint8), torch.zeros(0, *sides)
        assert detection_transform(False, size=size)(image, empty()[1] | {"masks": masks})[0].shape == (3, *expected)
    street = torch.zeros(3, 100, 200, dtype=torch.uint8), torch.zeros(100, 200, dtype=torch.int64)
    assert segmentation_transform(False, size=800)(*street)[0].shape == (3, 800, 1600)


def test_the_least_and_the_greatest_scale_are_both_drawn() -> None:
    transform = segmentation_transform(True, size=4, flip=False, scale=(0.5, 1.0))
    image, classes = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.int64)
    torch.manual_seed(0)
    inside = {int((transform(image, classes)[1] == 0).sum()) for _ in range(60)}
    assert inside == {4, 9, 16}


def test_segmentation_is_mirrored_only_if_asked() -> None:
    image, classes = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64), torch.zeros(64, 64, dtype=torch.int64)
    for flip, expected in (True, {0, 63}), (False, {0}):
        transform, found = segmentation_transform(True, size=64, flip=flip, scale=(1, 1)), set()
        for seed in range(20):
            torch.manual_seed(seed)
            found.add(int(transform(image, classes)[0][0, 0, 0]))
        assert found == expected


def test_test_items_are_resized_or_left() -> None:
    image, classes = SegmentationScenes(1)[0]
    image, classes = image[:, :72], classes[:72]
    same, unmoved = segmentation_transform(False)(image, classes)
    assert torch.equal(same, image) and torch.equal(unmoved, classes)
    small, moved = segmentation_transform(False, size=36)(image, classes)
    assert small.shape == (3, 36, 48) and moved.shape == (36, 48) and moved.dtype == torch.int64
    assert set(moved.unique().tolist()) <= set(classes.unique().tolist())


def test_chance_comes_from_the_global_generator_and_transforms_travel_to_workers() -> None:
    item, transform = SegmentationScenes(1)[0], segmentation_transform(True, size=64)
    torch.manual_seed(5)
    first, other = transform(*item), transform(*item)
    torch.manual_seed(5)
    again = pickle.loads(pickle.dumps(transform))(*item)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_bad_arguments_are_refused() -> None:
    assert_refused(lambda size: detection_transform(True, size=size), [(0, r"size \(=0\)")])
    rows = [
        ({}, r"size \(=None\) must be given for training"),
        ({"size": 0}, r"size \(=0\)"),
        ({"size": 8, "scale": (0, 1)}, r"scale\[0\] \(=0\)"),
        ({"size": 8, "scale": (0.5, 0.4)}, r"scale\[1\] \(=0\.4\)"),
    ]
    assert_refused(lambda options: segmentation_transform(True, **options), rows)
