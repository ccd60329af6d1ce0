"""Transfer: the network as a backbone, for detection and segmentation."""

from resnest_edu.transfer.backbone import Pyramid, StageBackbone, create_backbone
from resnest_edu.transfer.segmentation import create_segmenter

__all__ = [
    "Pyramid",
    "StageBackbone",
    "create_backbone",
    "create_segmenter",
]
