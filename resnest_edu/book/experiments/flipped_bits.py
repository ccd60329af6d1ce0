"""One flipped bit in a file of weights: who notices, and how bad is it if nobody does?

From each seed a small network is drawn that looks trained, and written in three forms. One bit at a random place of the
file is flipped again and again, and three ways to load are tried on the damaged copy. Then each of the 32 bits is
flipped in random numbers of the network, and the change of its logits measured.
"""

import hashlib
import random
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from resnest_edu import create_model, load_checkpoint
from resnest_edu.data import ShapesDataset
from resnest_edu.training.augmentation import normalize

NEEDS_CUDA = False
SEEDS = range(20)
FLIPS = 20
"""Damaged copies of each file."""
FLIPS_OF_EACH_BIT = 4
CLASSES = 8

Load = Callable[[nn.Module, Path], None]


def run_seed(seed: int) -> dict[str, Any]:
    """How many flips get through, by form of the file and way to load; and the errors they would make, by bit."""
    return {"through": through(seed), **errors_by_bit(seed)}


def set_statistics(model: nn.Module, images: Tensor) -> None:
    """Give all batch norms the statistics of these images."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # forget what was there
    with torch.no_grad():
        model.train()(images)
    for norm in norms:
        norm.momentum = 0.1


def stranger(name: str, classes: int = 1000, seed: int = 0) -> nn.Module:
    """A network that looks trained: our stand-in for a published one."""
    torch.manual_seed(seed)
    model = create_model(name, classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    set_statistics(model, torch.randn(16, 3, 64, 64))
    return model.eval()


@torch.inference_mode()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = model(images)
    return found


def relative_error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double(), expected.double()
    return ((found - expected).norm() / expected.norm()).item()


def flip(content: bytes, position: int, bit: int) -> bytes:
    """The same bytes with one bit flipped, bit 0 being the lowest."""
    flipped = bytearray(content)
    flipped[position] ^= 1 << bit
    return bytes(flipped)


def plain_load(model: nn.Module, path: Path) -> None:
    """PyTorch's own way, at its strictest."""
    safe = path.suffix == ".safetensors"
    state = load_file(path) if safe else torch.load(path, weights_only=True)
    model.load_state_dict(state, strict=True)


def gets_through(load: Load, model: nn.Module, path: Path, good: dict[str, Tensor]) -> bool:
    """Whether a file loads without an error and leaves other numbers than the good ones."""
    try:
        load(model, path)
    except Exception:  # of whatever kind: it was noticed
        return False
    return any(not torch.equal(tensor, good[name]) for name, tensor in model.state_dict().items())


def through(seed: int) -> dict[str, dict[str, int]]:
    """Of ``FLIPS`` flips in a file, how many get through: form -> way to load -> count."""
    draw, good = random.Random(seed), stranger("resnest11_small", CLASSES, seed).state_dict()
    model, counts = create_model("resnest11_small", CLASSES), {}
    with TemporaryDirectory() as folder:
        torch.save(good, Path(folder, "good.pth"))
        torch.save(good, Path(folder, "good.old.pth"), _use_new_zipfile_serialization=False)
        save_file(good, Path(folder, "good.safetensors"))
        for form in (".pth", ".old.pth", ".safetensors"):
            content = Path(folder, f"good{form}").read_bytes()
            ways: dict[str, Load] = {
                "plain": plain_load,
                "package": load_checkpoint,
                "package, hash": partial(load_checkpoint, sha256=hashlib.sha256(content).hexdigest()),
            }
            counts[form] = dict.fromkeys(ways, 0)
            path = Path(folder, f"flipped{form}")
            for _ in range(FLIPS):
                path.write_bytes(flip(content, draw.randrange(len(content)), draw.randrange(8)))
                for way, load in ways.items():
                    counts[form][way] += gets_through(load, model, path, good)
    return counts


def errors_by_bit(seed: int) -> dict[str, Any]:
    """The relative errors of the logits, by bit, None where they are no finite number; and how many of these flips
    leave a number that no network can have: one that is not finite, or a negative variance."""
    images = normalize(ShapesDataset(4, split="test").tensors()[0])
    model = stranger("resnest11_small", CLASSES, seed)
    floats = {name: t.view(-1) for name, t in model.state_dict().items() if t.is_floating_point()}
    names, sizes = list(floats), torch.tensor([len(numbers) for numbers in floats.values()]).float()
    expected, draw = logits(model, images), torch.Generator().manual_seed(seed)
    errors: dict[int, list[float | None]] = {}
    impossible = 0
    for bit in range(32):
        mask, errors[bit] = torch.tensor(1 << bit).to(torch.int32), []
        for which in torch.multinomial(sizes, FLIPS_OF_EACH_BIT, replacement=True, generator=draw):
            name = names[which]
            numbers = floats[name]
            i = int(torch.randint(len(numbers), (), generator=draw))
            numbers.view(torch.int32)[i] ^= mask
            impossible += bool(not numbers[i].isfinite() or (name.endswith("running_var") and numbers[i] < 0))
            error = relative_error(logits(model, images), expected)
            errors[bit].append(float(f"{error:.2g}") if isfinite(error) else None)
            numbers.view(torch.int32)[i] ^= mask  # back as it was
    return {"errors": errors, "impossible": impossible}
