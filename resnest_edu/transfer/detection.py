"""Detectors on a pyramid of features: torchvision's Faster and Mask R-CNN, and a cascade.

Torchvision builds and runs them; here is what a pyramid of any strides and images of any
size need: anchors, the levels boxes are cropped from, and heads as small as one likes.
"""

import inspect
from collections.abc import Sequence
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

from resnest_edu.arguments import require_in_range, require_positive_int
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

    Images go in normalized, as a list of (3, H, W); they may differ in size. While it
    trains, the detector takes a list of targets too and returns a dict of losses; in
    evaluation mode it returns, for each image, a dict of ``boxes`` (n, 4), ``labels`` and
    ``scores`` (n,), and with masks ``masks`` (n, 1, H, W).

    Args:
        kind: "faster" (Faster R-CNN, arXiv:1506.01497), "mask" (Mask R-CNN,
            arXiv:1703.06870), "cascade" (Cascade R-CNN, arXiv:1712.00726) or
            "cascade_mask", all on a feature pyramid (arXiv:1612.03144).
        pyramid: images (B, 3, H, W) -> dict of features, fine to coarse, all with
            ``out_channels`` channels; its attribute ``strides`` has their strides by
            the same names. Boxes are cropped from all levels but, unless its attribute
            ``extra_level`` is false, the last.
        num_classes: how many there are to find, without the background; labels run from
            1 to it.
        image_size: resize images so that the shorter side has this many pixels, but the
            longer at most ``max_size``. None leaves images as they are.
        max_size: see there.
        anchor_scale: an anchor's side in strides of its level: 8 as in the paper on
            pyramids. Less finds smaller objects.
        head_width: features of a box's representation.
        options: numbers of torchvision's :class:`FasterRCNN` whose names begin with
            ``rpn_`` or ``box_``, such as ``box_score_thresh``. A cascade has
            ``iou_thresholds``, ``box_weights`` (see
            :class:`~resnest_edu.transfer.cascade.CascadeRoIHeads`) and ``class_agnostic``
            (true: one box for all classes) in the place of ``box_fg_iou_thresh`` and
            ``box_bg_iou_thresh``.

    Raises:
        ValueError: an argument is not as above, or an option is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"kind (={kind!r}) must be one of {', '.join(KINDS)}")
    for attribute in ("out_channels", "strides"):
        if not hasattr(pyramid, attribute):
            raise ValueError(f"pyramid (={type(pyramid).__name__}) must have the attribute {attribute}")
    require_positive_int(num_classes=num_classes, max_size=max_size, head_width=head_width)
    if image_size is not None:
        require_positive_int(image_size=image_size)
    require_in_range("anchor_scale", anchor_scale, 0, open_low=True)
    cascade = "cascade" in kind
    _check_options(options, cascade)
    iou_thresholds = options.pop("iou_thresholds", THRESHOLDS)
    box_weights = options.pop("box_weights", WEIGHTS)
    predictor = ClassAgnosticPredictor if options.pop("class_agnostic", cascade) else FastRCNNPredictor
    if cascade:
        check_stages(iou_thresholds, box_weights)

    classes = num_classes + 1  # and the background
    channels, strides = pyramid.out_channels, dict(pyramid.strides)
    levels = list(strides)[:-1] if getattr(pyramid, "extra_level", True) else list(strides)
    if not levels:
        raise ValueError(f"pyramid must have levels to crop boxes from, not only {list(strides)}")

    def crop(side: int) -> MultiScaleRoIAlign:
        return _crop({name: strides[name] for name in levels}, side, anchor_scale)

    stages = len(iou_thresholds) if cascade else 1
    heads = [TwoMLPHead(channels * CROP**2, head_width) for _ in range(stages)]
    predictors = [predictor(head_width, classes) for _ in range(stages)]
    parts: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(
            tuple((anchor_scale * stride,) for stride in strides.values()),
            (RATIOS,) * len(strides),
        ),
        "box_roi_pool": crop(CROP),
        "box_head": heads[0],
        "box_predictor": predictors[0],
    }
    if "mask" in kind:
        parts |= {
            "mask_roi_pool": crop(2 * CROP),
            "mask_head": MaskRCNNHeads(channels, (channels,) * 4, dilation=1),
            "mask_predictor": MaskRCNNPredictor(channels, channels, classes),
        }
    model = (MaskRCNN if "mask" in kind else FasterRCNN)(pyramid, **parts, **options)
    # Features must divide evenly, so that a level's stride is the same everywhere.
    even = max(strides[name] for name in levels)
    model.transform = (KeepSize if image_size is None else GeneralizedRCNNTransform)(
        image_size or 1, max_size, (0, 0, 0), (1, 1, 1), size_divisible=even
    )
    if cascade:
        model.roi_heads = _to_cascade(model.roi_heads, heads, predictors, iou_thresholds, box_weights)
    for part in (pyramid, model.rpn.head, *predictors):
        part.register_forward_hook(_in_single_precision)
    return model


class KeepSize(GeneralizedRCNNTransform):
    """Images to one batch, each in its own size, padded at the right and below."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def _check_options(options: dict[str, Any], cascade: bool) -> None:
    known = {
        name
        for name, parameter in inspect.signature(FasterRCNN).parameters.items()
        if name.startswith(("rpn_", "box_")) and isinstance(parameter.default, int | float)
    }
    if cascade:
        known -= {"box_fg_iou_thresh", "box_bg_iou_thresh"}
        known |= {"iou_thresholds", "box_weights", "class_agnostic"}
    for name in options:
        if name not in known:
            raise ValueError(f"option (={name!r}) must be one of {', '.join(sorted(known))}")


def _crop(strides: dict[str, int], side: int, anchor_scale: float) -> MultiScaleRoIAlign:
    """RoIAlign that takes each box from the level of its size (arXiv:1612.03144, eq. 1).

    The paper begins a level at 14 strides (224 pixels at stride 16), which is 1.75 of its
    anchors; so does this, for anchors of any scale. Torchvision guesses strides from sizes
    and guesses wrong where a small image was padded, so it is told.
    """
    pool = MultiScaleRoIAlign(list(strides), output_size=side, sampling_ratio=2)
    pool.scales = [1 / stride for stride in strides.values()]
    smallest = 1.75 * anchor_scale * min(strides.values())
    pool.map_levels = LevelMapper(0, len(strides) - 1, canonical_scale=smallest, canonical_level=0)
    return pool


def _to_cascade(
    heads: RoIHeads,
    box_heads: list[nn.Module],
    box_predictors: list[nn.Module],
    iou_thresholds: Sequence[float],
    box_weights: Sequence[tuple[float, ...]],
) -> CascadeRoIHeads:
    """The same settings and mask branch, more stages."""
    return CascadeRoIHeads(
        heads.box_roi_pool,
        box_heads,
        box_predictors,
        iou_thresholds=iou_thresholds,
        box_weights=box_weights,
        batch_size_per_image=heads.fg_bg_sampler.batch_size_per_image,
        positive_fraction=heads.fg_bg_sampler.positive_fraction,
        score_thresh=heads.score_thresh,
        nms_thresh=heads.nms_thresh,
        detections_per_img=heads.detections_per_img,
        mask_roi_pool=heads.mask_roi_pool,
        mask_head=heads.mask_head,
        mask_predictor=heads.mask_predictor,
    )


def _in_single_precision(module: nn.Module, args: Any, output: Any) -> Any:
    """Autocast must not reach coordinates: near 800, bfloat16 knows multiples of 4 only."""
    return tree_map(lambda x: x.float() if x.dtype in (torch.half, torch.bfloat16) else x, output)
