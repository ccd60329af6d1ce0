"""The commands ``predict`` and ``evaluate``: options, files, lines or JSON."""

import argparse
import json
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resnest_edu.arguments import require_in_range, require_one_of, require_positive_int
from resnest_edu.data.image_files import load_image, readable_endings
from resnest_edu.inference.evaluate import PARTITIONS, evaluate_model, open_partition
from resnest_edu.inference.predict import describe, draw, predict_image
from resnest_edu.inference.trained_model import open_model
from resnest_edu.training.failure import explain_failure
from resnest_edu.training.run_state import require_writable

MODEL = """the folder of a run, of which the best network is taken; one of its files; a file of published weights; or
the name of a model that has some, such as resnest50"""
ABOUT = {
    "predict": """Say what a trained network makes of images of any size, a line each: a classifier's most probable
classes, a detector's objects with their boxes, a segmenter's classes with their shares of the pixels. An image that
cannot be read is named on the error output; the others go on, and the exit status is 2.""",
    "evaluate": """Measure a trained network on images whose answers are known, as training does: a classifier's
accuracy, cross-entropy and confusions, a detector's average precision, a segmenter's intersection over union.""",
}
EXAMPLES = {"predict": "runs/mine photo.jpg more/", "evaluate": "runs/mine --data FOLDER"}


def options(command: str) -> argparse.ArgumentParser:
    prog, about = f"python -m resnest_edu.training {command}", ABOUT[command]
    parser = argparse.ArgumentParser(prog, None, about, f"Example: {prog} {EXAMPLES[command]}", allow_abbrev=False)
    add = parser.add_argument
    add("source", metavar="MODEL", help=MODEL)
    if command == "predict":
        add("images", nargs="+", type=Path, metavar="IMAGE", help="a file, or a folder with all that is below it")
        add("--top", type=int, default=5, metavar="N", help="so many classes of a classifier (default: 5)")
        add("--threshold", type=float, default=0.5, metavar="X", help="least score of an object (default: 0.5)")
        drawn = "draw boxes and masks, or maps, into copies of the images in this folder (PNG)"
        add("--out", type=Path, metavar="FOLDER", help=drawn)
    else:
        form = "as for training: partitions, or a folder for each class, of which a tenth is then the test set"
        add("--data", type=Path, required=True, metavar="FOLDER", help=form)
        which = "test (default), as in training; val, the same where there are but two; train; or all of them"
        add("--partition", default="test", metavar="{" + ",".join(PARTITIONS) + "}", help=which)
        add("--workers", type=int, default=2, metavar="N", help="processes that read images (default: 2)")
        add("--skip-broken", action="store_true", help="leave out images that cannot be read")
    add("--model", metavar="NAME", help="the model of a file of published weights that bears another name")
    add("--device", help="cpu, cuda, cuda:1 … (default: as in training)")
    add("--json", action="store_true", help="print JSON, with all digits")
    add("--traceback", action="store_true", help="print where an error comes from, before its line")
    return parser


def main(command: str, argv: Sequence[str]) -> int:
    """The exit status: 130 for Ctrl-C, and 2, after one line, for whatever else fails."""
    arguments = options(command).parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
            return (predict if command == "predict" else evaluate)(arguments)
    except Exception as error:
        if arguments.traceback:
            traceback.print_exc()
        print(f"error: {explain_failure(error, None, '', skips=True)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def image_files(given: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Files as they are named; of folders, all below them that end as images do, without hidden ones. With each, what a
    drawing of it is called: by its place below the folder, so that files of one name do not meet."""
    endings = readable_endings()
    for one in given:
        below = {path: path.relative_to(one) for path in sorted(one.rglob("*"))} if one.is_dir() else {}
        shown = [path for path, inside in below.items() if not any(part[0] == "." for part in inside.parts)]
        images = [path for path in shown if path.suffix.lower() in endings and path.is_file()]
        if not images and not one.is_file():
            raise ValueError(f"image (={str(one)!r}) must be a file, or a folder that holds images")
        yield from [(path, below[path].with_suffix(".png")) for path in images] or [(one, Path(one.stem + ".png"))]


def predict(arguments: argparse.Namespace) -> int:
    require_positive_int(**{"--top": arguments.top})
    require_in_range("--threshold", arguments.threshold, 0, 1)
    files, out, status = dict(image_files(arguments.images)), arguments.out, 0
    model = open_model(arguments.source, arguments.model, device=arguments.device)
    if out is not None:
        if model.recipe.task == "classification":
            raise ValueError("--out must not be given for classification, which draws nothing")
        drawn = Counter((out / place).resolve() for place in files.values())
        if taken := (drawn - Counter(set(drawn)) or drawn.keys() & {file.resolve() for file in files}):
            raise ValueError(f"--out (={str(out)!r}) must have a place for every image; {min(taken)} is taken")
        require_writable(out)
    for file, place in files.items():
        try:
            image = load_image(file)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
            continue
        found = predict_image(model, image, threshold=arguments.threshold)
        rows = describe(model, found, top=arguments.top)
        row = {"file": str(file), "predictions": rows}
        print(json.dumps(row) if arguments.json else f"{file}: {in_words(rows)}", flush=True)
        if out is not None:
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            draw(model, image, found).save(out / place)
    return status


def in_words(rows: list[dict[str, Any]]) -> str:
    """Such as ``cat 98.1 % at (10, 20, 110, 220), dog 61.0 % at (30, 40, 80, 90)``."""
    parts = []
    for name, value, *boxes in map(dict.values, rows):
        place = "".join(" at ({:.0f}, {:.0f}, {:.0f}, {:.0f})".format(*box) for box in boxes)
        parts.append(f"{name} {100 * value:.1f} %{place}")
    return ", ".join(parts) or "nothing"


def evaluate(arguments: argparse.Namespace) -> int:
    partition = arguments.partition
    require_one_of("--partition", partition, PARTITIONS)
    require_in_range("--workers", arguments.workers, 0)
    if not arguments.data.is_dir():
        raise ValueError(f"--data (={str(arguments.data)!r}) must be a folder")
    model = open_model(arguments.source, arguments.model, device=arguments.device)
    data: Any = open_partition(model, arguments.data, partition, skip_broken=arguments.skip_broken)
    figures = {"partition": partition, "images": len(data), **evaluate_model(model, data, workers=arguments.workers)}
    if arguments.json:
        print(json.dumps(figures))
        return 0
    rows, confusion = figures.pop("classes", []), figures.pop("confusion", [])
    print(in_line(figures))
    for row in rows:
        print(f"  {in_line(row)}")
    wrong = Counter({(i, j): n for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j})
    for (true, taken), count in wrong.most_common(10):
        print(f"  {rows[true]['class']} taken for {rows[taken]['class']}: {count}")
    return 0


def in_line(figures: dict[str, Any]) -> str:
    """Such as ``partition test, images 500, top1 81.20 %, loss 0.7153``."""
    shares = {name: f"{100 * value:.2f} %" for name, value in figures.items() if isinstance(value, float)}
    shown = figures | shares | ({"loss": f"{figures['loss']:.4f}"} if "loss" in figures else {})
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)
