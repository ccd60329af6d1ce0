"""The comparison of backbones, with networks and scenes too small to learn anything."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from resnest_edu import Backbone, Bottleneck, ResNeSt
from resnest_edu.book.experiments import _transfer, transfer, transfer_shapes
from resnest_edu.book.rivals import PlainBottleneck
from resnest_edu.data import ShapesDataset
from resnest_edu.network.resnest import Variant
from resnest_edu.training import TensorImages
from resnest_edu.transfer import DetectionRecipe

CPU = torch.device("cpu")
SMALL = {"image_size": 64, "epochs": 1, "batch_size": 4, "train_scenes": 8, "test_scenes": 4, "base_rate": 0.1}
SMALL_BOXES = {"pyramid_channels": 8, "head_width": 16, "proposals": 10, "samples": 8}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at toy size; no longer of equal cost, which is therefore not asked for."""
    torch.set_num_threads(1)
    monkeypatch.setattr(transfer, "VARIANT", Variant((1, 1, 1, 1), planes=(8, 16, 24, 32), pool_first=True))
    monkeypatch.setattr(transfer, "PRETRAINING", replace(transfer.PRETRAINING, epochs=2, batch_size=8, image_size=32))
    monkeypatch.setattr(_transfer, "shapes_data", some_shapes)
    monkeypatch.setattr(transfer, "HEADS", {name: shrunk(recipe) for name, recipe in transfer.HEADS.items()})
    monkeypatch.setattr(transfer, "require_equal_cost", lambda: None)


def shrunk(recipe: Any) -> Any:
    return replace(recipe, **SMALL, **(SMALL_BOXES if isinstance(recipe, DetectionRecipe) else {"head_width": 8}))


def some_shapes(recipe: Any, seed: int) -> tuple[TensorImages, TensorImages]:
    return tuple(TensorImages(*ShapesDataset(16, seed=seed, split=split).tensors()) for split in ("train", "test"))  # type: ignore[return-value, arg-type]


def test_both_cost_the_same_or_no_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    transfer.require_equal_cost()
    costs = transfer.costs()
    assert set(costs) == set(transfer.FAMILIES) == {"ResNet-D", "ResNeSt"}
    assert costs["ResNet-D"] != costs["ResNeSt"]
    monkeypatch.setattr(transfer, "side_by_side", None)
    for other, fits in ((1000, True), (1010, True), (990, True), (1011, False), (989, False)):
        found = {"ResNet-D": {"multiply_adds": 1000}, "ResNeSt": {"multiply_adds": other}}
        monkeypatch.setattr(transfer, "costs", lambda found=found: found)
        if fits:
            transfer.require_equal_cost()
        else:
            words = rf"multiply-adds \(=1,000 and {other:,}\) must be equal within 1 %"
            with pytest.raises(ValueError, match=words):
                next(transfer.run_pieces(iter(transfer.PIECES), CPU))


def test_the_two_differ_in_their_blocks_alone() -> None:
    bodies = []
    for name, block in transfer.FAMILIES.items():
        classifier, body = ResNeSt(transfer.VARIANT, 8, block=block), Backbone(transfer.VARIANT, block=block)
        state = {key: value for key, value in classifier.state_dict().items() if not key.startswith("fc.")}
        body.load_state_dict(state)  # the same network, without its head
        assert isinstance(body.layer1[0], PlainBottleneck) == (name == "ResNet-D")
        bodies.append(body)
    assert bodies[0].channels == bodies[1].channels and bodies[0].strides == bodies[1].strides


def test_every_head_is_run_on_both_from_every_seed() -> None:
    assert transfer.NEEDS_CUDA
    assert len(transfer.PIECES) == len(set(transfer.PIECES)) == 3 * 5 * 2
    assert [name.split(", ")[1] for name in transfer.PIECES[:6]] == [transfer.PRETRAINED] * 6
    for seed in range(3):
        of_seed = transfer.PIECES[6 + 8 * seed : 6 + 8 * (seed + 1)]  # so every beginning of the list is fair to all
        assert {name.split(", ")[2] for name in of_seed} == {f"seed {seed}"}
    assert {recipe.image_size for recipe in transfer.HEADS.values()} == {transfer.SCENES["image_size"]}


