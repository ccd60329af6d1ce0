"""ResNeSt as a backbone: object detection, instance segmentation, semantic segmentation."""

from resnest_edu.transfer.augment import detection_transform, segmentation_transform
from resnest_edu.transfer.folders import AnnotatedSplits, open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.metrics import DetectionScore, SegmentationScore
from resnest_edu.transfer.scenes import SCENES, DetectionScenes, SegmentationScenes
from resnest_edu.transfer.targets import (
    IGNORED,
    Target,
    check_map,
    check_target,
    collate_detection,
    collate_segmentation,
    without_crowd,
)

__all__ = [
    "IGNORED",
    "SCENES",
    "AnnotatedSplits",
    "DetectionScenes",
    "DetectionScore",
    "SegmentationScenes",
    "SegmentationScore",
    "Target",
    "check_map",
    "check_target",
    "collate_detection",
    "collate_segmentation",
    "detection_transform",
    "open_detection_folder",
    "open_segmentation_folder",
    "segmentation_transform",
    "without_crowd",
]
