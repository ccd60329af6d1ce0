"""A trained network as a file that a web page can load: ``python -m resnest_edu.book.web_export --out FOLDER``.

The file is a script of one assignment, because a page that is opened from a disk may load scripts and nothing else.
What is assigned is JSON: where the network comes from, its variant, its state dict as it is, and some test scenes. The
script that runs it, ``network_resnest.js``, folds the batch norms by itself, as
:mod:`resnest_edu.network.batch_norm_folding` does, so a ResNeSt can be made from the same file in Python and compared
with it.

Legend: N scenes, S side of a picture in pixels.
"""

import argparse
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnest_edu.atomic_write import write_atomically
from resnest_edu.book.records import book_text, origin
from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.resnest import VARIANTS, ResNeSt, Variant
from resnest_edu.training import RECIPES, TensorImages, evaluate, predict, shapes_data, train
from resnest_edu.training.augmentation import MEAN, STD

NAME = "live_network_weights.js"
RECIPE = "shapes"
_BEGIN, _END = "self.LIVE_NETWORK = ", ";\n"
_LEFT_OUT = "num_batches_tracked"  # only training counts batches


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _layers(model: nn.Module) -> dict[str, str]:
    """What is computed where; dropout and its kin compute nothing in evaluation mode."""
    kinds = nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.AvgPool2d, nn.MaxPool2d
    return {name: repr(module) for name, module in model.named_modules() if isinstance(module, kinds)}


def encode_network(
    model: ResNeSt,
    variant: Variant,
    classes: Sequence[str],
) -> dict[str, Any]:
    """A network as JSON can hold it: all its weights and running statistics in one text, base64 of little-endian
    float32, and where in it each of them begins.

    Args:
        model: the network, in the radix-major layout and not dilated.
        variant: the row of the table that it was built from.
        classes: names of its outputs.

    Raises:
        ValueError: ``model`` is dilated, one of its layers is not what ``variant`` and ``classes`` call for, or a
            weight is not a finite number.
    """
    halving = [variant.stem_stride * 2**stage for stage in range(len(variant.blocks))]
    if list(model.strides.values()) != halving:
        raise ValueError(f"model's strides (={model.strides}) must double from stage to stage: it must not be dilated")
    found, wanted = _layers(model), _layers(ResNeSt(variant, len(classes)))
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            difference = f"{name} (={found.get(name)}) must be {wanted.get(name)}"
            raise ValueError(f"model must be what its variant and classes call for: {difference}")
    tensors, parts, start = {}, [], 0
    for name, tensor in model.state_dict().items():
        if name.endswith(_LEFT_OUT):
            continue
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must hold finite numbers only")
        tensors[name] = {"start": start, "shape": list(tensor.shape)}
        parts.append(tensor.detach().cpu().numpy().astype("<f4").ravel())
        start += tensor.numel()
    return {
        "variant": asdict(variant),
        "classes": list(classes),
        "tensors": tensors,
        "numbers": start,
        "data": _text(np.concatenate(parts)),
    }


def decode_network(content: Mapping[str, Any]) -> ResNeSt:
    """The network that :func:`encode_network` has encoded, in evaluation mode.

    Raises:
        ValueError: ``content`` is not whole.
    """
    numbers = np.frombuffer(base64.b64decode(content["data"]), dtype="<f4")
    if len(numbers) != content["numbers"]:
        raise ValueError(f"data's numbers (={len(numbers)}) must be as many as it says (={content['numbers']})")
    state = {}
    for name, place in content["tensors"].items():
        start, shape = place["start"], place["shape"]
        part = numbers[start : start + int(np.prod(shape))]
        state[name] = torch.from_numpy(part.astype(np.float32).reshape(shape))
    model = ResNeSt(Variant(**content["variant"]), len(content["classes"]))
    missing, unknown = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith(_LEFT_OUT)]
    if missing or unknown:
        raise ValueError(f"tensors must be those of the variant; missing {missing}, unknown {unknown}")
    return model.eval()


def encode_scenes(images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Pictures with their classes, as JSON can hold them. Shape: uint8 (N, 3, S, S), int64 (N,)."""
    return {"size": images.shape[-1], "labels": labels.tolist(), "data": _text(images.numpy())}


def decode_scenes(scenes: Mapping[str, Any]) -> TensorImages:
    """The pictures and classes that :func:`encode_scenes` has encoded."""
    pixels = np.frombuffer(base64.b64decode(scenes["data"]), dtype=np.uint8).copy()
    images = torch.from_numpy(pixels).view(-1, 3, scenes["size"], scenes["size"])
    return TensorImages(images, torch.tensor(scenes["labels"]))


def choose_scenes(model: nn.Module, data: TensorImages, *, each: int = 2, wrong: int = 4) -> Tensor:
    """Which scenes to show: the first ``each`` of every class, then the first ``wrong`` that the network mistakes.

    Shape: int64 (N,), places in ``data``.
    """
    first = [(data.labels == label).nonzero()[:each, 0] for label in data.labels.unique()]
    mistaken = (predict(model, data.images).argmax(1) != data.labels).nonzero()[:, 0]
    shown = torch.cat(first)
    return torch.cat([shown, mistaken[~torch.isin(mistaken, shown)][:wrong]])


def write_script(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as a script that assigns it to ``LIVE_NETWORK``; the file appears whole or not at all.

    Args:
        path: of the script; its folder must exist.
        content: what JSON can hold.
    """
    write_atomically(path, (_BEGIN + json.dumps(content, separators=(",", ":")) + _END).encode())


def read_script(path: str | Path) -> dict[str, Any]:
    """What :func:`write_script` has written.

    Args:
        path: of the script.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a script.
    """
    text = book_text(path)
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise ValueError(f"path (={str(path)!r}) must be a script that assigns to LIVE_NETWORK and ends there")
    try:
        return json.loads(text.removeprefix(_BEGIN).removesuffix(_END))
    except json.JSONDecodeError as error:
        raise ValueError(f"path (={str(path)!r}) must assign JSON: {error}") from error


def train_and_write(folder: Path, *, seed: int = 0) -> Path:
    """Train by the recipe ``shapes`` on the CPU, test, and write ``NAME`` into ``folder``; returns its path."""
    device, recipe = torch.device("cpu"), RECIPES[RECIPE]
    train_data, test_data = shapes_data(recipe, seed)
    torch.manual_seed(seed)
    model = recipe.build(len(SHAPE_CLASSES))
    train(model, train_data, test_data, recipe, seed=seed, device=device)
    _, accuracy = evaluate(model.eval(), test_data)
    chosen = choose_scenes(model, test_data)
    command = f"python -m resnest_edu.book.web_export --out FOLDER --seed {seed}"  # FOLDER: no path goes into a record
    content = {
        **origin(module="resnest_edu.book.web_export", command=command, device=device),
        "recipe": RECIPE,
        "model": recipe.model,
        "seed": seed,
        "test": {"images": len(test_data), "accuracy": accuracy},
        "mean": MEAN,
        "std": STD,
        **encode_network(model, VARIANTS[recipe.model], SHAPE_CLASSES),
        "scenes": encode_scenes(test_data.images[chosen], test_data.labels[chosen]),
    }
    write_script(folder / NAME, content)
    return folder / NAME


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m resnest_edu.book.web_export",
        description=f"Train the small ResNeSt by the recipe {RECIPE!r} and write it, with some test scenes, as {NAME}.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="an existing folder")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the order and the shapes (default: 0)")
    options = parser.parse_args(arguments)
    if not options.out.is_dir():
        parser.error(f"--out (={options.out}) must be an existing folder")
    path = train_and_write(options.out, seed=options.seed)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
