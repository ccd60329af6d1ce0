"""Files of weights, the published ones and our own: how to save and load them safely.

Everything about a file is checked before the first weight of the model changes. A file that :func:`save` wrote says in
its header which network it holds, and loads without being told.
"""

import hashlib
import io
import json
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from resnest_edu.arguments import first_line, plain
from resnest_edu.atomic_write import write_atomically
from resnest_edu.network.published import PUBLISHED
from resnest_edu.network.resnest import VARIANTS, ResNeSt, Trunk, Variant

HEAD = ("fc.weight", "fc.bias")
DIGEST = 32  # bytes of SHA-256 at the end of what training saves to go on from
CONTAINERS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net", "network")
"""Where programs for training put the weights among other things: first their average, which is what they measure."""
COUNTER = ".num_batches_tracked"  # which files from before PyTorch 0.4.1 lack
_DROPPING = ("Dropout", "DropBlock", "StochasticDepth", "Identity")
_NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z]+$")  # as in resnest50-528c19ca.pth


def save(
    path: str | Path,
    model: nn.Module,
    *,
    classes: tuple[str, ...] = (),
    recipe: Mapping[str, Any] | None = None,
    score: Mapping[str, Any] | None = None,
) -> None:
    """Write a network for use: its weights, and in the file's header what network it is. The file appears whole or not
    at all.

    A :class:`~resnest_edu.ResNeSt` is described by its numbers, so that :func:`load` builds it again; any other
    network, or one whose layers have been replaced, is loaded into a model of the same kind. Of a compiled or
    DataParallel model the network inside is written.

    Args:
        path: the file, which ends in ``.safetensors``.
        model: the network.
        classes: what its outputs mean.
        recipe: how it was trained; plain values.
        score: what it reached; plain values.

    Raises:
        ValueError: the name has another ending.
        OSError: the file could not be written; what was at ``path`` is still there.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from resnest_edu import ResNeSt, Variant, load, save
        >>> model = ResNeSt(Variant(blocks=(1, 2), planes=(16, 32), stem_width=8), num_classes=2)
        >>> with TemporaryDirectory() as folder:
        ...     save(f"{folder}/pets.safetensors", model, classes=("cat", "dog"))
        ...     load(f"{folder}/pets.safetensors").variant.blocks
        (1, 2)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path (={str(path)!r}) must end in .safetensors")
    model = unwrapped(model)
    header = {"architecture": architecture(model), "classes": classes, "recipe": recipe, "score": score}
    text = json.dumps(header, default=plain)
    # Cloned, since the format has neither shared memory nor channels-last.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    metadata = {"resnest_edu": text, "sha256": _digest(text, state)}
    write_atomically(path, safetensors.torch.save(state, metadata))


def load(
    path: str | Path, model: nn.Module | None = None, *, sha256: str | None = None, new_head: bool = False
) -> nn.Module:
    """Read a file of weights: the network that its header describes, or ``model`` with the file's weights, all of them
    or, if anything is wrong with the file, none.

    Nothing but tensors and plain values is unpickled, so a file from a stranger is given no means to run code. Our own
    files and the ``.pth`` files of PyTorch 1.6 and later carry checksums; in other files a weight that was changed to
    another number is found by ``sha256`` alone.

    Args:
        path: a file from :func:`save`, a checkpoint of training, or a state dict by :func:`torch.save` or as
            ``.safetensors``, bare or under one of the usual keys, of which an average comes first.
        model: what to load into, for files that do not say which network they hold. Its names and shapes must be the
            file's, but for what begins all names, such as ``module.`` or ``_orig_mod.``.
        sha256: the file's SHA-256 in hexadecimal digits, or at least its first eight. Where it is not given, that which
            the file's name carries (``resnest50-528c19ca.pth``) is checked.
        new_head: leave the model's last layer (``fc``) as it is, for another number of classes. A model without one,
            such as a :class:`~resnest_edu.Backbone`, needs none of the file's.

    Returns:
        ``model``, or the new network in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the hash is not the file's; the file cannot be read, is damaged, or would run code; it does not say
            which network it holds, or is by its name of another one; names are missing or unknown, shapes differ, a
            value is not finite, a variance is negative.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> from resnest_edu import load, resnest11_small
        >>> model, other = resnest11_small(10), resnest11_small(10)
        >>> with TemporaryDirectory() as folder:
        ...     torch.save(other.state_dict(), f"{folder}/weights.pth")
        ...     torch.equal(load(f"{folder}/weights.pth", model).fc.weight, other.fc.weight)
        True
    """
    if new_head and model is None:
        raise ValueError("new_head (=True) must come with a model, whose last layer it keeps")
    what = "must be a file that says its network" if model is None else "must be a checkpoint for this model"
    with about(path, what):
        header, state = read(Path(path), sha256)
        if model is not None:
            require_own_file(Path(path).name, header, unwrapped(model))
        return fill(model, header, state, new_head=new_head)


def fill(
    model: nn.Module | None, header: Mapping[str, Any], state: dict[str, Tensor], *, new_head: bool = False
) -> nn.Module:
    """``model``, or the network that the header describes, with the weights of a state dict: all, or none if they do
    not fit."""
    target = _described(header, state) if model is None else unwrapped(model)
    target.load_state_dict(_fitting(target, state, new_head), strict=not new_head, assign=model is None)
    return target.eval() if model is None else model


def load_checkpoint(model: nn.Module, path: str | Path, *, sha256: str | None = None, new_head: bool = False) -> None:
    """Put the weights of a file into ``model``: :func:`load` with the model first."""
    load(path, model, sha256=sha256, new_head=new_head)


def read_header(path: str | Path) -> dict[str, Any]:
    """What a file says of the network in it, as far as it does: ``architecture``, ``classes``, ``recipe``, ``score``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, is damaged, or would run code.
    """
    with about(path, "must be a file of weights"):
        return read(Path(path))[0]


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside what ``torch.compile``, DataParallel and averaging make of one."""
    while isinstance(model, DataParallel | DistributedDataParallel | AveragedModel) or "_orig_mod" in model._modules:
        model = model.get_submodule("_orig_mod" if "_orig_mod" in model._modules else "module")
    return model


