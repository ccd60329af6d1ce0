"""``python -m resnest_edu.training --recipe shapes --out runs/shapes``: train, measure, leave a checkpoint."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.resnest import create_model
from resnest_edu.training.checkpoint import save_checkpoint
from resnest_edu.training.data import folder_data, shapes_data
from resnest_edu.training.loop import EpochMetrics, default_device, train
from resnest_edu.training.recipe import RECIPES, get_recipe

RESULTS = ("recipe.json", "metrics.jsonl", "checkpoint.pt")
OVERRIDES = ("model", "image_size", "epochs", "batch_size", "base_rate", "warmup_epochs")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m resnest_edu.training",
        description="Train a ResNeSt on the embedded shapes or on a folder of images.",
        epilog="--out receives metrics.jsonl (one JSON object an epoch), recipe.json and checkpoint.pt.",
    )
    parser.add_argument("--recipe", default="shapes", help=f"one of: {', '.join(RECIPES)} (default: shapes)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="train on these images instead of the embedded shapes: FOLDER/train/CLASS/* with FOLDER/test/CLASS/*, "
        "or FOLDER/CLASS/*, of which a tenth is then held out as the test set",
    )
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    parser.add_argument("--overwrite", action="store_true", help="replace the results that --out already holds")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights, the data order and the shapes (default: 0)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda where there is one)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (default: 2)")
    group = parser.add_argument_group("replace one number of the recipe")
    group.add_argument("--model")
    group.add_argument("--image-size", type=int)
    group.add_argument("--epochs", type=int)
    group.add_argument("--batch-size", type=int)
    group.add_argument("--base-rate", type=float, help="learning rate at a batch of 256")
    group.add_argument("--warmup-epochs", type=float)
    return parser


def check_out(out: Path, *, overwrite: bool) -> None:
    """Make the folder and show that it can be written to, before any time is spent on training."""
    if not overwrite and any((out / name).exists() for name in RESULTS):
        raise ValueError(f"--out (={str(out)!r}) must not hold an earlier run; choose another or add --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"--out (={str(out)!r}) must be a folder that can be written to: {error.strerror}") from error


def run(arguments: argparse.Namespace) -> None:
    overrides = {name: getattr(arguments, name) for name in OVERRIDES if getattr(arguments, name) is not None}
    recipe = replace(get_recipe(arguments.recipe), **overrides)
    if arguments.workers < 0:
        raise ValueError(f"--workers (={arguments.workers}) must be at least 0")
    if not 0 <= arguments.seed < 2**64:
        raise ValueError(f"--seed (={arguments.seed}) must be at least 0 and below 2**64")
    try:
        device = torch.device(arguments.device) if arguments.device else default_device()
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device (={arguments.device!r}) must be a device of this machine: {reason}") from error
    check_out(arguments.out, overwrite=arguments.overwrite)

    train_data: Dataset
    test_data: Dataset
    if arguments.data is None:
        (train_data, test_data), classes = shapes_data(recipe, arguments.seed), SHAPE_CLASSES
    else:
        train_data, test_data, classes = folder_data(
            arguments.data, recipe, skip_broken=arguments.skip_broken, workers=arguments.workers
        )
    for name in RESULTS:
        (arguments.out / name).unlink(missing_ok=True)
    (arguments.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(arguments.seed)
    model = create_model(recipe.model, len(classes))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{recipe.model}, {parameters:,} parameters, on {device}: {len(train_data):,} training and "  # type: ignore[arg-type]
        f"{len(test_data):,} test images of {len(classes)} classes, {recipe.epochs} epoch(s)"  # type: ignore[arg-type]
    )

    def report(metrics: EpochMetrics) -> None:
        if not sys.stderr.isatty():  # on a terminal the progress bar says the same
            print(
                f"epoch {metrics.epoch}/{recipe.epochs}: loss {metrics.train_loss:.3f}, test accuracy "
                f"{100 * metrics.test_accuracy:.2f} %, {metrics.images_per_second:,.0f} images/s",
                flush=True,
            )

    history = train(
        model,
        train_data,
        test_data,
        recipe,
        seed=arguments.seed,
        device=device,
        workers=arguments.workers,
        metrics_file=arguments.out / "metrics.jsonl",
        after_epoch=report,
    )
    save_checkpoint(arguments.out / "checkpoint.pt", model, recipe, classes)
    print(
        f"test accuracy {100 * history[-1].test_accuracy:.2f} % after {sum(m.seconds for m in history):.1f} s; "
        f"results in {arguments.out}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for bad input."""
    arguments = build_parser().parse_args(argv)
    try:
        run(arguments)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; no checkpoint was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
