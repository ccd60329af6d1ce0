"""Detectors on a pyramid of features: torchvision's Faster and Mask R-CNN, a cascade.

Torchvision builds and runs them. Here is what a pyramid of any strides and images of any size need: anchors, levels to
crop boxes from, heads as small as one likes.
"""

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from resnest_edu.arguments import require_in_range, require_one_of, require_positive_int
from resnest_edu.transfer.cascade import (
    THRESHOLDS,
    WEIGHTS,
    CascadeRoIHeads,
    ClassAgnosticPredictor,
    check_stages,
)

KINDS = ("faster", "mask", "cascade", "cascade_mask")
RATIOS = (0.5, 1.0, 2.0)
"""Heights of anchors by their widths."""
CROP = 7
"""The side of a box's features; those for its mask have twice as much."""


def create_detector(
    kind: str,
    pyramid: nn.Module,
    num_classes: int,
    *,
    image_size: int | None = None,
    max_size: int = 1333,
    anchor_scale: float = 8,
    head_width: int = 1024,
    **options: Any,
) -> GeneralizedRCNN:
    """Build a detector with fresh heads on ``pyramid``.

    Images go in normalized, as a list of (3, H, W); they may differ in size. While it trains, the detector takes a list
    of targets too and returns a dict of losses, to be added up. In evaluation mode it returns for each image a dict of
    ``boxes`` (n, 4), ``labels`` and ``scores`` (n,) and, if it finds masks, ``masks`` (n, 1, H, W), probabilities.

    Args:
        kind: "faster" (Faster R-CNN, arXiv:1506.01497), "mask" (Mask R-CNN, arXiv:1703.06870), "cascade" (Cascade
            R-CNN, arXiv:1712.00726) or "cascade_mask", on a feature pyramid (arXiv:1612.03144) all.
        pyramid: images (B, 3, H, W) -> dict of features, fine to coarse, all with ``out_channels`` channels; its
            ``strides`` has their strides by the same names. Boxes have anchors on all levels, and are cropped from all
            but the last, or from that too if the pyramid's ``extra_level`` is false.
        num_classes: how many there are to find, without the background. Labels run from 1 to it.
        image_size: resize images so that the shorter side has this many pixels, but the longer at most ``max_size``.
            None leaves images as they are.
        max_size: see there.
        anchor_scale: an anchor's side in strides of its level, 8 in the paper on pyramids. Less finds smaller objects.
        head_width: features of a box's representation.
        options: numbers of torchvision's ``FasterRCNN`` whose names begin with ``rpn_`` or ``box_``, such as
            ``box_score_thresh``. In the place of ``box_fg_iou_thresh`` and ``box_bg_iou_thresh`` a cascade has
            ``iou_thresholds`` and ``box_weights`` of :class:`~resnest_edu.transfer.cascade.CascadeRoIHeads`, and
            ``class_agnostic``: whether all classes share one box (they do).

    Raises:
        ValueError: an argument is not as above, or an option is unknown.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import Pyramid, create_backbone, create_detector
        >>> pyramid = Pyramid(create_backbone("resnest11_small"), out_channels=16)
        >>> detector = create_detector("mask", pyramid, 8, anchor_scale=4, head_width=32)
        >>> images = [torch.randn(3, 64, 64), torch.randn(3, 48, 80)]
        >>> found = detector.eval()(images)
        >>> len(found), sorted(found[0]), found[1]["masks"].shape[1:]
        (2, ['boxes', 'labels', 'masks', 'scores'], torch.Size([1, 48, 80]))
    """
    require_positive_int(num_classes=num_classes, head_width=head_width)
    require_positive_int(max_size=max_size)
    if image_size is not None:
        require_positive_int(image_size=image_size)
    require_in_range("anchor_scale", anchor_scale, 0, open_low=True)
    require_one_of("kind", kind, KINDS)
    strides, channels, levels = _levels(pyramid)
    stages, predictor = _take_stages(kind, options)

    classes = num_classes + 1  # and the background
    number = len(stages["iou_thresholds"])
    heads = [TwoMLPHead(channels * CROP**2, head_width) for _ in range(number)]
    predictors = [predictor(head_width, classes) for _ in range(number)]
    parts: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(
            tuple((anchor_scale * stride,) for stride in strides.values()),
            (RATIOS,) * len(strides),
        ),
        "box_roi_pool": _crop(levels, CROP, anchor_scale),
        "box_head": heads[0],
        "box_predictor": predictors[0],
    }
    if "mask" in kind:
        parts |= {
            "mask_roi_pool": _crop(levels, 2 * CROP, anchor_scale),
            "mask_head": MaskRCNNHeads(channels, (channels,) * 4, dilation=1),
            "mask_predictor": MaskRCNNPredictor(channels, channels, classes),
        }
    build = MaskRCNN if "mask" in kind else FasterRCNN
    model = build(pyramid, **parts, **options)
    if "cascade" in kind:
        model.roi_heads = _to_cascade(model.roi_heads, heads, predictors, **stages)
    # Padded to multiples of the coarsest of these strides, images fill whole cells.
    transform = KeepSize if image_size is None else GeneralizedRCNNTransform
    padding = {"size_divisible": max(levels.values())}
    sides = (image_size or 1, max_size)
    model.transform = transform(*sides, (0, 0, 0), (1, 1, 1), **padding)
    for part in (pyramid, model.rpn.head, *predictors):
        part.register_forward_hook(_in_single_precision)
    return model