def architecture(model: nn.Module) -> dict[str, Any] | None:
    """What builds the network again; None if numbers alone do not, since it is of another class or has other layers."""
    model = unwrapped(model)
    if type(model) is not ResNeSt:
        return None
    numbers = {"num_classes": getattr(model.fc, "out_features", 0), "output_stride": model.output_stride}
    if model.in_channels != 3:
        numbers["in_channels"] = model.in_channels
    described = {"variant": _plain(model.variant), **numbers}
    twin = _built_from(json.dumps(described, default=int))
    return described if twin == (list(model.state_dict()), _layers(model)) else None


@lru_cache(maxsize=8)  # every checkpoint of a run asks for the same
def _built_from(described: str) -> tuple[list[str], dict[str, tuple[type, str]]]:
    """The names of the tensors, and the layers, of the network that these numbers build."""
    twin = _empty(json.loads(described))
    return list(twin.state_dict()), _layers(twin)


def _empty(described: Mapping[str, Any]) -> ResNeSt:
    """The network without memory for its weights."""
    numbers = dict(described)
    row: Any = {name: tuple(one) if isinstance(one, list) else one for name, one in numbers.pop("variant").items()}
    with torch.device("meta"):
        return ResNeSt(Variant(**row), **numbers)


def _plain(variant: Variant) -> dict[str, Any]:
    """A variant as JSON gives it back; two are the same if these are."""
    return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(variant).items()}


def _layers(model: nn.Module) -> dict[str, tuple[type, str]]:
    """The class and numbers of every layer, but for those that only training has, and for how it is executed."""
    found = {}
    for name, layer in model.named_modules():
        kind = next(kind for kind in type(layer).__mro__ if not kind.__module__.startswith("resnest_edu.speed."))
        kind = nn.BatchNorm2d if kind is nn.SyncBatchNorm else kind
        if kind.__name__ not in _DROPPING or not name.endswith(("dropout", "dropblock", "stochastic_depth")):
            found[name] = kind, layer.extra_repr()
    return found


