"""How good detections and segmentations are, measured by torchmetrics and, for detections, COCO's own library.

Legend: n objects or detections, B batch, H height, W width, N classes.
"""

import math
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from resnest_edu.arguments import require_extra, require_one_of, require_positive_int
from resnest_edu.training.distributed import ALONE, Group
from resnest_edu.transfer.annotations import IGNORED, Target

_KINDS = {"box": "bbox", "mask": "segm"}
_FIGURES = {"map": "map", "map50": "map_50", "map75": "map_75"} | {
    f"map_{size}": f"map_{size}" for size in ("small", "medium", "large")
}


class DetectionScore:
    """Mean average precision (mAP), by COCO's definition, of the detections seen so far.

    A detection hits an object of its class if the intersection of the two over their union (IoU) reaches a threshold,
    and no detection of a higher score has hit the object. Average precision is the mean, over the recalls 0, 0.01, …,
    1, of the greatest precision at that recall or a greater one; ``map`` is its mean over classes and over the
    thresholds 0.5, 0.55, …, 0.95. The 100 detections of the highest scores count in each image and class. A ``"crowd"``
    is no object to find, and what lies in it no false detection. (PASCAL VOC's own figure, of one threshold and without
    a limit, differs.)

    Args:
        masks: measure masks as well as boxes.
        group: the processes that share the images, each ``size``-th to each; all must ask for the figures, which are of
            all images.

    Raises:
        ImportError: torchmetrics or pycocotools is not installed.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import DetectionScore
        >>> target = {"boxes": torch.tensor([[10.0, 10, 50, 50]]), "labels": torch.tensor([1])}
        >>> found = {"boxes": target["boxes"] + 4, "labels": target["labels"], "scores": torch.tensor([0.9])}
        >>> score = DetectionScore()
        >>> score.update([found], [target | {"crowd": torch.tensor([False])}])
        >>> score.compute()["box_map50"], score.compute()["box_map75"]  # at an IoU of 0.68
        (1.0, 0.0)
    """

    def __init__(self, *, masks: bool = False, group: Group = ALONE) -> None:
        require_extra("torchmetrics", "pycocotools")
        self.kinds = ("box", "mask") if masks else ("box",)
        self.group, self.metric = group, self._new_metric()
        self._result: dict[str, Tensor] | None = None

    def update(self, predictions: Sequence[Target], targets: Sequence[Target]) -> None:
        """Take in a batch: what a detector of torchvision gives in evaluation mode, and the truth.

        Masks are of probabilities, (n, 1, H, W), as from torchvision, or of 0 and 1, (n, H, W).

        Raises:
            ValueError: there are more of one than of the other, or a field is missing.
        """
        if len(predictions) != len(targets):
            raise ValueError(f"predictions (={len(predictions)}) must be as many as targets (={len(targets)})")
        fields = ("boxes", "labels", *(("masks",) if "mask" in self.kinds else ()))
        found = [self._select(one, (*fields, "scores"), "predictions") for one in predictions]
        truth = [self._select(one, (*fields, "crowd"), "targets") for one in targets]
        for one in truth:
            one["iscrowd"] = one.pop("crowd").to(torch.int64)
        self.metric.update(found, truth)
        self._result = None

    def compute(self) -> dict[str, float]:
        """``box_map``, ``box_map50`` and ``box_map75`` (one threshold), ``box_map_small``, ``box_map_medium`` and
        ``box_map_large`` (objects of less than 32² pixels, up to 96², and more: of the mask if masks are measured, else
        of the box); with masks the same of ``mask_``; ``nan`` where there is no object."""
        result = self._evaluate()
        prefixes = {kind: f"{_KINDS[kind]}_" if len(self.kinds) > 1 else "" for kind in self.kinds}
        return {
            f"{kind}_{ours}": _or_nan(float(result[prefixes[kind] + theirs]))
            for kind in self.kinds
            for ours, theirs in _FIGURES.items()
        }

    def precision_recall(
        self,
        *,
        iou: float = 0.5,
        kind: Literal["box", "mask"] = "box",
    ) -> tuple[Tensor, Tensor]:
        """The precision reached at each recall, averaged over the classes; its mean is the mAP at this threshold.

        Returns:
            Recalls 0, 0.01, …, 1, float32 (101,), and precisions, float32 (101,), ``nan`` where there is no object.

        Raises:
            ValueError: ``iou`` is not one of 0.5, 0.55, …, 0.95, or ``kind`` is not measured.
        """
        thresholds = [50 + 5 * step for step in range(10)]
        if not any(math.isclose(100 * iou, threshold) for threshold in thresholds):
            raise ValueError(f"iou (={iou}) must be one of 0.5, 0.55, ..., 0.95")
        require_one_of("kind", kind, self.kinds)
        recall = torch.linspace(0, 1, 101)
        name = f"{_KINDS[kind]}_precision" if len(self.kinds) > 1 else "precision"
        result = self._evaluate()
        if name not in result:
            return recall, torch.full((101,), math.nan)
        # Thresholds, recalls, classes; then objects of all sizes, 100 detections.
        precision = result[name][thresholds.index(round(100 * iou)), :, :, 0, -1]
        return recall, precision[:, (precision >= 0).all(0)].mean(1).float()

    def _new_metric(self) -> Any:
        from torchmetrics.detection import MeanAveragePrecision

        kinds: Any = tuple(_KINDS[kind] for kind in self.kinds)
        # torchmetrics' own exchange between processes, an image at a time, waits for
        # ever if one has an image more than another.
        metric = MeanAveragePrecision(
            iou_type=kinds,
            # As COCO's, in double precision: torchmetrics' own 0.6 is a float32 just
            # above it, which an IoU of 0.6 does not reach.
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
            extended_summary=True,
            sync_on_compute=False,
            backend="pycocotools",
        )
        metric.warn_on_many_detections = False
        metric.update([], [])  # otherwise it warns when asked for the score of no image
        return metric

    def _select(self, item: Target, fields: tuple[str, ...], what: str) -> Target:
        missing = [name for name in fields if name not in item]
        if missing:
            raise ValueError(f"{what} (={', '.join(item)}) must contain {', '.join(missing)}")
        chosen = {name: item[name].detach() for name in fields}
        if "masks" in fields:
            masks = chosen["masks"]
            masks = masks.squeeze(1) if masks.ndim == 4 else masks
            chosen["masks"] = (masks > 0.5).to(torch.uint8)
        return {name: field.cpu() for name, field in chosen.items()}

    def _evaluate(self) -> dict[str, Tensor]:
        if self._result is None:
            metric = self.metric
            if self.group.size > 1:
                states: list[Any] = [None] * self.group.size
                dist.all_gather_object(states, metric.metric_state)
                metric = self._new_metric()
                for name in states[0]:
                    # Image i was process i % size's: so the order is that of one process.
                    turns = chain.from_iterable(zip_longest(*(state[name] for state in states)))
                    setattr(metric, name, [one for one in turns if one is not None])
            self._result = metric.compute()
        return self._result


