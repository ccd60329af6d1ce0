"""``python -m resnest_edu.training --recipe shapes --out runs/shapes``: train, measure, leave a checkpoint.

Under ``torchrun`` the same command trains in several processes.
"""

import argparse
import inspect
import json
import math
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import nn
from tqdm import tqdm

from resnest_edu import __version__, list_models
from resnest_edu.arguments import CommandLine, first_line, require_in_range, require_one_of, require_positive_int
from resnest_edu.atomic_write import write_atomically
from resnest_edu.data import SHAPE_CLASSES, ImageSplits
from resnest_edu.inference import commands
from resnest_edu.network.resnest import ResNeSt
from resnest_edu.network.weights import load, read_header
from resnest_edu.training import recipes
from resnest_edu.training.batches import image_splits, shapes_data
from resnest_edu.training.classification import Classification
from resnest_edu.training.data_fingerprint import digest
from resnest_edu.training.distributed import Group, process_group
from resnest_edu.training.failure import cause, explain_failure
from resnest_edu.training.loop import default_device, train
from resnest_edu.training.recipe import BaseRecipe, Recipe
from resnest_edu.training.recipes import RECIPES
from resnest_edu.training.run_state import LAST, NAMES, PREVIOUS, Checkpoints, require_writable
from resnest_edu.training.task import EpochMetrics, Task, best_of
from resnest_edu.transfer import transfer_recipes
from resnest_edu.transfer.backbone import load_backbone
from resnest_edu.transfer.partitions import folder_splits, scene_splits
from resnest_edu.transfer.tasks import Detection, Segmentation
from resnest_edu.transfer.transfer_recipes import TRANSFER_RECIPES, DetectionRecipe, SegmentationRecipe, TransferRecipe

RESULTS = ("recipe.json", "data.json", "run.json", "metrics.jsonl", *NAMES)
ALL_RECIPES: dict[str, BaseRecipe] = {**RECIPES, **TRANSFER_RECIPES}
TASKS: dict[str, tuple[type[BaseRecipe], Callable[[Any], Task]]] = {
    "classification": (Recipe, Classification),
    "detection": (DetectionRecipe, Detection),
    "segmentation": (SegmentationRecipe, Segmentation),
}
MOST_THREADS = 1024
"""More cores than a processor has; beyond a few thousand threads the system refuses."""
SMALL_IMAGES = 64
"""Up to this many pixels one thread trains nearly as fast as two, and, unlike them, on a busy machine too."""
ABOUT = {**recipes.ABOUT, **transfer_recipes.ABOUT}
NUMBERS: dict[str, type[BaseRecipe]] = {
    "numbers of the recipe, by default {}'s": BaseRecipe,
    "numbers for classification": Recipe,
    "numbers for detection and segmentation": TransferRecipe,
    "numbers for detection": DetectionRecipe,
    "numbers for segmentation": SegmentationRecipe,
}
EPILOG = """\
examples:
  %(prog)s --data photos --out runs/photos --epochs 20
  %(prog)s --recipe detect --weights resnest50.pth \\
      --detector cascade --data VOCdevkit/VOC2012 --out runs/voc

--out receives recipe.json, data.json (which images), run.json (how many
threads), metrics.jsonl (one JSON object an epoch), checkpoint.pt (the last)
with previous.pt (the one before), and best.safetensors. Ctrl-C saves;
--resume goes on."""


def numbers_of(kind: type[BaseRecipe]) -> dict[str, Field]:
    """What a recipe of this kind lets be chosen, by name."""
    return {field.name: field for field in fields(kind) if field.name != "task"}


