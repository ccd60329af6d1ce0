"""Real images with boxes, masks or maps, from a folder in the format of COCO or of PASCAL VOC.

COCO (https://cocodataset.org/#format-data) and a split's folder of images, or the same with a year or none::

    root/annotations/instances_train2017.json    root/train2017/*.jpg (or root/images/train2017)
    root/annotations/instances_val2017.json      root/val2017/*.jpg

PASCAL VOC (http://host.robots.ox.ac.uk/pascal/VOC), beneath ``root/VOCdevkit/VOC2012`` or in ``root`` itself::

    JPEGImages/NAME.jpg    Annotations/NAME.xml    SegmentationClass/NAME.png
    ImageSets/Main/train.txt, val.txt    ImageSets/Segmentation/train.txt, val.txt
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.transfer.annotations import Target
from resnest_edu.transfer.coco import CocoDetection, CocoSegmentation, coco_splits
from resnest_edu.transfer.voc import (
    VOC_CLASSES,
    VocDetection,
    VocSegmentation,
    voc_folder,
)

DetectionTransforms = tuple[Callable[[Tensor, Target], tuple[Tensor, Target]], ...]
SegmentationTransforms = tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], ...]


@dataclass(frozen=True)
class AnnotatedSplits:
    """Training and test images of the same classes, all for detection or all for segmentation.

    Attributes:
        train, test: their items are those of the scenes.
        classes: names; for segmentation the first is the background, for detection the first has label 1.
    """

    train: Dataset[Any]
    test: Dataset[Any]
    classes: tuple[str, ...]


def open_detection_folder(
    root: str | Path,
    *,
    masks: bool = False,
    transforms: DetectionTransforms | None = None,
) -> AnnotatedSplits:
    """Open a folder of images with boxes; which format it has is seen by its contents.

    Images become RGB, turned as the size that is stated means them (see ``resnest_edu.transfer.orientation``), and
    are read when an item is asked for. Boxes are clipped to the image; an object of whose box nothing is left, or whose
    mask is empty, is left out. COCO's crowds and VOC's difficult objects are marked ``"crowd"``. An image without
    objects is one.

    Args:
        root: the folder.
        masks: give instance masks too; COCO alone has them.
        transforms: for training and for test items.

    Raises:
        ValueError: the folder is missing, of neither format or incomplete; an annotation is not what its format says
            (the message names it); training or test has no object but crowds; masks of a VOC folder. When an item is
            read: its image is broken or not of the size that the annotations state, or nobody knows how it is turned.
        ImportError: a COCO folder, and pycocotools is not installed.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from resnest_edu.transfer import open_detection_folder
        >>> image = {"id": 1, "file_name": "1.png", "height": 60, "width": 80}
        >>> cat = {"id": 1, "image_id": 1, "category_id": 17, "bbox": [10, 20, 30, 40]}
        >>> coco = {"images": [image], "annotations": [cat], "categories": [{"id": 17, "name": "cat"}]}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "annotations").mkdir()
        ...     for split in ("train", "val"):
        ...         Path(root, split).mkdir()
        ...         Image.new("RGB", (80, 60)).save(Path(root, split, "1.png"))
        ...         _ = Path(root, f"annotations/instances_{split}.json").write_text(json.dumps(coco))
        ...     splits = open_detection_folder(root)
        ...     image, target = splits.train[0]
        >>> splits.classes, target["boxes"].tolist(), target["labels"].tolist()
        (('cat',), [[10.0, 20.0, 40.0, 60.0]], [1])
    """
    root = _require_folder(root)
    for_train, for_test = transforms or (None, None)
    if splits := coco_splits(root):
        train = CocoDetection(*splits[0], masks=masks, transform=for_train)
        test = CocoDetection(*splits[1], masks=masks, transform=for_test)
        return AnnotatedSplits(train, test, _same_classes(train.classes, test.classes, root))
    if folder := voc_folder(root):
        if masks:
            raise ValueError(
                f"masks (=True) must be False for the VOC folder {folder}: its annotations are boxes alone, "
                "which --detector faster or cascade finds"
            )
        voc = VocDetection(folder, "train", transform=for_train)
        return AnnotatedSplits(
            voc,
            VocDetection(folder, "val", classes=voc.classes, transform=for_test),
            voc.classes,
        )
    raise _neither(root)


def open_segmentation_folder(
    root: str | Path,
    *,
    classes: tuple[str, ...] | None = None,
    transforms: SegmentationTransforms | None = None,
) -> AnnotatedSplits:
    """Open a folder of images with maps of their pixels' classes; which format it has is seen by its contents.

    The maps of a COCO folder are made from its instance masks. A pixel that objects of different classes claim is
    ignored (255), since masks do not say which is in front; so is a pixel of a crowd alone, which encloses gaps too.

    Args:
        root, transforms: as for :func:`open_detection_folder`.
        classes: what the values of a VOC folder's maps mean, from 0, the background, on; by default PASCAL VOC's 21.
            COCO files name their own.

    Raises:
        ValueError: as :func:`open_detection_folder` does, for a map as for an annotation; training or test has no class
            but the background; ``classes`` of a COCO folder.
        ImportError: a COCO folder, and pycocotools is not installed.
    """
    root = _require_folder(root)
    for_train, for_test = transforms or (None, None)
    if splits := coco_splits(root):
        if classes is not None:
            raise ValueError(f"classes (={classes}) must be None for the COCO folder {root}: its files name them")
        train = CocoSegmentation(*splits[0], transform=for_train)
        test = CocoSegmentation(*splits[1], transform=for_test)
        return AnnotatedSplits(train, test, _same_classes(train.classes, test.classes, root))
    if folder := voc_folder(root):
        names = ("background", *VOC_CLASSES) if classes is None else tuple(classes)
        if not 2 <= len(names) <= 255:
            raise ValueError(f"classes (={len(names)}) must be from 2 to 255, the background among them")
        return AnnotatedSplits(
            VocSegmentation(folder, "train", classes=names, transform=for_train),
            VocSegmentation(folder, "val", classes=names, transform=for_test),
            names,
        )
    raise _neither(root)


def _require_folder(root: str | Path) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"root (={root}) must be a folder")
    return root


def _same_classes(train: tuple[str, ...], test: tuple[str, ...], root: Path) -> tuple[str, ...]:
    if train != test:
        raise ValueError(f"categories of the test in {root} (={test}) must be those of the training (={train})")
    return train


def _neither(root: Path) -> ValueError:
    return ValueError(
        f"root (={root}) must contain annotations/instances_train*.json (COCO) or ImageSets and JPEGImages (VOC)"
    )