def test_pieces_are_run_and_what_classifying_taught_is_kept(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, files = [], []

    def noted(function: Any) -> Any:
        def note(build: Any, recipe: Any, seed: int, file: Path, device: torch.device) -> dict[str, Any]:
            if function.__name__ == "pretrain":
                trained.append((build.func, build.keywords["block"], seed))
            files.append(file)
            return function(build, recipe, seed, file, device)

        return note

    for function in (transfer.pretrain, transfer.finetune):
        monkeypatch.setattr(transfer, function.__name__, noted(function))
    names = [
        "ResNeSt, classification, seed 0",
        "ResNeSt, Mask R-CNN, seed 0",
        "ResNeSt, DeepLabV3, seed 0",
        "ResNet-D, Cascade R-CNN, seed 1",
    ]
    pieces = dict(transfer.run_pieces(iter(names), CPU))
    assert list(pieces) == names
    json.dumps(pieces)
    # The last was asked for without it.
    assert trained == [(ResNeSt, Bottleneck, 0), (ResNeSt, PlainBottleneck, 1)]
    assert len(set(files)) == 2 and not any(file.exists() for file in files)
    scores = {"classification": "test_accuracy", "Mask R-CNN": "mask_map", "DeepLabV3": "mean_iou"}
    for name, figures in pieces.items():
        head = name.split(", ")[1]
        assert scores.get(head, "box_map") in figures and figures["seconds"] > 0
        assert len(figures["scores"]) == figures["epoch"] == (2 if head == "classification" else 1)
    assert "mask_map" not in pieces["ResNet-D, Cascade R-CNN, seed 1"]


def test_a_head_begins_with_what_classifying_taught(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Any, ...]] = []

    def train(model: Any, *data: Any, seed: int, **options: Any) -> Any:
        started.append((seed, {key: value.clone() for key, value in model.state_dict().items()}))
        raise InterruptedError

    build, file = partial(ResNeSt, transfer.VARIANT), tmp_path / "ResNeSt-2.pt"
    transfer.pretrain(build, transfer.PRETRAINING, 2, file, CPU)
    kept = torch.load(file, weights_only=True)
    assert list(tmp_path.iterdir()) == [file] and not any(key.startswith("fc.") for key in kept)
    monkeypatch.setattr(_transfer, "train", train)
    for head in ("DeepLabV3", "DeepLabV3", "Faster R-CNN"):
        with pytest.raises(InterruptedError):
            transfer.run_piece(f"ResNeSt, {head}, seed 2", folder=tmp_path, device=CPU)
    assert [seed for seed, _ in started] == [2, 2, 2]
    for _, state in started:
        inside = {key.split("body.")[1]: value for key, value in state.items() if "body." in key}
        assert set(inside) == set(kept) and all(inside[key].equal(kept[key]) for key in kept)
    heads = [{key: value for key, value in state.items() if "body." not in key} for _, state in started[:2]]
    assert all(heads[0][key].equal(heads[1][key]) for key in heads[0])  # the seed's, too


def figures(name: str, seed: int) -> dict[str, Any]:
    """Made-up ones: the family tells its tenths, the seed its hundredths."""
    family, task, _ = name.split(", ")
    value = (0.4 if family == "ResNeSt" else 0.3) + seed / 100
    metrics = {
        transfer.PRETRAINED: ["test_accuracy", "test_loss"],
        "DeepLabV3": ["mean_iou", "pixel_accuracy"],
        "Mask R-CNN": ["box_map", "box_map50", "mask_map", "mask_map50"],
    }
    return {"epoch": 6, "seconds": 9.0, "scores": [0.1], **dict.fromkeys(metrics.get(task, ["box_map"]), value)}


def test_the_summary_has_means_and_gains_of_every_metric() -> None:
    summary = transfer.summarize({name: figures(name, int(name[-1])) for name in transfer.PIECES})
    json.dumps(summary)
    assert list(summary["heads"]) == [transfer.PRETRAINED, *transfer.HEADS]
    assert list(summary["heads"][transfer.PRETRAINED]) == ["test_accuracy"]
    assert list(summary["heads"]["Mask R-CNN"]) == ["box_map", "box_map50", "mask_map", "mask_map50"]
    assert list(summary["heads"]["DeepLabV3"]) == ["mean_iou", "pixel_accuracy"]
    for metrics in summary["heads"].values():
        for row in metrics.values():
            assert list(row) == ["ResNet-D", "ResNeSt", "gain"]
            assert row["ResNeSt"]["seeds"] == pytest.approx([0.4, 0.41, 0.42])
            assert row["ResNet-D"]["mean"] == pytest.approx(0.31) and row["ResNet-D"]["n"] == 3
            assert row["gain"]["seeds"] == pytest.approx([0.1] * 3) and row["gain"]["sd"] == pytest.approx(0)
    assert summary["seeds"] == [0, 1, 2] and summary["costs"] == transfer.costs()
    assert all("model" not in recipe for recipe in (summary["pretraining"], *summary["recipes"].values()))
    assert summary["recipes"]["DeepLabV3"]["atrous_rates"] == (2, 4, 6)


def test_the_recipes_of_the_chapters_are_run_from_every_seed(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not transfer_shapes.NEEDS_CUDA
    runs = {name: (shrunk(recipe), old) for name, (recipe, old) in transfer_shapes.RUNS.items()}
    assert [name for name, (_, old) in runs.items() if not old] == [name for name in runs if "scratch" in name]
    assert {recipe.output_stride for name, (recipe, _) in runs.items() if name.startswith("DeepLab")} == {8, 16}
    monkeypatch.setattr(transfer_shapes, "RUNS", runs)
    monkeypatch.setattr(transfer_shapes, "PRETRAINING", transfer.PRETRAINING)
    monkeypatch.setattr(transfer_shapes, "SIDE_BY_SIDE", 1)
    trained, pretrain = [], transfer_shapes.pretrain
    monkeypatch.setattr(transfer_shapes, "pretrain", lambda *given: trained.append(given[2]) or pretrain(*given))
    names = ["Mask R-CNN from scratch; seed 1", "Mask R-CNN; seed 1", "DeepLabV3, output stride 16; seed 1"]
    assert set(names) < set(transfer_shapes.PIECES)
    pieces = dict(transfer_shapes.run_pieces(iter(names), CPU))
    assert list(pieces) == names and trained == [1]
    assert pieces[names[0]]["train_loss"] != pieces[names[1]]["train_loss"]
    made_up = {
        name: {"box_map" if "R-CNN" in name else "mean_iou": 0.3 + int(name[-1]) / 10}
        for name in transfer_shapes.PIECES
    }
    summary = transfer_shapes.summarize(made_up)
    json.dumps(summary)
    for name, run in summary["runs"].items():
        (row,) = run["metrics"].values()
        assert row["mean"] == pytest.approx(0.4) and row["seeds"] == pytest.approx([0.3, 0.4, 0.5])
        assert run["pretrained"] == ("scratch" not in name)
