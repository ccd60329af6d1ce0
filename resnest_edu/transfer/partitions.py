"""The images a recipe for detection or segmentation is trained and tested on: the embedded scenes, or a folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnest_edu.transfer.annotated_folders import AnnotatedSplits, open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.annotated_scenes import SCENES, DetectionScenes, SegmentationScenes
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform
from resnest_edu.transfer.transfer_recipes import DetectionRecipe, TransferRecipe


def scene_splits(recipe: TransferRecipe, seed: int) -> AnnotatedSplits:
    """The embedded scenes at the recipe's image size, mirrored in training if the recipe says so.

    Args:
        recipe: how many scenes, how large, and whether for detection or for segmentation.
        seed: which endless sequence they are from.

    Raises:
        ValueError: the image size is so small that objects would have fewer than 6 pixels.
    """
    config = replace(SCENES, size=recipe.image_size)
    kind: Callable[..., Any]
    mirror: Any
    if isinstance(recipe, DetectionRecipe):
        kind, mirror = DetectionScenes, detection_transform(True, flip=recipe.flip)
    else:
        size = recipe.image_size
        kind, mirror = SegmentationScenes, segmentation_transform(True, size=size, flip=recipe.flip, scale=(1, 1))
    train = kind(recipe.train_scenes, seed=seed, split="train", config=config, transform=mirror)
    test = kind(recipe.test_scenes, seed=seed, split="test", config=config)
    return AnnotatedSplits(train, test, kind.classes)


def folder_splits(recipe: TransferRecipe, folder: str | Path) -> AnnotatedSplits:
    """A folder in COCO's or VOC's format. For detection the images' shorter sides are resized to the recipe's image
    size; for segmentation squares of it are cut out of them, at scales from a half to two.

    Args:
        recipe: the image size, and whether for detection, with masks or without, or for segmentation.
        folder: see :func:`~resnest_edu.transfer.open_detection_folder`.

    Raises:
        ValueError, ImportError: as :func:`~resnest_edu.transfer.open_detection_folder` does.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from resnest_edu.transfer import TRANSFER_RECIPES, folder_splits
        >>> with tempfile.TemporaryDirectory() as root:  # of PASCAL VOC's format
        ...     for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        ...         Path(root, part).mkdir(parents=True)
        ...     for name in ("train", "val"):  # one image each, of that name
        ...         _ = Path(root, f"ImageSets/Segmentation/{name}.txt").write_text(name)
        ...         Image.new("RGB", (80, 60)).save(Path(root, f"JPEGImages/{name}.png"))
        ...         Image.new("L", (80, 60), 8).save(Path(root, f"SegmentationClass/{name}.png"))
        ...     splits = folder_splits(TRANSFER_RECIPES["segment-shapes"], Path(root))
        ...     crop, (resized, classes) = splits.train[0][0], splits.test[0]
        >>> crop.shape, resized.shape, splits.classes[classes[0, 0]]
        (torch.Size([3, 96, 96]), torch.Size([3, 96, 128]), 'cat')
    """
    size, flip = recipe.image_size, recipe.flip
    if isinstance(recipe, DetectionRecipe):
        resize = detection_transform(True, flip=flip, size=size), detection_transform(False, size=size)
        return open_detection_folder(folder, masks=recipe.masks, transforms=resize)
    crop = segmentation_transform(True, flip=flip, size=size), segmentation_transform(False, size=size)
    return open_segmentation_folder(folder, transforms=crop)
