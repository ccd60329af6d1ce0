"""``predict`` and ``evaluate`` on small runs of each kind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_edu import cli, create_model
from resnest_edu.data import SHAPE_CLASSES, load_image
from resnest_edu.inference import evaluate, open_model, open_partition, predict_image, trained_model
from resnest_edu.training import predict, test_transform
from resnest_edu.transfer import detect
from tests.refused import assert_refused
from tests.transfer.annotated_folders import write_coco
from tests.transfer.tiny_recipes import DETECTION, SEGMENTATION

SEEN = {
    "square": {"top1": "test_accuracy", "loss": "test_loss"},
    "crop": {"top1": "test_accuracy", "loss": "test_loss"},
    "detect": {name: name for name in ("box_map", "box_map50", "box_map75")},
    "segment": {name: name for name in ("mean_iou", "pixel_accuracy")},
}
"""What is measured of each run, and how its metrics call it."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind beside the images it was trained on."""
    root, noise = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for number, name in enumerate("abcdef"):
        (root / "letters" / name).mkdir(parents=True)
        for i in range(4):  # neither square nor of one size
            pixels = noise.integers(0, 256, (30 + 5 * i, 64, 3), dtype=np.uint8) // (number + 1)
            Image.fromarray(pixels).save(root / "letters" / name / f"{name}{i}.png")
    write_coco(root / "coco")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        tiny = {"detect": replace(DETECTION, detector="mask"), "segment": SEGMENTATION}
        patch.setattr(cli, "ALL_RECIPES", cli.ALL_RECIPES | tiny)
        quick = ["--epochs", "1", "--warmup-epochs", "0", "--device", "cpu", "--workers", "0", "--batch-size", "4"]
        for name in SEEN:
            kind = {"square": [], "crop": ["--crop", "0.5"]}.get(name, ["--recipe", name])
            assert cli.main([*kind, "--data", str(data_of(root, name)), "--out", str(root / name), *quick]) == 0
    torch.set_num_threads(1)
    yield root
    torch.set_num_threads(threads)


def data_of(root: Path, run: str) -> Path:
    return root / ("coco" if run in ("detect", "segment") else "letters")


@pytest.fixture
def said(runs, capsys):
    """The JSON that a command prints, an object a line, and its status."""

    def said(*arguments: object) -> tuple[int, list[dict]]:
        capsys.readouterr()
        status = cli.main([*map(str, arguments), "--json", "--device", "cpu"])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return said


@pytest.mark.parametrize("run", SEEN)
def test_what_training_measured_is_measured_again_to_the_last_digit(run, runs, said):
    status, [figures] = said("evaluate", runs / run, "--data", data_of(runs, run), "--workers", "0")
    measured = json.loads((runs / run / "metrics.jsonl").read_text())
    assert status == 0 and {name: figures[name] for name in SEEN[run]} == {
        name: measured[earlier] for name, earlier in SEEN[run].items()
    }
    assert figures["partition"] == "test" and figures["images"] == (3 if run in ("detect", "segment") else 6)