def _digest(text: str, state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a header and of all tensors, which the format leaves unprotected."""
    found = hashlib.sha256(text.encode())
    for name in sorted(state):
        tensor = state[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def about(path: str | Path, constraint: str) -> Iterator[None]:
    """Let every fault of a file be one clear error that names it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path (={str(path)!r}) must be a file")
    try:
        yield
    except _WrongHash as error:
        raise ValueError(str(error)) from error
    except Exception as error:
        raise ValueError(f"path (={str(path)!r}) {constraint}: {first_line(error)}") from error


class _WrongHash(ValueError):
    pass


def read(path: Path, sha256: str | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's header, empty if it has none, and its state dict."""
    data = path.read_bytes()
    _check_hash(path, data, sha256)
    return _of_safetensors(data) if path.suffix == ".safetensors" else _of_torch(unpack(data))


def _check_hash(path: Path, data: bytes, sha256: str | None) -> None:
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise _WrongHash(f"sha256 (={sha256!r}) must be 8 to 64 digits, 0 to 9 and a to f")
    named = _NAMED_HASH.search(path.name)
    expected = sha256 or (named[1] if named else None)
    if expected is None:
        return
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(expected):
        why, cure = ("", "") if sha256 else (", the digits its name ends in", ": delete it, and fetch it anew")
        message = f"path (={str(path)!r}) must have the SHA-256 {expected}{why}"
        raise _WrongHash(f"{message}; it has {found[: len(expected)]}{cure}")


def _of_safetensors(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    state = safetensors.torch.load(data)
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    text = metadata.get("resnest_edu")
    if text is None:
        return {}, state
    if _digest(text, state) != metadata.get("sha256"):
        raise ValueError("it is damaged: its checksum does not agree")
    return json.loads(text), state


def unpack(data: bytes) -> Any:
    """What :func:`torch.save` wrote, with or without a checksum behind it."""
    content, checksum = data[:-DIGEST], data[-DIGEST:]
    checked = hashlib.sha256(content).digest() == checksum
    file = io.BytesIO(content if checked else data)
    try:
        if zipfile.is_zipfile(file):
            # PyTorch does not compare the checksums of what it reads.
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"its part {damaged} is damaged")
        file.seek(0)
        # A program's options, which many keep with the weights, are plain values too.
        with torch.serialization.safe_globals([Namespace]):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except ValueError:
        raise
    except pickle.UnpicklingError as error:
        # PyTorch's own words end in the advice to load it without this protection.
        raise ValueError("it is damaged, or holds more than tensors and plain values and might run code") from error
    except Exception as error:
        raise ValueError(f"it is damaged, or no such file ({first_line(error)})") from error
    if is_run(found) and not checked:
        raise ValueError("it is damaged: its checksum does not agree")
    return found


def is_run(content: Any) -> bool:
    """Whether training has written it."""
    return isinstance(content, dict) and {"model", "recipe", "classes"} <= content.keys()


def _of_torch(content: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if is_run(content):
        header = {name: content[name] for name in ("architecture", "classes", "recipe") if name in content}
        if "step" not in content:
            header["score"] = {name: value for name, value in content.items() if isinstance(value, int | float)}
        content = content.get("average") or content.get("model")
    else:
        header, holder = {}, content if isinstance(content, dict) else {}
        content = next((holder[key] for key in CONTAINERS if isinstance(holder.get(key), dict)), content)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"its entry {name!r} is a {kind} instead of a tensor")
    return header, content


def _described(header: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """The network of a header, without memory: that is the state dict's."""
    numbers, recipe = header.get("architecture"), header.get("recipe") or {}
    if "architecture" not in header and recipe.get("task") == "classification":  # an older file of ours
        numbers = {"variant": _plain(VARIANTS[recipe["model"]]), "num_classes": len(header["classes"])}
    if numbers is None:
        raise ValueError("it does not say how to build it; load(path, model) loads it into a model")
    blocks = sum(numbers["variant"]["blocks"])
    if blocks > len(state):
        raise ValueError(f"it names {blocks} blocks and has {len(state)} tensors")
    return _empty(numbers)


def require_own_file(file: str, header: Mapping[str, Any], model: nn.Module) -> None:
    """Raise ValueError if a file is, by its header or by the name of a published one, that of another member of the
    family, the shapes of which may be the same."""
    rows = {name: _plain(variant) for name, variant in VARIANTS.items()}
    held = (header.get("architecture") or {}).get("variant")
    held = held or next((rows[name] for name, published in PUBLISHED.items() if file == published.file), None)
    if held is not None and isinstance(model, Trunk) and held != _plain(model.variant):
        theirs, ours = (
            next((name for name in rows if rows[name] == one), one) for one in (held, _plain(model.variant))
        )
        raise ValueError(f"it is of {theirs}, not of {ours}")


def bare(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The words that all names begin with, and the tensors by the rest of their names. DataParallel and
    ``torch.compile`` put one before each name, and so does every module that holds the network alone."""
    prefix, bare = "", {name: tensor for name, tensor in state.items() if name != "n_averaged"}  # AveragedModel's count
    while len(words := {name.partition(".")[0] for name in bare}) == 1 and all("." in name for name in bare):
        word = words.pop() + "."
        prefix, bare = prefix + word, {name.removeprefix(word): tensor for name, tensor in bare.items()}
    return prefix, bare


def _fitting(model: nn.Module, state: dict[str, Tensor], new_head: bool) -> dict[str, Tensor]:
    """The entries to load, by the model's names, each checked against the model's."""
    (prefix, wanted), (_, state) = bare(model.state_dict()), bare(state)
    if not any(name.endswith(COUNTER) for name in state):
        state |= {name: torch.tensor(0) for name in wanted if name.endswith(COUNTER)}
    if new_head or not wanted.keys() & set(HEAD):
        wanted = {name: tensor for name, tensor in wanted.items() if name not in HEAD}
        state = {name: tensor for name, tensor in state.items() if name not in HEAD}
    for kind, names in (("lacks", wanted.keys() - state.keys()), ("has the unknown", state.keys() - wanted.keys())):
        if names:
            some = ", ".join(sorted(names)[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"it {kind} {some}{more}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
            hint = "; pass new_head=True to keep the model's own last layer" if name in HEAD else ""
            raise ValueError(f"its {name} has the shape {shapes}{hint}")
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise ValueError(f"its {name} is {tensor.dtype} instead of {wanted[name].dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"its {name} has values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise ValueError(f"its {name} is a variance and has negative values")
    return {prefix + name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}
