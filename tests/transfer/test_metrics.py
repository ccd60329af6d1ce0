import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from resnest_edu.transfer import DetectionScenes, DetectionScore, SegmentationScore
from tests.refused import assert_refused
from tests.transfer.guesses import CLASSES, SIDE, filled, guesses, maps
from tests.transfer.score_in_turns import IMAGES, scores

ROOT = Path(__file__).resolve().parents[2]


def truth(*boxes: list[float], labels: list[int] | None = None, crowd: list[bool] | None = None) -> dict[str, Tensor]:
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": corners,
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "masks": filled(corners),
        "crowd": torch.tensor(crowd or [False] * len(boxes), dtype=torch.bool),
    }


def found(*boxes: list[float], scores: list[float], labels: list[int] | None = None) -> dict[str, Tensor]:
    item = truth(*boxes, labels=labels)
    del item["crowd"]
    return {**item, "masks": item["masks"][:, None] * 0.7, "scores": torch.tensor(scores, dtype=torch.float32)}


def score(*pairs: tuple[dict[str, Tensor], dict[str, Tensor]], masks: bool = False) -> DetectionScore:
    measured = DetectionScore(masks=masks)
    for predictions, targets in pairs:
        measured.update([predictions], [targets])
    return measured


A, B = [10, 10, 20, 20], [50, 50, 90, 90]


def test_a_perfect_detector_has_one_everywhere() -> None:
    measured = DetectionScore(masks=True)
    for _, target in (DetectionScenes(6)[index] for index in range(6)):
        scores = torch.linspace(0.5, 0.9, len(target["labels"]))
        measured.update([{**target, "masks": target["masks"][:, None].float(), "scores": scores}], [target])
    result = measured.compute()
    names = [f"map{which}" for which in ("", "50", "75", "_small", "_medium", "_large")]
    assert list(result) == [f"{kind}_{name}" for kind in ("box", "mask") for name in names]
    assert list(score().compute()) == [f"box_{name}" for name in names]
    assert result.pop("box_map_large") != 1 and math.isnan(result.pop("mask_map_large"))  # none is that large
    assert set(result.values()) == {1.0}
    assert all(type(value) is float for value in result.values())


def test_one_hit_of_two_at_an_iou_of_0_6_has_the_precision_of_the_definition() -> None:
    # 10 x 6 of 10 x 10 pixels: found at the thresholds 0.5, 0.55 and 0.6.
    result = score((found([10, 10, 20, 16], scores=[0.9]), truth(A, B)), masks=True).compute()
    # Half of the objects are found, without an error: precision 1 at the 51 recalls from 0 to 0.5, then 0.
    for kind in "box", "mask":
        assert result[f"{kind}_map50"] == pytest.approx(51 / 101)
        assert result[f"{kind}_map75"] == 0
        assert result[f"{kind}_map"] == pytest.approx(3 / 10 * 51 / 101)
        assert result[f"{kind}_map_small"] == pytest.approx(3 / 10)  # B is of middle size
        assert result[f"{kind}_map_medium"] == 0


def test_masks_are_measured_by_their_pixels() -> None:
    predictions, targets = found(B, scores=[0.9]), truth(B)
    predictions["masks"][:, :, 50:62] = 0.5  # 12 of 40 rows are not above one half
    result = score((predictions, targets), masks=True).compute()
    assert result["box_map"] == 1 and result["mask_map50"] == 1 and result["mask_map75"] == 0
    assert result["mask_map"] == pytest.approx(5 / 10)  # IoU 0.7
    predictions["masks"] = targets["masks"]  # of 0 and 1
    assert score((predictions, targets), masks=True).compute()["mask_map"] == 1


@pytest.mark.parametrize("masks", [False, True])
def test_where_nothing_is_to_be_found_there_is_no_figure(masks: bool, capfd: pytest.CaptureFixture) -> None:
    nothing = truth()
    for pairs in (
        [],
        [(found(scores=[]), nothing)],
        [(found(A, scores=[0.9]), nothing)],
        [(found(A, scores=[0.9]), truth(A, crowd=[True]))],
    ):
        measured = score(*pairs, masks=masks)
        assert all(math.isnan(value) for value in measured.compute().values())
        recall, precision = measured.precision_recall()
        assert len(recall) == 101 and precision.shape == (101,) and precision.isnan().all()
    assert capfd.readouterr() == ("", "")


