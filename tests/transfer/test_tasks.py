"""Detection and segmentation in the training loop: the loss that a step has, what is measured, runs that go on."""

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.training import Checkpoints, load_checkpoint, train
from resnest_edu.training.augmentation import normalize
from resnest_edu.transfer.metrics import DetectionScore, SegmentationScore
from resnest_edu.transfer.partitions import scene_splits
from resnest_edu.transfer.tasks import (
    Detection,
    Segmentation,
    detect,
    evaluate_detector,
    evaluate_segmenter,
    pixel_loss,
)
from resnest_edu.transfer.transfer_recipes import DetectionRecipe, SegmentationRecipe, TransferRecipe
from tests.refused import assert_refused
from tests.training.small_runs import values
from tests.transfer.tiny_recipes import DETECTION, RECIPES, SEGMENTATION

CPU = torch.device("cpu")
CLASSES = {"detection": len(SHAPE_CLASSES), "segmentation": 1 + len(SHAPE_CLASSES)}
TASKS: dict[str, Any] = {"detection": Detection, "segmentation": Segmentation}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # another number of threads may round otherwise


def build(recipe: TransferRecipe, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return recipe.build(CLASSES[recipe.task])


def step(task: Any, network: Any, batch: Any, count: int) -> Tensor:
    loss, tallies = task.step(network, batch, count=count, device=CPU, generator=torch.Generator())
    assert tallies == ()
    return loss


def objects(count: int, crowd: int = 0) -> dict[str, Tensor]:
    """So many objects, the last ``crowd`` of them crowds."""
    start = torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2) * 6
    return {
        "boxes": torch.cat([start, start + 20], 1),
        "labels": torch.ones(count, dtype=torch.int64),
        "crowd": torch.arange(count) >= count - crowd,
    }


