"""Cascade R-CNN (Cai and Vasconcelos, arXiv:1712.00726): heads in a row, each stricter than the one before about what
counts as found, each starting from the boxes that the one before has moved.

A head that takes an overlap of 0.5 for a find learns little about better boxes; one that wants 0.7 has few to learn
from, for proposals are seldom that good. In a row, each finds its examples among the boxes that its predecessor
improved.

Each stage is one of torchvision's ``RoIHeads``; new here is how they are joined.

Legend: N boxes of all images together, K classes with the background, which is class 0. A list has one entry for each
image.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import (
    RoIHeads,
    fastrcnn_loss,
    maskrcnn_inference,
    maskrcnn_loss,
)
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image

from resnest_edu.arguments import require_in_range

THRESHOLDS = (0.5, 0.6, 0.7)
WEIGHTS = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))

Features = dict[str, Tensor]  # by the level's name, each (B, C, H, W)
Boxes = list[Tensor]  # (n, 4) each: x1, y1, x2, y2 in pixels
Sizes = list[tuple[int, int]]  # heights and widths of the images
Targets = list[dict[str, Tensor]]  # and detections: boxes, labels, masks, scores


class ClassAgnosticPredictor(FastRCNNPredictor):
    """Torchvision's predictor, but all classes share one box, as in the paper.

    The box is repeated for every class, so the loss and the choice of detections are torchvision's.

    Shape: (N, in_channels) -> logits (N, K), offsets (N, 4 K).
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (N, in_channels) -> logits (N, K), offsets (N, 4 K)."""
        logits, offsets = super().forward(x)
        return logits, offsets.repeat(1, logits.shape[1])


class LaterStage(RoIHeads):
    """A stage that learns from all the boxes it gets: they are a sample already."""

    def add_gt_proposals(self, proposals: Boxes, gt_boxes: Boxes) -> Boxes:
        return list(proposals)

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        return [torch.arange(len(label), device=label.device) for label in labels]


class CascadeRoIHeads(RoIHeads):
    """Stages with rising thresholds, to be put in the place of ``RoIHeads``.

    This module is the first stage itself: it samples the proposals, to which it adds the true boxes. ``later`` holds
    the other stages: each matches the boxes it gets with the truth anew, by its own threshold, and samples no more.

    There is one mask head. It learns from the positives of the first stage and is applied to the boxes of the last: the
    first of the strategies that the paper's longer version compares (arXiv:1906.09756), and Detectron2's.

    Args:
        box_roi_pool: crops the features of each box; all stages share it.
        box_heads: one for each stage, crops -> representations.
        box_predictors: one for each stage, representations -> logits (N, K), offsets (N, 4 K).
        iou_thresholds: for each stage, the overlap from which on a box is positive.
        box_weights: for each stage, what offsets (x, y, width, height) are multiplied by. Later stages have less to
            correct, so theirs are enlarged more.
        mask: None, or ``mask_roi_pool``, ``mask_head`` and ``mask_predictor``.
        settings: ``batch_size_per_image``, ``positive_fraction``, ``score_thresh``, ``nms_thresh`` and
            ``detections_per_img`` of ``RoIHeads``.

    Raises:
        ValueError: the first four are not for the same number of stages, or the thresholds do not rise within (0, 1].
    """

    def __init__(
        self,
        box_roi_pool: MultiScaleRoIAlign,
        box_heads: Sequence[nn.Module],
        box_predictors: Sequence[nn.Module],
        iou_thresholds: Sequence[float] = THRESHOLDS,
        box_weights: Sequence[Sequence[float]] = WEIGHTS,
        *,
        mask: dict[str, nn.Module] | None = None,
        **settings: Any,
    ) -> None:
        heads = {"box_heads": box_heads, "box_predictors": box_predictors}
        check_stages(iou_thresholds, box_weights=box_weights, **heads)
        parts = (box_heads, box_predictors, iou_thresholds, box_weights)
        first, *later = (
            {
                "box_head": head,
                "box_predictor": predictor,
                "fg_iou_thresh": iou,  # positive from here on,
                "bg_iou_thresh": iou,  # negative below
                "bbox_reg_weights": weights,
                **settings,
            }
            for head, predictor, iou, weights in zip(*parts, strict=True)
        )
        super().__init__(box_roi_pool, **first, **(mask or {}))
        rest = (LaterStage(box_roi_pool, **stage) for stage in later)
        self.later = nn.ModuleList(rest)

    @property
    def stages(self) -> list[RoIHeads]:
        """All stages in order, this module first."""
        return [self, *self.later]

    def forward(
        self,
        features: Features,
        proposals: Boxes,
        image_shapes: Sizes,
        targets: Targets | None = None,
    ) -> tuple[Targets, dict[str, Tensor]]:
        """Detections in evaluation mode; losses, to be added up, while it trains."""
        if self.training:
            return [], self.learn(features, proposals, image_shapes, targets)
        return self.detect(features, proposals, image_shapes), {}

    def learn(
        self,
        features: Features,
        boxes: Boxes,
        sizes: Sizes,
        targets: Targets | None,
    ) -> dict[str, Tensor]:
        """``loss_classifier_1``, ``loss_box_reg_1``, ``loss_classifier_2``, … and, where there are masks,
        ``loss_mask``."""
        losses = {}
        for number, stage in enumerate(self.stages, start=1):
            sample = stage.select_training_samples(boxes, targets)
            boxes, matches, labels, aims = sample
            logits, offsets = self.predict(stage, features, boxes, sizes)
            of_class, of_box = fastrcnn_loss(logits, offsets, labels, aims)
            losses[f"loss_classifier_{number}"] = of_class
            losses[f"loss_box_reg_{number}"] = of_box
            if stage is self and self.has_mask():
                found = [label > 0 for label in labels]
                crops = [box[some] for box, some in zip(boxes, found, strict=True)]
                matches = [of[some] for of, some in zip(matches, found, strict=True)]
                masks = [target["masks"] for target in targets or ()]
                classes = [target["labels"] for target in targets or ()]
                guess = self.predict_masks(features, crops, sizes)
                loss = maskrcnn_loss(guess, crops, masks, classes, matches)
                losses["loss_mask"] = loss
            boxes = move(stage, boxes, logits, offsets, sizes)
        return losses

    def detect(self, features: Features, boxes: Boxes, sizes: Sizes) -> Targets:
        """The last stage's boxes, with the mean of all stages' probabilities."""
        log_probabilities = []
        for stage in self.stages:
            start = boxes
            logits, offsets = self.predict(stage, features, start, sizes)
            log_probabilities.append(logits.log_softmax(dim=1))
            boxes = move(stage, start, logits, offsets, sizes)
        # The last stage finishes, by the settings of this module as they are now. It
        # takes logits: the logarithm of the mean is one, up to a constant.
        for setting in ("score_thresh", "nms_thresh", "detections_per_img"):
            setattr(stage, setting, getattr(self, setting))
        logits = torch.stack(log_probabilities).logsumexp(dim=0)
        finish = stage.postprocess_detections
        boxes, scores, labels = finish(logits, offsets, start, sizes)
        found = {"boxes": boxes, "labels": labels, "scores": scores}
        if self.has_mask():
            logits = self.predict_masks(features, boxes, sizes)
            found["masks"] = maskrcnn_inference(logits, labels)
        images = zip(*found.values(), strict=True)
        return [dict(zip(found, image, strict=True)) for image in images]

    def predict(
        self,
        stage: RoIHeads,
        features: Features,
        boxes: Boxes,
        sizes: Sizes,
    ) -> tuple[Tensor, Tensor]:
        """What a stage says of the boxes: logits (N, K) and offsets (N, 4 K).

        All stages pull at the features, so each with the inverse of their number, while their own weights learn at the
        full rate: Detectron2's practice.
        """
        crops = self.box_roi_pool(features, boxes, sizes)
        if crops.requires_grad:
            crops.register_hook(lambda gradient: gradient / len(self.stages))
        return stage.box_predictor(stage.box_head(crops))

    def predict_masks(self, features: Features, boxes: Boxes, sizes: Sizes) -> Tensor:
        """Logits of a mask for every box and class: (N, K, S, S), S a mask's side."""
        crops = self.mask_roi_pool(features, boxes, sizes)
        return self.mask_predictor(self.mask_head(crops))