def test_the_classes_of_a_classifier_one_by_one(runs, said, capsys):
    arguments = ["evaluate", runs / "square", "--data", runs / "letters", "--workers", "0", "--partition"]
    (_, [held]), (_, [rest]), (_, [every]) = (said(*arguments, part) for part in ("val", "train", "all"))
    assert [figures["images"] for figures in (held, rest, every)] == [6, 18, 24]
    tables = [np.array(figures["confusion"]) for figures in (held, rest, every)]
    assert (tables[0] + tables[1] == tables[2]).all()
    model = open_model(runs / "square" / "checkpoint.pt", device="cpu")
    pixels, labels = zip(*open_partition(model, runs / "letters", "all"), strict=True)
    probabilities, labels = predict(model.network, torch.stack(pixels)), torch.tensor(labels)
    order = probabilities.argsort(1, descending=True)
    assert every["top1"] == (order[:, 0] == labels).double().mean().item()
    assert every["top5"] == (order[:, :5] == labels[:, None]).any(1).double().mean().item()
    constant = torch.nn.Linear(3, 6)  # which ranks a first and f last, whatever it sees
    torch.nn.init.zeros_(constant.weight)
    constant.bias.data = torch.arange(6.0, 0, -1)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), constant)
    ranked = evaluate.evaluate_model(replace(model, network=network), open_partition(model, runs / "letters", "all"))
    assert (ranked["top1"], ranked["top5"]) == (4 / 24, 20 / 24)
    assert every["loss"] == pytest.approx(-probabilities[range(24), labels].log().mean().item(), rel=1e-5)
    for number, row in enumerate(every["classes"]):
        right = (order[:, 0][labels == number] == number).double().mean().item()
        assert row == {"class": "abcdef"[number], "images": 4, "accuracy": right}
        assert tables[2][number].sum() == 4 and tables[2][number, number] == 4 * right
    true, taken = np.argwhere(tables[2] - np.diag(tables[2].diagonal()))[0]
    assert cli.main([*map(str, arguments), "all", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert f"top1 {100 * every['top1']:.2f} %" in printed and f"loss {every['loss']:.4f}" in printed
    assert f"{'abcdef'[true]} taken for {'abcdef'[taken]}: {tables[2][true, taken]}" in printed


@pytest.mark.parametrize("run", ["square", "crop"])
def test_a_classifier_names_what_it_sees(run, runs, said, capsys):
    file = runs / "letters" / "c" / "c3.png"
    status, [row] = said("predict", runs / run / "best.safetensors", file, "--top", 2)
    model = open_model(runs / run, device="cpu")
    values = predict(model.network, test_transform(model.recipe)(load_image(file))[None])[0]
    best = [{"class": model.classes[i], "probability": values[i].item()} for i in values.argsort(descending=True)[:2]]
    assert status == 0 and row == {"file": str(file), "predictions": best}
    assert cli.main(["predict", str(runs / run), str(file)]) == 0
    line = capsys.readouterr().out
    assert (
        line.startswith(f"{file}: {best[0]['class']} {100 * best[0]['probability']:.1f} %, ") and line.count("%") == 5
    )


def test_boxes_and_maps_are_in_the_pixels_of_the_image_and_drawn(runs, said, tmp_path):
    photo, [file, *_] = tmp_path / "photo.jpg", sorted((runs / "coco").rglob("val2017/*.png"))
    Image.open(file).convert("RGB").resize((300, 200)).save(photo)
    model = open_model(runs / "detect", device="cpu")
    [[[found], _]] = list(detect(model.network, [open_partition(model, runs / "coco")[0]]))
    status, [one, other] = said("predict", runs / "detect", file, photo, "--threshold", 0, "--out", tmp_path / "drawn")
    boxes = torch.tensor([row["box"] for row in one["predictions"]])
    assert status == 0 and len(boxes) and boxes.equal(found["boxes"] * 1.5)  # seen at 64 pixels
    scores = [row["score"] for row in one["predictions"]]
    assert scores == sorted(found["scores"].tolist(), reverse=True)
    assert [row["class"] for row in one["predictions"]] == [SHAPE_CLASSES[i - 1] for i in found["labels"]]
    widest = torch.tensor([row["box"] for row in other["predictions"]]).amax(0)
    assert widest[2] > 200 and widest[2] <= 300 and widest[3] <= 200
    masks = predict_image(model, load_image(photo), threshold=0)["masks"]
    assert masks.shape == (len(other["predictions"]), 200, 300) and masks.dtype == torch.bool
    assert not said("predict", runs / "detect", file, "--threshold", 1)[1][0]["predictions"]

    _, [row] = said("predict", runs / "segment", photo, "--out", tmp_path / "maps")
    segmenter = open_model(runs / "segment", device="cpu")
    found = predict_image(segmenter, load_image(photo))["map"]
    assert found.shape == (200, 300)
    shares = {row["class"]: row["share"] for row in row["predictions"]}
    assert shares == pytest.approx(
        {name: (found == i).float().mean().item() for i, name in enumerate(segmenter.classes) if (found == i).any()}
    )
    for part in ("a", "b"):
        (tmp_path / "two" / part).mkdir(parents=True)
        shutil.copy(photo, tmp_path / "two" / part)
    said("predict", runs / "segment", tmp_path / "two", "--out", tmp_path / "maps")
    drawn = {f"drawn/{file.name}": file} | dict.fromkeys(
        (f"{to}/photo.png" for to in ("drawn", "maps", "maps/a", "maps/b")), photo
    )
    for name, source in drawn.items():
        before, after = (np.asarray(load_image(path)) for path in (source, tmp_path / name))
        assert before.shape == after.shape and (before != after).any(), name


def test_published_weights_by_their_name_or_that_of_a_file(tmp_path, runs, said, monkeypatch):
    torch.manual_seed(0)
    torch.save(create_model("resnest14").state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(trained_model, "fetch", {"resnest14": tmp_path / "weights.pth"}.get)
    image = runs / "letters" / "c" / "c3.png"
    _, [row] = said("predict", "resnest14", image)
    assert said("predict", tmp_path / "weights.pth", image, "--model", "resnest14")[1] == [row]
    model = open_model("resnest14", device="cpu")
    assert not model.network.training and model.recipe.crop and model.recipe.image_size == 224
    assert (model.classes[0], model.classes[999], len(row["predictions"])) == ("tench", "toilet tissue", 5)
    numbers = tuple(f"n{number:08}" for number in range(1000))
    folder = SimpleNamespace(classes=numbers, test="test images")  # as ImageNet's folders are called
    monkeypatch.setattr(evaluate, "open_image_folder", lambda *_, **__: folder)
    assert open_partition(model, tmp_path) == "test images"
    folder.classes = numbers[:-1]
    assert_refused(lambda model: open_partition(model, tmp_path), [(model, "classes of .*missing .*unknown")])


def test_an_image_that_cannot_be_read_is_named_and_the_others_go_on(runs, tmp_path, capsys):
    for name in ("a.png", "b.PNG", "deep/.c.png", ".hidden/d.png", "deep/e.jpg", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 30)).save(tmp_path / name, "PNG")
    (tmp_path / "b.PNG").write_text("no image")
    assert cli.main(["predict", str(runs / "square"), str(tmp_path), str(tmp_path / "a.png")]) == 2
    printed = capsys.readouterr()
    assert [line.partition(": ")[0] for line in printed.out.splitlines()] == [
        f"{tmp_path}/a.png",
        f"{tmp_path}/deep/e.jpg",
    ]
    assert printed.err.startswith(f"error: cannot read image {tmp_path}/b.PNG: ") and printed.err.count("\n") == 1


def test_bad_input_is_one_clear_line_and_nothing_is_written(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "empty").mkdir()
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pth")
    image, other = runs / "letters" / "c" / "c3.png", tmp_path / "pets"
    for name in ("a", "cat"):
        (other / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20, 30)).save(other / name / f"{number}.png")
    (predicts, detects), measures = (
        (["predict", runs / one] for one in ("square", "detect")),
        ["evaluate", runs / "square"],
    )
    out, data = ["--out", tmp_path / "out"], ["--data", runs / "letters", "--workers", "0"]
    rows = [
        ([*predicts, tmp_path / "none.png"], f"image (='{tmp_path}/none.png') must be a file, or a folder that holds"),
        ([*predicts, tmp_path / "empty"], f"image (='{tmp_path}/empty') must be a file, or a folder that holds images"),
        ([*predicts, image, "--top", "0"], "--top (=0) must be an integer of at least 1"),
        ([*predicts, image, "--threshold", "2"], "--threshold (=2.0) must be a finite number at least 0 and at most 1"),
        ([*predicts, image, "--device", "toaster"], "device (='toaster') must be one of this machine"),
        ([*predicts, image, *out], "--out must not be given for classification"),
        (
            [*detects, image, "--out", tmp_path / "file"],
            f"folder (='{tmp_path}/file') must be one that can be written to",
        ),
        (
            [*detects, *other.glob("*/0.png"), *out],
            f"--out (='{tmp_path}/out') must have a place for every image; {tmp_path}/out/0.png is",
        ),
        ([*detects, image, "--out", image.parent], f"--out (='{image.parent}') must have a place for every image"),
        (["predict", "resnest51", image], "model (='resnest51') must be a run's folder, a file of weights or one of"),
        (["predict", tmp_path / "empty", image], f"model (='{tmp_path}/empty') must be a run's folder"),
        (["predict", tmp_path / "file", image], f"path (='{tmp_path}/file') must be a file of weights: it is damaged"),
        (["predict", tmp_path / "other.pth", image], f"model (='{tmp_path}/other.pth') must say its recipe"),
        (["predict", tmp_path / "other.pth", image, "--model", "resnest51"], "model (='resnest51') must be one of"),
        ([*measures, "--data", tmp_path / "none"], f"--data (='{tmp_path}/none') must be a folder"),
        ([*measures, *data, "--partition", "dev"], "--partition (='dev') must be one of test, val, train, all"),
        ([*measures, *data, "--workers", "-1"], "--workers (=-1) must be a finite number at least 0"),
        (
            [*measures, "--data", other],
            f"classes of {other} must be the model's, in order: missing ['b', 'c', 'd', 'e', 'f']",
        ),
        (["evaluate", runs / "detect", *data], "root (="),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in rows:
        capsys.readouterr()
        assert cli.main([*map(str, arguments)]) == 2, arguments
        printed = capsys.readouterr()
        assert printed.err.startswith(f"error: {message}") and printed.err.count("\n") == 1, printed.err
        assert not printed.out and sorted(tmp_path.rglob("*")) == before