def picture(seed: int, height: int = 64, width: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


# The loss of a step.


class Judge(nn.Module):
    """In the place of a detector: its losses are means over the images, as those of torchvision's are nearly."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.seen: list[Any] = []

    def forward(self, images: list[Tensor], targets: list[Any]) -> dict[str, Tensor]:
        self.seen.append((images, targets))
        means = torch.stack([self.weight @ image.mean((1, 2)) for image in images])
        return {"boxes": means.square().mean(), "classes": means.sin().mean()}


def test_shares_of_a_batch_have_the_gradient_of_the_whole() -> None:
    """Unequal ones of a detector; equal ones of a segmenter, whose batch norms do not look at the batch."""
    maps = torch.randint(0, 9, (4, 64, 64), generator=torch.Generator().manual_seed(0))
    maps[:, :10] = 255
    items = [picture(seed) for seed in range(5)], [objects(2) for _ in range(5)]
    for task, model, parts, share in (
        (Detection(DETECTION), Judge(), items, 3),
        (Segmentation(SEGMENTATION), build(SEGMENTATION).eval(), (torch.stack(items[0][:4]), maps), 2),
    ):
        count, gradients = len(parts[1]), []
        for cuts in ([slice(0, count)], [slice(0, share), slice(share, count)]):
            model.zero_grad()
            for cut in cuts:
                step(task, model, [part[cut] for part in parts], count).backward()
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        assert gradients[0].abs().max() > 0.01
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_what_a_detector_is_given() -> None:
    judge = Judge()
    images, targets = [picture(0), picture(1, 40, 50)], [objects(3, crowd=1), objects(2, crowd=2)]
    step(Detection(DETECTION), judge, (images, targets), 2)
    [(given, learnt)] = judge.seen
    for image, found in zip(images, given, strict=True):
        assert torch.equal(found, normalize(image))
    assert [len(one["labels"]) for one in learnt] == [len(one["boxes"]) for one in learnt] == [2, 0]
    assert torch.equal(learnt[0]["boxes"], targets[0]["boxes"][:2])


@pytest.mark.parametrize("detector", ["faster", "cascade_mask"])
def test_scenes_without_objects_are_trained_on(detector: str) -> None:
    recipe = replace(DETECTION, detector=detector)
    empty, full = objects(0), objects(2)
    for target in (empty, full):
        target["masks"] = torch.ones(len(target["labels"]), 64, 64, dtype=torch.uint8)
    for targets in ([empty, full], [empty, empty]):
        model = build(recipe)
        loss = step(Detection(recipe), model, ([picture(0), picture(1)], targets), 2)
        assert loss.isfinite()
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert max(gradient.abs().max() for gradient in gradients) > 0


def test_the_auxiliary_head_counts_as_the_recipe_says() -> None:
    images, maps = torch.stack([picture(0), picture(1)]), torch.ones(2, 64, 64, dtype=torch.int64)
    losses = {}
    for weight in (0.0, 0.3, 0.6):
        recipe = replace(SEGMENTATION, auxiliary=weight)
        model = build(replace(recipe, auxiliary=0.3)).eval()
        losses[weight] = step(Segmentation(recipe), model, (images, maps), 2)
    logits = model(normalize(images))
    assert losses[0].item() == pytest.approx(pixel_loss(logits["out"], maps).item(), rel=1e-4)
    auxiliary = pixel_loss(logits["aux"], maps).item()
    for weight in (0.3, 0.6):
        assert losses[weight].item() == pytest.approx(losses[0].item() + weight * auxiliary, rel=1e-4)
    alone = build(replace(SEGMENTATION, auxiliary=0)).eval()
    assert step(Segmentation(SEGMENTATION), alone, (images, maps), 2).isfinite()


def test_the_loss_is_the_mean_over_the_pixels_that_have_a_class() -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randint(0, 3, (2, 4, 5))
    classes[0, 1:] = 255
    rows = logits.permute(0, 2, 3, 1)[classes != 255]
    torch.testing.assert_close(pixel_loss(logits, classes), F.cross_entropy(rows, classes[classes != 255]))
    assert pixel_loss(logits.bfloat16(), classes).dtype == torch.float32
    nothing = pixel_loss(logits, torch.full_like(classes, 255))
    nothing.backward()
    assert nothing == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


# What is measured.


def test_measuring_leaves_the_mode_and_the_statistics() -> None:
    for (name, recipe), training in product(RECIPES.items(), (True, False)):
        model, data = build(recipe).train(training), scene_splits(recipe, 0).test
        before = values(model)
        if name == "detection":
            evaluate_detector(model, data)
        else:
            evaluate_segmenter(model, data, CLASSES[name])
        assert {part.training for part in model.modules()} == {training} and values(model).equal(before)


def test_a_detectors_score_is_that_of_what_it_finds() -> None:
    recipe = replace(DETECTION, detector="mask")
    model, data = build(recipe), scene_splits(recipe, 0).test
    score, images = DetectionScore(masks=True), 0
    for found, truth in detect(model, data, batch_size=4):
        assert not model.training and all(set(one) == {"boxes", "labels", "scores", "masks"} for one in found)
        assert not found[0]["boxes"].requires_grad
        score.update(found, truth)
        images += len(found)
    assert images == 6 and model.training
    one_by_one = DetectionScore(masks=True)
    model.eval()
    for image, target in (data[index] for index in range(6)):
        one_by_one.update(model([normalize(image)]), [target])
    assert score.compute() == pytest.approx(one_by_one.compute(), nan_ok=True)
    assert evaluate_detector(model, data, masks=True).compute() == pytest.approx(score.compute(), nan_ok=True)
    assert "mask_map" not in evaluate_detector(model, data).compute()
    finding = detect(model.train(), data, batch_size=2)
    next(finding)
    assert not model.training
    finding.close()  # the caller stops early
    assert all(part.training for part in model.modules())


def segmentation_items(*sizes: tuple[int, int]) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [(picture(seed, *size), torch.randint(0, 9, size, generator=generator)) for seed, size in enumerate(sizes)]


def test_images_of_several_sizes_are_measured() -> None:
    items = segmentation_items((64, 64), (64, 80), (48, 64), (64, 80), (64, 64))
    model, score = build(SEGMENTATION).eval(), SegmentationScore(9)
    with torch.no_grad():
        for image, classes in items:
            score.update(model(normalize(image[None]))["out"].argmax(1), classes[None])
    for batch_size in (16, 2):
        found = evaluate_segmenter(model, items, 9, batch_size=batch_size)
        assert found.metric.confmat.sum() == sum(classes.numel() for _, classes in items)
        assert found.compute() == pytest.approx(score.compute(), abs=1e-3)
    boxes = [(image, objects(2)) for image, _ in items]
    assert evaluate_detector(build(DETECTION), boxes).compute()["box_map"] >= 0


# Whole runs.


def run(
    recipe: TransferRecipe, folder: Path | None, *, seed: int = 0, stop: int | None = None, workers: int = 0
) -> tuple[Tensor, Any]:
    """Train to the end, or go on to it, or stop as if the machine had, after step ``stop`` is saved."""
    splits, model = scene_splits(recipe, 0), build(recipe, seed)

    class Stopping(Checkpoints):
        def save(self, model: nn.Module, state: Any) -> None:
            super().save(model, state)
            if state["step"] == stop:
                raise InterruptedError

    checkpoints = Stopping(folder, recipe, splits.classes, minutes=0) if folder else None
    task = TASKS[recipe.task](recipe)
    options: dict[str, Any] = {"device": CPU, "workers": workers, "checkpoints": checkpoints}
    history = train(model, splits.train, splits.test, recipe, task=task, **options)
    return values(model), history


RUNS = {**RECIPES, "cascade of masks": replace(DETECTION, detector="cascade_mask", dropblock=0.1, ema=0.9)}


@pytest.mark.parametrize(
    "name", [name if name in RECIPES else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_an_interrupted_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    recipe = RUNS[name]
    # Where the images are not drawn in this process, their seeds do not become the network's by chance.
    workers = int(name == "cascade of masks")
    undisturbed, history = run(recipe, None, workers=workers)
    assert len(history) == 2 and all(0 <= one.score <= 1 for one in history)
    with pytest.raises(InterruptedError):
        run(recipe, tmp_path, stop=3, workers=workers)
    resumed, again = run(recipe, tmp_path, seed=1, workers=workers)
    assert resumed.equal(undisturbed) and not run(recipe, None, seed=1, workers=workers)[0].equal(undisturbed)
    assert [one.train_loss for one in again] == [one.train_loss for one in history]
    assert [one.score for one in again] == [one.score for one in history]
    if recipe.task == "detection":
        assert (history[0].mask_map is None) == (not recipe.masks)  # type: ignore[attr-defined]


def test_networks_come_back_from_checkpoints_and_are_taken_for_no_others(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        single, half = run(replace(recipe, epochs=1), tmp_path / name), replace(recipe, epochs=1, precision="bfloat16")
        assert not run(half, None)[0].equal(single[0])
    detection, segmentation = (tmp_path / name / "checkpoint.pt" for name in ("detection", "segmentation"))
    model, recipe, classes = load_checkpoint(detection, DetectionRecipe)
    assert (recipe, len(classes), model.training) == (replace(DETECTION, epochs=1), 8, False)
    assert set(model([normalize(picture(0))])[0]) == {"boxes", "labels", "scores"}
    segmenter, recipe, classes = load_checkpoint(segmentation, SegmentationRecipe)
    assert (recipe, classes[0]) == (replace(SEGMENTATION, epochs=1), "background")
    assert segmenter(normalize(picture(0)[None]))["out"].shape == (1, 9, 64, 64)
    rows: list[tuple[Any, str]] = [
        ((detection,), "of a network for detection, not classification"),
        ((detection, SegmentationRecipe), "of a network for detection, not segmentation"),
        ((segmentation, DetectionRecipe), "of a network for segmentation, not detection"),
    ]
    rows = [(given, f"checkpoint written by save_checkpoint: it is {fault}") for given, fault in rows]
    assert_refused(lambda given: load_checkpoint(*given), rows)


@pytest.mark.parametrize("name", RECIPES)
def test_a_task_says_at_once_what_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ImportError, match="needs torchmetrics: pip install torchmetrics"):
        TASKS[name](RECIPES[name])


@pytest.mark.parametrize("name", RECIPES)
def test_the_loop_refuses_what_does_not_fit(name: str) -> None:
    recipe = RECIPES[name]
    splits, model = scene_splits(replace(recipe, train_scenes=2, test_scenes=1), 0), build(recipe)
    with pytest.raises(ValueError, match=rf"task \(=None\) must be given with a recipe for {name}"):
        train(model, splits.train, splits.test, recipe)
    with pytest.raises(ValueError, match=rf"compile \(=True\) must be False for {name}"):
        train(model, splits.train, splits.test, recipe, task=TASKS[name](recipe), compile=True)
