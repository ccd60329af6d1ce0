"""Odd files of weights."""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import torch

from resnest_edu import ResNeSt, Variant, load
from tests.odd_inputs.odd import Odd, Oddity, Trial, choose, trial

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "encoder.")
CONTAINERS = ("model", "state_dict", "state_dict_ema", "model_ema")


def small(seed: int) -> ResNeSt:
    torch.manual_seed(seed)
    model = ResNeSt(Variant(blocks=(1, 2), planes=(8, 16), stem_width=4), num_classes=3).eval()
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


@dataclass
class File:
    state: dict[str, Any]
    ending: str = "pth"
    inside: tuple[str, ...] = ()
    data: bytes | None = None
    change: Any = None
    """What happens to the file's bytes."""


def set_to(**values: Any):
    return lambda rng, file: [setattr(file, name, value) for name, value in values.items()]


def prefixed(rng: Random, file: File) -> None:
    prefix = rng.choice(PREFIXES)
    file.state = {prefix + name: tensor for name, tensor in file.state.items()}


def contained(rng: Random, file: File) -> None:
    if file.ending == "pth":
        file.inside = (rng.choice(CONTAINERS),)


def uncounted(rng: Random, file: File) -> None:
    file.state = {name: one for name, one in file.state.items() if not name.endswith("num_batches_tracked")}


def one_entry(change: Any):
    """The values of one float tensor are others."""

    def edit(rng: Random, file: File) -> None:
        name = rng.choice([name for name, one in file.state.items() if one.is_floating_point() and one.numel() > 3])
        file.state = {**file.state, name: change(file.state[name])}

    return edit


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    spoilt = tensor.clone()
    spoilt.view(-1)[-1] = float("nan")
    return spoilt


def some_prefixed(rng: Random, file: File) -> None:
    """Half of the names have it: no common one."""
    file.state = {("module." if index % 2 else "") + name: one for index, (name, one) in enumerate(file.state.items())}


def cut(rng: Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data) - 1)]


def flipped(rng: Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    spoilt[rng.randrange(len(spoilt) // 4, len(spoilt) // 2)] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


class Code:
    def __reduce__(self):
        return (eval, ("1 + 1",))


ODDITIES = {
    "safetensors": Oddity(set_to(ending="safetensors", inside=())),
    "common prefix": Oddity(prefixed),
    "container": Oddity(contained),
    "no batches counted": Oddity(uncounted),
    "ordered": Oddity(lambda rng, file: setattr(file, "state", OrderedDict(file.state))),
    "parameters": Oddity(one_entry(torch.nn.Parameter)),
    "double precision": Oddity(one_entry(torch.Tensor.double)),
    "other strides": Oddity(one_entry(lambda one: torch.stack([one, one], -1)[..., 0])),
    "half a prefix": Oddity(some_prefixed, "lacks|unknown|prefix", fatal=True),
    "not a number": Oddity(one_entry(with_nan), "not finite", fatal=True),
    "another shape": Oddity(one_entry(lambda one: torch.cat([one, one])), "shape", fatal=True),
    "whole numbers": Oddity(one_entry(lambda one: one.to(torch.int8)), "int8", fatal=True),
    "no tensor": Oddity(one_entry(lambda one: one.tolist()), "instead of a tensor", fatal=True),
    "an entry less": Oddity(lambda rng, file: file.state.pop("conv1.0.weight"), "lacks", fatal=True),
    "an entry more": Oddity(
        lambda rng, file: file.state.__setitem__("head.bias", torch.ones(3)), "unknown", fatal=True
    ),
    "cut file": Oddity(set_to(change=cut), "damaged|no such|cannot", fatal=True),
    "flipped bit": Oddity(set_to(change=flipped), "damaged|no such|cannot"),
    "code": Oddity(set_to(data=pickle.dumps({"a": Code()})), "run code|damaged", fatal=True),
    "another file": Oddity(set_to(data=b"<html>404</html>"), "damaged|no such", fatal=True),
    "list": Oddity(set_to(inside=(0,)), "list", fatal=True),
}


def weights(number: int, folder: Path) -> Trial:
    rng = Random(number)
    source = small(rng.randrange(1000))
    file = File(dict(source.state_dict()))
    odd = choose(rng, number, ODDITIES, most=3)
    for one in odd.values():
        one.change(rng, file)
    path = folder / f"weights.{file.ending}"
    if file.data is not None:
        path.write_bytes(file.data)
    elif file.ending == "safetensors":
        safetensors.torch.save_file({name: one.detach().contiguous() for name, one in file.state.items()}, path)
    else:
        torch.save([file.state] if file.inside == (0,) else dict.fromkeys(file.inside, file.state) or file.state, path)
    if file.change:
        path.write_bytes(file.change(rng, path.read_bytes()))

    def attempt() -> None:
        model = small(-1)
        before = [tensor.clone() for tensor in model.state_dict().values()]
        image = torch.rand(1, 3, 16, 16)
        try:
            load(path, model)
        except ValueError:
            if not all(map(torch.equal, before, model.state_dict().values())):
                raise Odd("refused, and some weights are changed") from None
            raise
        if not torch.equal(model.eval()(image), source(image)) and "flipped bit" not in odd:
            raise Odd("the network computes something else")

    return trial(odd, attempt)
