"""Cascade R-CNN (Cai and Vasconcelos, arXiv:1712.00726): heads in a row, each stricter
than the one before about what counts as found, each working on the boxes that the one
before has moved.

A head trained to call a box an object from an overlap of 0.5 on learns little about
better boxes; one trained from 0.7 on has too few to learn from, for proposals are seldom
that good. In a row, each head finds its examples among the boxes its predecessor improved.

Each stage is one of torchvision's ``RoIHeads``; what is new here is how they are joined.

Legend: N boxes of all images together, K classes with the background (class 0). A list
has one entry for each image.
"""

from collections.abc import Sequence
from itertools import pairwise

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

Losses = dict[str, Tensor]


class ClassAgnosticPredictor(FastRCNNPredictor):
    """torchvision's predictor, but every class shares one box, as in the paper.

    The box is repeated for each class, so losses and the choice of detections need not
    know of it.

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
    """A stage that learns from all the boxes it is given: they are a sample already."""

    def add_gt_proposals(self, proposals: list[Tensor], gt_boxes: list[Tensor]) -> list[Tensor]:
        return list(proposals)

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        return [torch.arange(len(label), device=label.device) for label in labels]


class CascadeRoIHeads(RoIHeads):
    """Stages with rising thresholds, to be put in the place of torchvision's ``RoIHeads``.

    This module is the first stage itself: it samples the proposals, among them the true
    boxes. ``later`` holds the others; they match the boxes they get with the truth anew,
    each by its own threshold, and sample no more.

    The single mask head learns from the positives of the first stage and is applied to
    the last stage's boxes: the first of the three strategies that the paper's journal
    version tries (arXiv:1906.09756), and the one Detectron2 follows.

    Losses: ``loss_classifier_1``, ``loss_box_reg_1``, ``loss_classifier_2``, … and
    ``loss_mask``, to be added up.

    Args:
        box_roi_pool: crops the features of each box; all stages share it.
        box_heads: for each stage, crops -> representations.
        box_predictors: for each stage, representations -> logits (N, K) and offsets
            (N, 4 K).
        iou_thresholds: the overlap from which on a box is positive, for each stage.
        box_weights: what the offsets (x, y, width, height) are multiplied by, for each
            stage. Later stages have less to correct, so their offsets are enlarged more.
        options: ``batch_size_per_image``, ``positive_fraction``, ``score_thresh``,
            ``nms_thresh``, ``detections_per_img``, ``mask_roi_pool``, ``mask_head`` and
            ``mask_predictor`` of torchvision's ``RoIHeads``.

    Raises:
        ValueError: the arguments are not for the same number of stages, or a threshold
            is below the one before.
    """

    def __init__(
        self,
        box_roi_pool: MultiScaleRoIAlign,
        box_heads: Sequence[nn.Module],
        box_predictors: Sequence[nn.Module],
        *,
        iou_thresholds: Sequence[float] = THRESHOLDS,
        box_weights: Sequence[tuple[float, ...]] = WEIGHTS,
        batch_size_per_image: int = 512,
        positive_fraction: float = 0.25,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.5,
        detections_per_img: int = 100,
        **mask: nn.Module | None,
    ) -> None:
        check_stages(iou_thresholds, box_weights)
        for name, parts in {"box_heads": box_heads, "box_predictors": box_predictors}.items():
            if len(parts) != len(iou_thresholds):
                stages = f"iou_thresholds (={len(iou_thresholds)})"
                raise ValueError(f"the number of {name} (={len(parts)}) must be that of {stages}")
        sampling = (batch_size_per_image, positive_fraction)
        choice = (score_thresh, nms_thresh, detections_per_img)
        first, *later = (
            (box_roi_pool, head, predictor, iou, iou, *sampling, weights, *choice)
            for head, predictor, iou, weights in zip(
                box_heads, box_predictors, iou_thresholds, box_weights, strict=True
            )
        )
        super().__init__(*first, **mask)
        self.later = nn.ModuleList(LaterStage(*arguments) for arguments in later)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], Losses]:
        """Detections in evaluation mode, losses (which need targets) while training."""
        if self.training:
            return [], self.learn(features, proposals, image_shapes, targets)
        return self.detect(features, proposals, image_shapes), {}

    @property
    def stages(self) -> list[RoIHeads]:
        return [self, *self.later]

    def learn(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None,
    ) -> Losses:
        """Train every stage on the boxes that the one before it moved."""
        losses = {}
        for number, stage in enumerate(self.stages, start=1):
            boxes, matches, labels, aims = stage.select_training_samples(boxes, targets)
            logits, offsets = self.predict(stage, features, boxes, image_shapes)
            of_classes, of_boxes = fastrcnn_loss(logits, offsets, labels, aims)
            losses[f"loss_classifier_{number}"] = of_classes
            losses[f"loss_box_reg_{number}"] = of_boxes
            if stage is self and self.has_mask():
                found = [label > 0 for label in labels]
                crops = [box[some] for box, some in zip(boxes, found, strict=True)]
                objects = [match[some] for match, some in zip(matches, found, strict=True)]
                losses["loss_mask"] = maskrcnn_loss(
                    self.predict_masks(features, crops, image_shapes),
                    crops,
                    [target["masks"] for target in targets or ()],
                    [target["labels"] for target in targets or ()],
                    objects,
                )
            boxes = move(stage, boxes, logits, offsets, image_shapes)
        return losses

    def detect(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """The last stage's boxes, with the mean of all stages' probabilities."""
        log_probabilities = []
        for stage in self.stages:
            start = boxes
            logits, offsets = self.predict(stage, features, start, image_shapes)
            log_probabilities.append(logits.log_softmax(dim=1))
            boxes = move(stage, start, logits, offsets, image_shapes)
        # The last stage finishes, by this module's settings, should they have changed.
        stage.score_thresh, stage.nms_thresh = self.score_thresh, self.nms_thresh
        stage.detections_per_img = self.detections_per_img
        # It takes logits, and up to a constant the logarithm of the mean is one.
        logits = torch.stack(log_probabilities).logsumexp(dim=0)
        found = stage.postprocess_detections(logits, offsets, start, image_shapes)
        keys = ("boxes", "scores", "labels")
        detections = [dict(zip(keys, image, strict=True)) for image in zip(*found, strict=True)]
        if self.has_mask():
            masks = self.predict_masks(features, found[0], image_shapes)
            for detection, mask in zip(detections, maskrcnn_inference(masks, found[2]), strict=True):
                detection["masks"] = mask
        return detections

    def predict(
        self,
        stage: RoIHeads,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """What a stage says of the boxes: logits (N, K) and offsets (N, 4 K).

        All stages pull at the same features, so each pulls with the inverse of their
        number, while its own weights learn at full rate: Detectron2's practice.
        """
        crops = self.box_roi_pool(features, boxes, image_shapes)
        if crops.requires_grad:
            crops.register_hook(lambda gradient: gradient / len(self.stages))
        return stage.box_predictor(stage.box_head(crops))

    def predict_masks(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Logits of a mask for every box and class: (N, K, S, S), S the mask's side."""
        crops = self.mask_roi_pool(features, boxes, image_shapes)
        return self.mask_predictor(self.mask_head(crops))


