"""Real images with boxes, masks or maps, from a folder in the format of COCO or of PASCAL VOC.

COCO (https://cocodataset.org/#format-data) and a split's folder of images, or the same with a year or none::

    root/annotations/instances_train2017.json    root/train2017/*.jpg (or root/images/train2017)
    root/annotations/instances_val2017.json      root/val2017/*.jpg (or test, or both)

PASCAL VOC (http://host.robots.ox.ac.uk/pascal/VOC), beneath ``root/VOCdevkit/VOC2012`` or in ``root`` itself::

    JPEGImages/NAME.jpg    Annotations/NAME.xml    SegmentationClass/NAME.png
    ImageSets/Main/train.txt, val.txt    ImageSets/Segmentation/train.txt, val.txt (or test.txt, or both)
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from resnest_edu.data import ImageSplits
from resnest_edu.data.images import NO_TEST
from resnest_edu.transfer.annotations import Target
from resnest_edu.transfer.coco import CocoDetection, CocoSegmentation, coco_splits
from resnest_edu.transfer.voc import VOC_CLASSES, VocDetection, VocSegmentation, held_out_lists, voc_folder

DetectionTransforms = tuple[Callable[[Tensor, Target], tuple[Tensor, Target]], ...]
SegmentationTransforms = tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], ...]


class AnnotatedSplits(ImageSplits):
    """The partitions of a data set, all for detection or all for segmentation; see
    :class:`~resnest_edu.data.ImageSplits`. Their items are those of the scenes; of the classes, for segmentation the
    first is the background, for detection the first has label 1."""


def open_detection_folder(
    root: str | Path,
    *,
    masks: bool = False,
    transforms: DetectionTransforms | None = None,
) -> AnnotatedSplits:
    """Open a folder of images with boxes; which format it has is seen by its contents.

    A test's list in VOC's format is passed over if none of its annotations are there.

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
        others = [CocoDetection(*split, masks=masks, transform=for_test) for split in splits[1:]]
        return _coco(train, others, root)
    if folder := voc_folder(root):
        if masks:
            raise ValueError(
                f"masks (=True) must be False for the VOC folder {folder}: its annotations are boxes alone, "
                "which --detector faster or cascade finds"
            )
        voc = VocDetection(folder, "train", transform=for_train)
        lists = held_out_lists(folder, "Main", VocDetection.where)
        tests = [VocDetection(folder, name, classes=voc.classes, transform=for_test) for name in lists]
        return _splits(voc, tests, voc.classes, lists[0])
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
        return _coco(train, [CocoSegmentation(*split, transform=for_test) for split in splits[1:]], root)
    if folder := voc_folder(root):
        names = ("background", *VOC_CLASSES) if classes is None else tuple(classes)
        if not 2 <= len(names) <= 255:
            raise ValueError(f"classes (={len(names)}) must be from 2 to 255, the background among them")
        lists = held_out_lists(folder, "Segmentation", VocSegmentation.where)
        maps = VocSegmentation(folder, "train", classes=names, transform=for_train)
        others = [VocSegmentation(folder, name, classes=names, transform=for_test) for name in lists]
        return _splits(maps, others, names, lists[0])
    raise _neither(root)


def _require_folder(root: str | Path) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"root (={root}) must be a folder")
    return root


def _splits(train: Dataset, others: Sequence[Dataset], classes: tuple[str, ...], held_out: str) -> AnnotatedSplits:
    splits = AnnotatedSplits(train, others[0], classes, val=others[1] if len(others) > 1 else None)
    return splits if held_out == "test" else replace(splits, held_out=NO_TEST)


def _coco(train: Any, others: Sequence[Any], root: Path) -> AnnotatedSplits:
    for other in others:
        if other.classes != train.classes:
            name = "test" if other is others[0] else "validation"
            raise ValueError(
                f"categories of the {name} in {root} (={other.classes}) must be those of the training "
                f"(={train.classes})"
            )
    return _splits(train, others, train.classes, others[0].index.file.stem.removeprefix("instances_")[:4])


def _neither(root: Path) -> ValueError:
    return ValueError(
        f"root (={root}) must contain annotations/instances_train*.json (COCO) or ImageSets and JPEGImages (VOC)"
    )