def by_coco(pairs: list[tuple[dict[str, Tensor], dict[str, Tensor]]], kind: str) -> tuple[list[float], np.ndarray]:
    """The same from COCO's own library, without torchmetrics."""

    def entries(item: dict[str, Tensor], image: int) -> list[dict]:
        masks = (item["masks"].reshape(-1, SIDE, SIDE) > 0.5).to(torch.uint8).numpy()
        objects = zip(item["boxes"].tolist(), item["labels"].tolist(), masks, strict=True)
        return [
            {"image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            | {"segmentation": rle.encode(np.asfortranarray(mask))}
            for (x1, y1, x2, y2), label, mask in objects
        ]

    there: list[dict] = []
    seen: list[dict] = []
    for image, (predictions, targets) in enumerate(pairs, 1):
        for entry, crowd in zip(entries(targets, image), targets["crowd"].tolist(), strict=True):
            area = float(rle.area(entry["segmentation"]))
            there.append({**entry, "id": len(there) + 1, "iscrowd": int(crowd), "area": area})
        for entry, value in zip(entries(predictions, image), predictions["scores"].tolist(), strict=True):
            if kind == "segm":
                del entry["bbox"]
            seen.append({**entry, "score": value})
    coco = COCO()
    images = [{"id": 1 + image, "height": SIDE, "width": SIDE} for image in range(len(pairs))]
    categories = [{"id": 1 + label} for label in range(CLASSES)]
    coco.dataset = {"info": {}, "images": images, "categories": categories, "annotations": there}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(seen), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:6].tolist(), evaluation.eval["precision"]


def test_random_detections_have_the_figures_of_cocos_own_library() -> None:
    pairs = [guesses(seed) for seed in range(12)]
    measured = score(*pairs, masks=True)
    figures = list(measured.compute().values())
    for start, kind, name in (0, "bbox", "box"), (6, "segm", "mask"):
        expected, precision = by_coco(pairs, kind)
        assert figures[start : start + 6] == pytest.approx(expected, abs=1e-6)
        assert 0.05 < expected[0] < 0.9 and min(expected) > 0
        for step, iou in (0, 0.5), (5, 0.75), (9, 0.95):
            recall, curve = measured.precision_recall(iou=iou, kind=name)  # type: ignore[arg-type]
            np.testing.assert_allclose(curve, precision[step, :, :, 0, -1].mean(1), rtol=1e-6)
            assert recall[[0, 50, 100]].tolist() == [0, 0.5, 1]
        assert measured.precision_recall(kind=name)[1].mean() == pytest.approx(expected[1])  # type: ignore[arg-type]


def test_batches_make_no_difference_and_figures_follow_updates() -> None:
    pairs = [guesses(seed) for seed in range(6)]
    together = DetectionScore()
    together.update(*zip(*pairs[:4], strict=True))
    some = together.compute()
    assert some == score(*pairs[:4]).compute()
    together.update(*zip(*pairs[4:], strict=True))
    assert together.compute() == score(*pairs).compute() != some


def test_more_than_a_hundred_detections_pass_in_silence(recwarn: pytest.WarningsRecorder) -> None:
    boxes = [[1.0 * x, 100, 1.0 * x + 1, 120] for x in range(120)]
    scores = [0.9 - 0.001 * x for x in range(120)]
    result = score((found(*boxes, A, scores=[*scores, 0.1]), truth(A))).compute()
    assert result["box_map"] == 0  # A's is the 121st
    assert not [one for one in recwarn if one.category is not DeprecationWarning]


