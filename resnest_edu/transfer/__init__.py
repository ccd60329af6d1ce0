"""ResNeSt as a backbone: object detection, instance segmentation, semantic segmentation."""

from resnest_edu.transfer.annotated_folders import AnnotatedSplits, open_detection_folder, open_segmentation_folder
from resnest_edu.transfer.annotated_scenes import SCENES, DetectionScenes, SegmentationScenes
from resnest_edu.transfer.annotations import (
    IGNORED,
    Target,
    check_map,
    check_target,
    collate_detection,
    collate_segmentation,
    without_crowd,
)
from resnest_edu.transfer.backbone import Pyramid, StageBackbone, create_backbone, load_backbone
from resnest_edu.transfer.cascade import CascadeRoIHeads
from resnest_edu.transfer.detection import create_detector
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform
from resnest_edu.transfer.metrics import DetectionScore, SegmentationScore
from resnest_edu.transfer.partitions import folder_splits, scene_splits
from resnest_edu.transfer.segmentation import create_segmenter
from resnest_edu.transfer.tasks import (
    Detection,
    DetectionMetrics,
    Segmentation,
    SegmentationMetrics,
    detect,
    evaluate_detector,
    evaluate_segmenter,
)
from resnest_edu.transfer.transfer_recipes import TRANSFER_RECIPES, DetectionRecipe, SegmentationRecipe, TransferRecipe

__all__ = [
    "IGNORED",
    "SCENES",
    "TRANSFER_RECIPES",
    "AnnotatedSplits",
    "CascadeRoIHeads",
    "Detection",
    "DetectionMetrics",
    "DetectionRecipe",
    "DetectionScenes",
    "DetectionScore",
    "Pyramid",
    "Segmentation",
    "SegmentationMetrics",
    "SegmentationRecipe",
    "SegmentationScenes",
    "SegmentationScore",
    "StageBackbone",
    "Target",
    "TransferRecipe",
    "check_map",
    "check_target",
    "collate_detection",
    "collate_segmentation",
    "create_backbone",
    "create_detector",
    "create_segmenter",
    "detect",
    "detection_transform",
    "evaluate_detector",
    "evaluate_segmenter",
    "folder_splits",
    "load_backbone",
    "open_detection_folder",
    "open_segmentation_folder",
    "scene_splits",
    "segmentation_transform",
    "without_crowd",
]