def described(kind: type[BaseRecipe]) -> dict[str, str]:
    """What the docstrings of a kind of recipe and of those above it say of each number, as plain text."""
    found: dict[str, str] = {}
    for part in kind.__mro__:
        text = inspect.cleandoc(part.__doc__ or "").partition("\nAttributes:\n")[2]
        for name, words in re.findall(r"^    (\w+): ((?:.*\n?)(?:^        .*\n?)*)", text, re.MULTILINE):
            plain = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", " ".join(words.split())).replace("`", "")
            found.setdefault(name, plain.removesuffix(".").replace("%", "%%"))
    return found


def whole_numbers(text: str) -> tuple[int, ...] | None:
    """From ``1,2,4`` or ``none``."""
    return None if text == "none" else tuple(map(int, text.split(",")))


def add_numbers(parser: argparse.ArgumentParser, recipe: str) -> None:
    """An option for every number of every kind of recipe, which tells what the recipe of this name has."""
    values = asdict(ALL_RECIPES[recipe]) if recipe in ALL_RECIPES else {}
    added: set[str] = set()
    for title, kind in NUMBERS.items():
        group = parser.add_argument_group(title.format(recipe))
        words, types = described(kind), get_type_hints(kind)
        for name in [name for name in numbers_of(kind) if name not in added]:
            option, of = "--" + name.replace("_", "-"), types[name]
            how: dict[str, Any] = {"metavar": {int: "N", float: "X", str: "NAME"}.get(of, "N,N,…")}
            if of is bool:
                how = {"action": argparse.BooleanOptionalAction}
            elif get_origin(of) is Literal:
                how["metavar"] = "{" + ",".join(get_args(of)) + "}"
            elif of is not str:
                how["type"] = of if of in (int, float) else whole_numbers
            value = f" (default: {values[name]})" if name in values else ""
            group.add_argument(option, default=argparse.SUPPRESS, help=words[name] + value, **how)
            added.add(name)
            if name == "base_rate":
                help = "learning rate at its peak, whatever the batch; instead of --base-rate"
                group.add_argument("--lr", type=float, metavar="X", help=help)


def build_parser(recipe: str = "shapes") -> argparse.ArgumentParser:
    """The parser, whose help tells the numbers of this recipe."""
    typed = Path(sys.argv[0]).stem
    parser = CommandLine(
        prog=typed if typed == "resnest-edu" else "python -m resnest_edu.training",
        allow_abbrev=False,
        description="Train a ResNeSt, or a detector or segmenter on it, on the embedded shapes or a\nfolder of images.",
        usage="%(prog)s [--recipe NAME] [--out FOLDER] [options]",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"resnest-edu {__version__}")
    parser.add_argument("--list-models", action="store_true", help="print the names for --model; then end")
    parser.add_argument("--list-recipes", action="store_true", help="print the recipes, a line each; then end")
    run, data, machine = map(parser.add_argument_group, ("run", "data", "machine"))
    run.add_argument(
        "--recipe", metavar="NAME", help="one of --list-recipes (default: shapes, and with --resume that of the run)"
    )
    run.add_argument("--explain", action="store_true", help="print the recipe and what to expect of it; then end")
    run.add_argument("--out", type=Path, metavar="FOLDER", help="folder for the results")
    data.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="train on these images, resized to --image-size, instead of the embedded shapes: FOLDER/train/CLASS/* "
        "with val, test or both beside train (with both, val chooses the best epoch and test is measured at the end), "
        "or FOLDER/CLASS/*, of which a tenth is then held out as the test set; for detection and segmentation a folder "
        "in the format of COCO or of PASCAL VOC",
    )
    run.add_argument(
        "--weights",
        type=Path,
        metavar="FILE|NAME",
        help="start with the weights of this classifier: a published file, a checkpoint of a run or, if no file has "
        "that name, a published network, whose file is fetched: resnest50. Its last layer stays if all of "
        "its classes have the names of the data's, and is fresh otherwise",
    )
    data.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    run.add_argument("--resume", action="store_true", help="go on from what --out holds; begin if it holds nothing")
    run.add_argument("--overwrite", action="store_true", help="replace the results that --out already holds")
    run.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of the weights, the data order and the shapes (default: 0)"
    )
    machine.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda where there is one)")
    machine.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="that compute on the CPU; the last digits depend on it (default: with --resume as before, otherwise 1 for "
        f"images of up to {SMALL_IMAGES} pixels, and for larger ones as many as there are cores)",
    )
    machine.add_argument("--workers", type=int, metavar="N", default=2, help="processes that read images (default: 2)")
    machine.add_argument(
        "--accelerate",
        action="store_true",
        help="run split attention one split at a time: measure whether it is faster",
    )
    machine.add_argument(
        "--compile", action="store_true", help="compile the network, on CUDA into graphs: worth it in long runs"
    )
    machine.add_argument(
        "--deterministic", action="store_true", help="on CUDA only algorithms whose results repeat bit by bit; slower"
    )
    machine.add_argument(
        "--sync-bn", action="store_true", help="under torchrun on CUDA: batch norm over the images of all processes"
    )
    run.add_argument(
        "--save-minutes",
        type=float,
        metavar="X",
        default=5.0,
        help="between two checkpoints, besides each epoch's (default: 5)",
    )
    run.add_argument("--traceback", action="store_true", help="print where an error comes from, before its line")
    add_numbers(parser, recipe)
    return parser


def check(arguments: argparse.Namespace, group: Group) -> torch.device:
    """Everything that can be known to be wrong before any time is spent; returns the device."""
    if arguments.out is None:
        raise ValueError("--out (=None) must be a folder for the results")
    if arguments.workers < 0:
        raise ValueError(f"--workers (={arguments.workers}) must be at least 0")
    if arguments.threads is not None and not 1 <= arguments.threads <= MOST_THREADS:
        raise ValueError(f"--threads (={arguments.threads}) must be from 1 to {MOST_THREADS}")
    if not 0 <= arguments.seed < 2**64:
        raise ValueError(f"--seed (={arguments.seed}) must be at least 0 and below 2**64")
    if not arguments.save_minutes >= 0:
        raise ValueError(f"--save-minutes (={arguments.save_minutes}) must be at least 0")
    try:
        device = torch.device(arguments.device) if arguments.device else default_device()
        if group.size > 1 and device.type == "cuda":
            device = torch.device("cuda", group.local_rank)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device (={arguments.device!r}) must be a device of this machine: {reason}") from error
    if arguments.sync_bn and device.type != "cuda":
        raise ValueError(f"--sync-bn needs CUDA, not --device (={str(device)!r})")
    out = arguments.out
    # Process 0 answers for the folder: another might already see what this very run has begun to write.
    fresh = not (arguments.overwrite or arguments.resume)
    if group.writes and fresh and any((out / name).exists() for name in RESULTS):
        raise ValueError(
            f"--out (={str(out)!r}) must not hold an earlier run; choose another, go on with it by --resume, or "
            "--overwrite it"
        )
    if arguments.data is not None and out.resolve().is_relative_to(arguments.data.resolve()):
        raise ValueError(f"--out (={str(out)!r}) must not lie inside --data (={str(arguments.data)!r})")
    if arguments.overwrite and arguments.resume:
        raise ValueError("--overwrite must not be given with --resume, which needs what it would remove")
    try:
        require_writable(out)
    except ValueError as error:
        raise ValueError(f"--out: {error}") from error
    return device


@contextmanager
def settings_of_a_run(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON object in a file that an earlier part of the run has left. Whatever is wrong with it, also in the eyes
    of who reads it, is one clear error."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
        yield content
    except Exception as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise ValueError(
            f"{path} must be as a run of this version left it: {reason}; --overwrite begins anew"
        ) from error


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has left something there to go on from."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS))


def choose_recipe(arguments: argparse.Namespace) -> BaseRecipe:
    """The recipe asked for, or that of the run which is resumed, with the numbers that are to be replaced."""
    earlier = arguments.out / "recipe.json" if arguments.out and arguments.resume else None
    if arguments.recipe is None and earlier and earlier.exists():
        with settings_of_a_run(earlier) as content:
            require_one_of("task", content["task"], TASKS)
            recipe = TASKS[content["task"]][0](**content)
    else:
        if arguments.recipe is None and earlier and has_checkpoint(earlier.parent):
            raise ValueError(f"{earlier} must be as the run left it, and is missing; name the run's recipe by --recipe")
        name = arguments.recipe or "shapes"
        require_one_of("recipe", name, ALL_RECIPES)
        recipe = ALL_RECIPES[name]
    every = {name for kind, _ in TASKS.values() for name in numbers_of(kind)}
    given = {name: value for name, value in vars(arguments).items() if name in every}
    for name in given:
        if name not in numbers_of(type(recipe)):
            raise ValueError(f"--{name.replace('_', '-')} must not be given for {recipe.task}")
    recipe = replace(recipe, **given)
    if arguments.lr is None:
        return recipe
    if "base_rate" in given:
        raise ValueError(f"--lr (={arguments.lr}) must not be given with --base-rate, which says the same")
    require_in_range("--lr", arguments.lr, 0, open_low=True)
    return replace(recipe, base_rate=arguments.lr / replace(recipe, base_rate=1.0).peak_rate)


def explain(arguments: argparse.Namespace, recipe: BaseRecipe) -> str:
    """The recipe's text, and its numbers as they are to be used."""
    numbers, parts = asdict(recipe), [json.dumps(asdict(recipe), indent=2)]
    name = arguments.recipe or (None if arguments.resume else "shapes")
    if name is not None:
        replaced = [key for key, value in asdict(ALL_RECIPES[name]).items() if numbers[key] != value]
        parts.insert(0, ABOUT[name])
        if replaced:
            parts.insert(1, f"Other than the recipe: {', '.join(replaced)}.")
    return "\n\n".join([*parts, f"Learning rate at its peak: {recipe.peak_rate:g}"])


def choose_threads(arguments: argparse.Namespace, recipe: BaseRecipe, device: torch.device) -> int:
    """How many threads compute: those asked for, those of the run which is resumed, or by the size of the images.

    More than there are cores is allowed, so that a run can go on with the same bits on a smaller machine.
    """
    if arguments.threads is not None:
        return arguments.threads
    path = arguments.out / "run.json"
    if arguments.resume and path.exists():
        try:
            threads = json.loads(path.read_text(encoding="utf-8"))["threads"]
            require_positive_int(threads=threads)
            require_in_range("threads", threads, 1, MOST_THREADS)
            return threads
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} must say how many threads the run has: remove it, or give --threads") from error
    return 1 if device.type == "cpu" and recipe.image_size <= SMALL_IMAGES else torch.get_num_threads()


def open_data(arguments: argparse.Namespace, recipe: BaseRecipe) -> ImageSplits:
    """The partitions and the class names.

    Raises:
        ValueError: the recipe needs a folder, or the folder is not as it must be.
    """
    folder = arguments.data
    if isinstance(recipe, TransferRecipe):
        if folder is None:
            return scene_splits(recipe, arguments.seed)
        with about_data():
            return folder_splits(recipe, folder)
    assert isinstance(recipe, Recipe)
    if folder is not None:
        with about_data():
            return image_splits(folder, recipe, skip_broken=arguments.skip_broken, workers=arguments.workers)
    if recipe.crop:
        raise ValueError(f"--data (=None) must be a folder of images for a recipe that crops them ({recipe.crop})")
    return ImageSplits(*shapes_data(recipe, arguments.seed), SHAPE_CLASSES)


@contextmanager
def about_data() -> Iterator[None]:
    """Let an error say which option it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"--data: {cause(error)[1]}") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def require_same_data(out: Path, data: Path | None, found: dict[str, Any]) -> None:
    """Raise ValueError if the run began with other images: some of those that are held out might have been trained
    on."""
    with settings_of_a_run(out / "data.json") as earlier:
        same = all(earlier[name] == found[name] for name in ("training", "test", "digest"))  # which tell of val too
        began = f"{earlier['training']:,} for training and {earlier['test']:,} for the test"
    if not same:
        raise ValueError(
            f"--data (={data and str(data)!r}) must hold the images that the run in {out} began with, {began}; they "
            f"are {found['training']:,} and {found['test']:,} now, or have other names or contents"
        )


def load_weights(model: nn.Module, name: str, path: Path, classes: tuple[str, ...]) -> str:
    """Begin with the weights of a classifier: with its head too where it tells the same classes apart, their outputs
    put into this run's order. Returns what became of the head."""
    load_backbone(model, name, path)
    known = list(read_header(path).get("classes") or ()) if path.is_file() else []
    if not isinstance(model, ResNeSt) or sorted(known) != sorted(classes):
        return f"{path}: without its head, for it is not of the same classes"
    load(path, model)
    order = [known.index(one) for one in classes]
    with torch.no_grad():
        for parameter in model.fc.parameters():
            parameter.copy_(parameter[order])
    return f"{path}: with its head, for it is of the same {len(classes)} classes"


class AnnouncedCheckpoints(Checkpoints):
    """Checkpoints that say where a run goes on, and note its numbers and threads once it is known to be the same."""

    def restore(self) -> dict[str, Any] | None:
        content = super().restore()
        write_json(self.folder / "recipe.json", asdict(self.recipe))
        write_json(self.folder / "run.json", {"threads": torch.get_num_threads()})
        if content:
            print(f"going on from {self.last_good} in {self.folder}, after {len(content['history'])} epoch(s)")
            if (before := content["recipe"]["epochs"]) < self.recipe.epochs:
                print(
                    f"{self.recipe.epochs} epochs in place of {before}: the rate rises to what the longer schedule has"
                )
        return content


@dataclass
class Known:
    """What is known of a run, should it fail."""

    recipe: BaseRecipe | None = None
    checkpoints: Checkpoints | None = None

    @property
    def last_good(self) -> str:
        saved = self.checkpoints is not None and self.checkpoints.last_good
        return f"the last good checkpoint is {saved}" if saved else "there is no checkpoint yet"


def run(arguments: argparse.Namespace, group: Group, known: Known) -> None:
    if arguments.list_models or arguments.list_recipes:
        lines = [f"{name:20} {text.partition(chr(10))[0]}" for name, text in ABOUT.items()]
        print(*(list_models() if arguments.list_models else lines), sep="\n")
        return
    known.recipe = recipe = choose_recipe(arguments)
    if arguments.explain:
        print(explain(arguments, recipe))
        return
    device = check(arguments, group)
    task = TASKS[recipe.task][1](recipe)
    torch.set_num_threads(choose_threads(arguments, recipe, device))
    transfers = isinstance(recipe, TransferRecipe)
    for option, fits in (("skip_broken", not transfers), ("compile", task.compiles)):
        if getattr(arguments, option) and not fits:
            raise ValueError(f"--{option.replace('_', '-')} must not be given for {recipe.task}")
    fresh = arguments.weights is None and not (arguments.resume and has_checkpoint(arguments.out))
    if fresh and isinstance(recipe, TransferRecipe) and (recipe.norm == "frozen" or recipe.frozen_stages):
        raise ValueError(
            f"--weights (=None) must be given: the recipe freezes them (norm={recipe.norm!r}, "
            f"frozen_stages={recipe.frozen_stages})"
        )
    if fresh and arguments.recipe == "finetune":
        warnings.warn("--recipe finetune begins with fresh weights, for --weights is not given", stacklevel=1)
    splits = open_data(arguments, recipe)
    parts: dict[str, Any] = {"training": splits.train, "val": splits.val, "test": splits.test}
    parts, classes = {name: part for name, part in parts.items() if part is not None}, splits.classes
    if isinstance(task, Classification):
        task.classes = len(classes)  # or it would have to ask the network
    which = {name: len(part) for name, part in parts.items()}
    found = which | {"digest": [digest(part) for part in parts.values()]}
    if arguments.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not arguments.deterministic
    torch.manual_seed(arguments.seed)
    model = recipe.build(len(classes))
    head = ""
    if arguments.weights is not None:
        head = load_weights(model, recipe.model, arguments.weights, classes)
    if arguments.sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if group.writes:
        arguments.out.mkdir(parents=True, exist_ok=True)
        if arguments.overwrite:
            for name in RESULTS:
                (arguments.out / name).unlink(missing_ok=True)
        # A run that ended before its first checkpoint did nothing: what it noted is not held against this one.
        begins = not has_checkpoint(arguments.out)
        if begins or not (arguments.out / "data.json").exists():
            write_json(arguments.out / "data.json", found)
        if begins and arguments.resume:
            print(f"nothing to go on from in {arguments.out}: beginning")
        if begins and head:
            print(head)
    group.sum(torch.zeros(1, device=device))  # the others wait here until process 0 has prepared the folder
    require_same_data(arguments.out, arguments.data, found)
    kind = AnnouncedCheckpoints if group.writes else Checkpoints
    checkpoints = kind(arguments.out, recipe, classes, arguments.seed, minutes=arguments.save_minutes)
    known.checkpoints = checkpoints
    if group.writes:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        counts = [f"{count:,} {name}" for name, count in which.items()]
        others = f" and in {group.size - 1} more process(es)" if group.size > 1 else ""
        print(
            f"{recipe.model}, {parameters:,} parameters, on {device} in {torch.get_num_threads()} thread(s){others}: "
            f"{', '.join(counts[:-1])} and {counts[-1]} images of {len(classes)} classes, "
            f"{recipe.image_size} pixels, {recipe.epochs} epoch(s)"
        )
        print(splits.chooses)

    def report(metrics: EpochMetrics) -> None:
        with tqdm.external_write_mode():  # above the progress bar, on a terminal
            print(
                f"epoch {metrics.epoch}/{recipe.epochs}: loss {metrics.train_loss:.3f}, {metrics.describe()}, "
                f"{metrics.images_per_second:,.0f} images/s",
                flush=True,
            )

    history = train(
        model,
        splits.train,
        splits.test,
        recipe,
        val_data=splits.val,
        task=task,
        seed=arguments.seed,
        device=device,
        workers=arguments.workers,
        checkpoints=checkpoints,
        accelerate=arguments.accelerate,
        compile=arguments.compile,
        group=group,
        after_epoch=report,
    )
    if group.writes:
        last, best = history[-1] if splits.val is None else best_of(history), best_of(history)
        at = "" if splits.val is None else f" in epoch {last.epoch},"
        print(f"{last.describe()}{at} after {sum(m.seconds for m in history):.1f} s; results in {arguments.out}")
        if best is not last:
            print(f"best.safetensors is of epoch {best.epoch}: {best.describe()}")
        if isinstance(recipe, Recipe) and last.train_loss > 2 * math.log(len(classes)) > 0:
            warnings.warn(
                f"the training loss (={last.train_loss:.3g}) is far above that of guessing "
                f"(={math.log(len(classes)):.3g}): the rate may be too high, see --lr",
                stacklevel=1,
            )


def print_warning(message: Warning | str, *place: object, **rest: object) -> None:
    """In one line, as an error is."""
    print(f"warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 130 for Ctrl-C, and 2, after one line, for whatever else ends a
    run early. With ``--traceback`` what Python says of it comes first."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in commands.EXAMPLES:
        return commands.main(argv[0], argv[1:])
    first = CommandLine(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default="shapes")
    parser = build_parser(first.parse_known_args(argv)[0].recipe)
    arguments, threads, known = parser.parse_args(argv), torch.get_num_threads(), Known()
    try:
        with (
            warnings.catch_warnings(),
            process_group((arguments.device or default_device().type).split(":")[0]) as group,
        ):
            warnings.showwarning = print_warning
            run(arguments, group, known)
    except Exception as error:
        if arguments.traceback:
            traceback.print_exc()
        line = explain_failure(error, known.recipe, known.last_good, skips=arguments.skip_broken)
        print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        where = str(interrupt) or "before the first step"
        if os.environ.get("RANK", "0") == "0":  # the process that has saved
            print(f"interrupted {where}; the same command with --resume goes on", file=sys.stderr)
        return 130
    finally:
        torch.set_num_threads(threads)  # of whoever calls this from Python
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