def test_faulty_batches_are_refused() -> None:
    measured, one = DetectionScore(masks=True), found(A, scores=[0.9])
    bare = {name: field for name, field in truth(A).items() if name != "masks"}
    rows: list[tuple[Any, str]] = [
        (lambda: measured.update([one], []), r"predictions \(=1\) must be as many as targets \(=0\)"),
        (lambda: measured.update([one], [bare]), r"targets \(=boxes, labels, crowd\) must contain masks"),
        (lambda: measured.update([truth(A)], [truth(A)]), r"predictions \(=.*\) must contain scores"),
        (lambda: measured.precision_recall(iou=0.62), r"iou \(=0\.6\d*\) must be one of"),
        (lambda: DetectionScore().precision_recall(kind="mask"), r"kind \(='mask'\) must be one of box"),
    ]
    zeros, classes = torch.zeros(1, 2, 2).long(), SegmentationScore(3)
    shape = r"\(=\(1, 3, 2, 2\)\) must be of the targets'"
    beyond = torch.tensor([[[0, 3], [255, 1]]])
    rows += [
        (lambda: classes.update(torch.zeros(1, 3, 2, 2), zeros), rf"predictions {shape} shape \(1, 2, 2\)"),
        (lambda: classes.update(zeros, beyond), r"targets \(=from 0 to 3\) must be from 0 to 2"),
        (lambda: classes.update(zeros - 1, zeros), r"predictions \(=from -1 to -1\) must be from 0 to 2"),
        (lambda: SegmentationScore(1), r"num_classes \(=1\) must be from 2 to 255"),
        (lambda: SegmentationScore(256), r"num_classes \(=256\) must be from 2 to 255"),
    ]
    assert_refused(lambda call: call(), rows)


def test_maps_are_measured_by_hand_computed_figures() -> None:
    target = torch.tensor([[[0, 0, 1, 1], [255, 0, 1, 255]]])
    guess = torch.tensor([[[0, 1, 1, 1], [1, 0, 0, 3]]])
    measured = SegmentationScore(4)
    measured.update(guess, target)
    # Class 0: 2 of 2 + 1 + 1 pixels; class 1: 2 of 2 + 1 + 1; class 2 is nowhere; class 3 at an ignored pixel alone.
    assert measured.compute() == pytest.approx({"mean_iou": 0.5, "pixel_accuracy": 4 / 6})
    assert measured.class_iou() == pytest.approx([0.5, 0.5, math.nan, math.nan], nan_ok=True)
    measured.update(torch.tensor([[[2]]]), torch.tensor([[[1]]]))
    # Predicted and never true: a class of its own, with no hit.
    assert measured.class_iou() == pytest.approx([0.5, 0.4, 0, math.nan], nan_ok=True)
    assert measured.compute() == pytest.approx({"mean_iou": 0.3, "pixel_accuracy": 4 / 7})
    nothing = SegmentationScore(2)
    nothing.update(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), 255))
    assert all(math.isnan(value) for value in nothing.compute().values())


def test_maps_have_the_figures_of_numpy_over_all_pixels() -> None:
    batches, measured = [maps(seed) for seed in range(5)], SegmentationScore(5)  # of which the last is nowhere
    for batch in batches:
        measured.update(*batch)
    guess, target = (np.concatenate([one.numpy().ravel() for one in part]) for part in zip(*batches, strict=True))
    guess, target = guess[target != 255], target[target != 255]
    iou = [((guess == c) & (target == c)).sum() / ((guess == c) | (target == c)).sum() for c in range(4)]
    figures = measured.compute()
    assert figures == pytest.approx({"mean_iou": np.mean(iou), "pixel_accuracy": np.mean(guess == target)})
    assert all(type(value) is float for value in figures.values())


@pytest.mark.slow
def test_two_processes_score_as_one_and_in_silence(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    script = str(ROOT / "tests" / "transfer" / "score_in_turns.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, script, store], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        here = scores(0, store)
        said, _ = process.communicate(timeout=60)
    there = torch.load(f"{store}.pt")
    one, other = score(*(guesses(index) for index in range(IMAGES)), masks=True), SegmentationScore(4)
    for index in range(IMAGES):
        other.update(*maps(index))
    alone = [one.compute(), other.compute(), score(guesses(0)).compute()]
    for place in range(3):
        expected = pytest.approx(alone[place], rel=0, abs=0, nan_ok=True)
        assert here[place] == expected and there[place] == expected
    # Neither torchmetrics nor COCO's library says anything, from its import on.
    assert [line for line in said.splitlines() if "Gloo" not in line] == []


@pytest.mark.parametrize(
    ("name", "make"),
    [("torchmetrics", DetectionScore), ("pycocotools", DetectionScore), ("torchmetrics", lambda: SegmentationScore(2))],
)
def test_what_is_missing_is_said(name: str, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"this needs {name}: pip install torchmetrics"):
        make()