@torch.no_grad()
def move(
    stage: RoIHeads,
    boxes: list[Tensor],
    logits: Tensor,
    offsets: Tensor,
    image_shapes: list[tuple[int, int]],
) -> list[Tensor]:
    """The boxes where a stage puts them: by the offsets of their likeliest class but the
    background, and within the image.

    A box may shrink to nothing; it stays, for the stages' probabilities must keep to the
    same boxes.
    """
    likeliest = 1 + logits[:, 1:].argmax(dim=1)
    offsets = offsets.unflatten(1, (-1, 4))[torch.arange(len(offsets)), likeliest]
    moved = stage.box_coder.decode_single(offsets, torch.cat(boxes))
    parts = moved.split([len(box) for box in boxes])
    return [clip_boxes_to_image(part, shape) for part, shape in zip(parts, image_shapes, strict=True)]


def check_stages(iou_thresholds: Sequence[float], box_weights: Sequence[tuple[float, ...]]) -> None:
    """Raise ValueError unless there is a stage, thresholds rise, and weights fit them."""
    if not iou_thresholds:
        raise ValueError("iou_thresholds (=()) must be at least one")
    for before, iou in pairwise((0, *iou_thresholds)):
        require_in_range("iou_thresholds", iou, before, 1, open_low=before == 0)
    if len(box_weights) != len(iou_thresholds):
        number = f"iou_thresholds (={len(iou_thresholds)})"
        raise ValueError(f"the number of box_weights (={len(box_weights)}) must be that of {number}")