@torch.no_grad()
def move(
    stage: RoIHeads,
    boxes: Boxes,
    logits: Tensor,
    offsets: Tensor,
    sizes: Sizes,
) -> Boxes:
    """The boxes where a stage puts them: by the offsets of the likeliest class but the background, and inside the
    image. They stay as many, even if one shrinks to nothing, for the stages' probabilities must be of the same boxes.
    """
    likeliest = 1 + logits[:, 1:].argmax(dim=1)
    index = likeliest[:, None, None].expand(-1, 1, 4)
    chosen = offsets.unflatten(1, (-1, 4)).gather(1, index).squeeze(1)
    moved = stage.box_coder.decode_single(chosen, torch.cat(boxes))
    parts = moved.split([box.shape[0] for box in boxes])
    return [clip_boxes_to_image(*pair) for pair in zip(parts, sizes, strict=True)]


def check_stages(iou_thresholds: Sequence[float], **others: Sequence[Any]) -> None:
    """Raise ValueError unless thresholds rise and the others are as many."""
    if not iou_thresholds:
        raise ValueError("iou_thresholds (=()) must be at least one")
    least = 0.0
    for iou in iou_thresholds:
        require_in_range("iou_thresholds", iou, least, 1, open_low=not least)
        least = iou
    number = f"that of iou_thresholds (={len(iou_thresholds)})"
    for name, part in others.items():
        if len(part) != len(iou_thresholds):
            raise ValueError(f"the number of {name} (={len(part)}) must be {number}")