def _or_nan(value: float) -> float:
    """COCO's -1 says that there was nothing to find."""
    return math.nan if value < 0 else value


class SegmentationScore:
    """Mean intersection over union (mIoU) and pixel accuracy of the maps seen so far.

    Both come from one table of all pixels, true class by predicted class: so an image counts by its pixels, as in
    PASCAL VOC's figures. A class that is neither predicted nor true anywhere has no IoU and does not count in the mean;
    one that is only one of the two has 0. Pixels of truth 255 do not count.

    Args:
        num_classes: the background among them; from 2 to 255.
        group: as for :class:`DetectionScore`.
        device: where to count; with NCCL, the process's own GPU.

    Raises:
        ValueError: ``num_classes`` is out of range.
        ImportError: torchmetrics is not installed.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        group: Group = ALONE,
        device: torch.device | str = "cpu",
    ) -> None:
        require_positive_int(num_classes=num_classes)
        if not 2 <= num_classes <= IGNORED:
            raise ValueError(f"num_classes (={num_classes}) must be from 2 to {IGNORED}")
        require_extra("torchmetrics")
        from torchmetrics.classification import MulticlassConfusionMatrix

        self.num_classes, self.group = num_classes, group
        self.metric = MulticlassConfusionMatrix(
            num_classes,
            ignore_index=IGNORED,
            validate_args=False,
            sync_on_compute=False,
        ).to(device)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in a batch. Shape: int64 (B, H, W), int64 (B, H, W).

        Raises:
            ValueError: the shapes differ, or a class is out of range.
        """
        if predictions.shape != targets.shape:
            raise ValueError(
                f"predictions (={tuple(predictions.shape)}) must be of the targets' shape {tuple(targets.shape)}"
            )
        for name, classes in (
            ("predictions", predictions),
            ("targets", targets[targets != IGNORED]),
        ):
            if classes.numel() and not 0 <= classes.min() <= classes.max() < self.num_classes:
                raise ValueError(
                    f"{name} (=from {classes.min()} to {classes.max()}) must be from 0 to {self.num_classes - 1}"
                )
        self.metric.update(predictions.to(self.metric.device), targets.to(self.metric.device))

    def compute(self) -> dict[str, float]:
        """``mean_iou`` and ``pixel_accuracy``, fractions; ``nan`` where no pixel counts."""
        table = self._table()
        return {
            "mean_iou": float(_iou(table).nanmean()),
            "pixel_accuracy": float(table.diagonal().sum() / table.sum()),
        }

    def class_iou(self) -> list[float]:
        """Each class's IoU, ``nan`` if it has none."""
        return _iou(self._table()).tolist()

    def _table(self) -> Tensor:
        """All processes' pixels, true class by predicted class, float64 (N, N)."""
        return self.group.sum(self.metric.confmat.clone()).cpu().to(torch.float64)


def _iou(table: Tensor) -> Tensor:
    hits = table.diagonal()
    return hits / (table.sum(0) + table.sum(1) - hits)