class ExportableDetector(nn.Module):
    """A detector as it leaves Python, one image in, tensors out, by ``torch.jit.trace`` or ``torch.onnx.export(…,
    dynamo=False)``, for images as large as the example.

    ``torch.export`` cannot follow torchvision's detectors, where the number of boxes decides what is done with them.

    Shape: (3, H, W) -> boxes (n, 4), labels (n,), scores (n,) and, of a detector with masks, masks (n, 1, H, W).

    Raises:
        ValueError: the detector is training.
    """

    def __init__(self, detector: GeneralizedRCNN) -> None:
        super().__init__()
        if detector.training:
            raise ValueError("detector must be in evaluation mode: call eval() first")
        self.detector = detector
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Shape: (3, H, W) -> (n, 4), (n,), (n,) and of masks (n, 1, H, W)."""
        [found] = self.detector([image])
        names = ("boxes", "labels", "scores", "masks")
        return tuple(found[name] for name in names if name in found)


class KeepSize(GeneralizedRCNNTransform):
    """Images to one batch, each in its own size, padded at the right and below."""

    def resize(
        self,
        image: Tensor,
        target: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def _levels(pyramid: Any) -> tuple[dict[str, int], int, dict[str, int]]:
    """All strides, the channels, and the strides of levels to crop boxes from."""
    for attribute in ("out_channels", "strides"):
        if not hasattr(pyramid, attribute):
            name = type(pyramid).__name__
            raise ValueError(f"pyramid (={name}) must have the attribute {attribute}")
    strides = dict(pyramid.strides)
    levels = strides.copy()
    if getattr(pyramid, "extra_level", True):
        levels.popitem()
    if not levels:
        raise ValueError(f"pyramid's strides (={strides}) must be two at least")
    return strides, pyramid.out_channels, levels


def _take_stages(kind: str, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Take a cascade's own options out: its stages, and their class of predictor."""
    known = {
        name
        for name, parameter in inspect.signature(FasterRCNN).parameters.items()
        if name[:4] in ("rpn_", "box_") and isinstance(parameter.default, int | float)
    }
    cascade: dict[str, Any] = {"iou_thresholds": THRESHOLDS, "box_weights": WEIGHTS}
    cascade["class_agnostic"] = True
    if "cascade" in kind:
        known = known - {"box_fg_iou_thresh", "box_bg_iou_thresh"} | set(cascade)
    for name in options:
        require_one_of("option", name, sorted(known))
    if "cascade" not in kind:
        return {"iou_thresholds": (None,)}, FastRCNNPredictor
    stages = {name: options.pop(name, default) for name, default in cascade.items()}
    shared = stages.pop("class_agnostic")
    check_stages(**stages)
    return stages, ClassAgnosticPredictor if shared else FastRCNNPredictor


def _crop(strides: dict[str, int], side: int, scale: float) -> MultiScaleRoIAlign:
    """RoIAlign on the level that fits a box's size (arXiv:1612.03144, eq. 1).

    There a level begins at 14 strides (224 pixels where the stride is 16), 1.75 times its anchors; here too, whatever
    the scale of anchors. Torchvision guesses strides from sizes, and wrongly where a small image was padded: so it is
    told.
    """
    pool = MultiScaleRoIAlign(list(strides), output_size=side, sampling_ratio=2)
    pool.scales = [1 / stride for stride in strides.values()]
    first = 1.75 * scale * min(strides.values())
    pool.map_levels = LevelMapper(0, len(strides) - 1, first, canonical_level=0)
    return pool


def _to_cascade(heads: RoIHeads, *stages: Any, **options: Any) -> CascadeRoIHeads:
    """The same settings and mask branch, more stages."""
    branch = ("mask_roi_pool", "mask_head", "mask_predictor")
    return CascadeRoIHeads(
        heads.box_roi_pool,
        *stages,
        **options,
        mask={name: getattr(heads, name) for name in branch},
        batch_size_per_image=heads.fg_bg_sampler.batch_size_per_image,
        positive_fraction=heads.fg_bg_sampler.positive_fraction,
        score_thresh=heads.score_thresh,
        nms_thresh=heads.nms_thresh,
        detections_per_img=heads.detections_per_img,
    )


def _in_single_precision(module: nn.Module, args: Any, output: Any) -> Any:
    """Keep autocast from coordinates: near 800, bfloat16 has multiples of 4 only."""
    half = (torch.half, torch.bfloat16)
    return tree_map(lambda x: x.float() if x.dtype in half else x, output)


def greatest_label(model: Any) -> int:
    """What a detector of torchvision's can tell apart, or no bound where the network is another."""
    predictor: Any = getattr(getattr(model, "roi_heads", None), "box_predictor", None)
    return predictor.cls_score.out_features - 1 if hasattr(predictor, "cls_score") else sys.maxsize
