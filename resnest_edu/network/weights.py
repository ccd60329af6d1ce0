"""Published weights: which files there are, how to get one, and how to load it safely.

Everything about a file is checked before the first weight of the model changes.
"""

import hashlib
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from resnest_edu.arguments import first_line, require_one_of

AUTHORS = "https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1"
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"

HEAD = ("fc.weight", "fc.bias")
_NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z]+$")  # as in resnest50-528c19ca.pth


@dataclass(frozen=True)
class PublishedFile:
    """A file of published weights for the 1000 classes of ImageNet.

    Attributes:
        file: its name, which ends in the first eight digits of its SHA-256.
        image_size: side in pixels of the images that its published accuracy was
            measured on.
        release: the address of the folder that holds it.
        licence: of the repository that released it, as an SPDX identifier.

    Example:
        >>> from resnest_edu import PublishedFile
        >>> published = PublishedFile("resnest50-528c19ca.pth")
        >>> published.url.rpartition("/")[2], published.sha256, published.image_size
        ('resnest50-528c19ca.pth', '528c19ca', 224)
    """

    file: str
    image_size: int = 224
    release: str = AUTHORS
    licence: str = "Apache-2.0"

    @property
    def url(self) -> str:
        return f"{self.release}/{self.file}"

    @property
    def sha256(self) -> str:
        """The digits of the SHA-256 that the file's name carries."""
        return self.file.rpartition("-")[2].removesuffix(".pth")


PUBLISHED: dict[str, PublishedFile] = {
    # The two small ones were trained by the authors in Gluon and converted for timm.
    "resnest14": PublishedFile("gluon_resnest14-9c8fe254.pth", release=TIMM),
    "resnest26": PublishedFile("gluon_resnest26-50eb607c.pth", release=TIMM),
    "resnest50": PublishedFile("resnest50-528c19ca.pth"),
    "resnest101": PublishedFile("resnest101-22405ba7.pth", 256),
    "resnest200": PublishedFile("resnest200-75117900.pth", 320),
    "resnest269": PublishedFile("resnest269-0cc87c48.pth", 416),
    "resnest50_fast_1s1x64d": PublishedFile("resnest50_fast_1s1x64d-d8fbf808.pth"),
    "resnest50_fast_2s1x64d": PublishedFile("resnest50_fast_2s1x64d-44938639.pth"),
    "resnest50_fast_4s1x64d": PublishedFile("resnest50_fast_4s1x64d-f74f3fc3.pth"),
    "resnest50_fast_1s2x40d": PublishedFile("resnest50_fast_1s2x40d-32830b84.pth"),
    "resnest50_fast_2s2x40d": PublishedFile("resnest50_fast_2s2x40d-9d126481.pth"),
    "resnest50_fast_4s2x40d": PublishedFile("resnest50_fast_4s2x40d-41d14ed0.pth"),
    "resnest50_fast_1s4x24d": PublishedFile("resnest50_fast_1s4x24d-d4a4f76f.pth"),
}
"""The published file for each model's name; names and hashes as in the authors' code and timm's."""


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Download the published weights of a model, unless they are there already, and
    return the file's path.

    Args:
        name: a key of :data:`PUBLISHED`.
        folder: where to keep the file; where it is not given, PyTorch's own cache for
            such files.

    Raises:
        ValueError: nothing is published under ``name``.
        OSError: the file cannot be downloaded, or what came is not what was
            published.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from resnest_edu import PUBLISHED, fetch
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, PUBLISHED["resnest50"].file).touch()  # as if it were there
        ...     print(fetch("resnest50", folder).name)
        resnest50-528c19ca.pth
    """
    require_one_of("name", name, PUBLISHED)
    published = PUBLISHED[name]
    path = Path(folder or Path(torch.hub.get_dir()) / "checkpoints") / published.file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(published.url, str(path), published.sha256)
        except Exception as error:
            raise OSError(f"{published.url} could not be fetched: {first_line(error)}") from error
    return path


def load_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    sha256: str | None = None,
    new_head: bool = False,
) -> None:
    """Put the weights of a file into ``model``, all of them or, if anything is wrong
    with the file, none.

    The file must hold a state dict with the model's names and shapes, bare or under
    the key ``state_dict``; those of the official release and of timm do for
    :func:`resnest_edu.create_model`'s networks. Nothing but tensors and plain values
    is unpickled, so a file from a stranger is given no means to run code. Only
    ``.pth`` files of PyTorch 1.6 and later carry checksums of their own: in other
    files a weight that was changed to another number is found by ``sha256`` alone.

    Args:
        model: what to load into.
        path: a file that ends in ``.safetensors``, or one that :func:`torch.save`
            wrote.
        sha256: the file's SHA-256 in hexadecimal digits, or at least its first eight.
            Where it is not given but the file's name carries it, as those of
            published files do (``resnest50-528c19ca.pth``), the name's is checked.
        new_head: leave the model's last layer (``fc``) as it is, for another number
            of classes. A model without one, such as a :class:`~resnest_edu.Backbone`,
            needs none of the file's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the hash is not the file's; the file cannot be read, is damaged,
            or would run code; or what it holds does not fit: names are missing or
            unknown, shapes differ, a value is not finite, a variance is negative.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> from resnest_edu import load_checkpoint, resnest11_small
        >>> model, other = resnest11_small(10), resnest11_small(10)
        >>> with TemporaryDirectory() as folder:
        ...     torch.save(other.state_dict(), f"{folder}/weights.pth")
        ...     load_checkpoint(model, f"{folder}/weights.pth")
        >>> torch.equal(model.fc.weight, other.fc.weight)
        True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path (={str(path)!r}) must be a file")
    _check_hash(path, sha256)
    try:
        state = _state_of(_read(path))
        chosen = _fitting(model, state, new_head)
    except Exception as error:
        message = f"path (={str(path)!r}) must be a checkpoint for this model"
        raise ValueError(f"{message}: {first_line(error)}") from error
    model.load_state_dict(chosen, strict=not new_head)


def _check_hash(path: Path, sha256: str | None) -> None:
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        digits = "8 to 64 digits, 0 to 9 and a to f"
        raise ValueError(f"sha256 (={sha256!r}) must be {digits}")
    named = _NAMED_HASH.search(path.name)
    expected = sha256 or (named[1] if named else None)
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        why = "" if sha256 else ", the digits its name ends in"
        message = f"path (={str(path)!r}) must have the SHA-256 {expected}{why}"
        raise ValueError(f"{message}; it has {found[: len(expected)]}")


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            # PyTorch does not compare the checksums of what it reads.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"its part {damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except ValueError:
        raise
    except pickle.UnpicklingError as error:
        # PyTorch's own words end in the advice to load it without this protection.
        raise ValueError("it is damaged, or holds more than tensors and plain values and might run code") from error
    except Exception as error:
        raise ValueError(f"it cannot be read ({first_line(error)})") from error


def _state_of(content: object) -> dict[str, Tensor]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of a state dict")
    if "recipe" in content:
        loader = "resnest_edu.training.load_checkpoint"
        raise ValueError(f"it is a checkpoint of training, which {loader} reads")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"its entry {name!r} is a {kind} instead of a tensor")
    return content


def _fitting(
    model: nn.Module,
    state: dict[str, Tensor],
    new_head: bool,
) -> dict[str, Tensor]:
    """The entries to load, each checked against the model's."""
    wanted = model.state_dict()
    if new_head or not wanted.keys() & set(HEAD):
        wanted = {name: tensor for name, tensor in wanted.items() if name not in HEAD}
        state = {name: tensor for name, tensor in state.items() if name not in HEAD}
    for kind, names in (
        ("lacks", wanted.keys() - state.keys()),
        ("has the unknown", state.keys() - wanted.keys()),
    ):
        if names:
            some = ", ".join(sorted(names)[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"it {kind} {some}{more}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
            hint = ""
            if name in HEAD:
                hint = "; pass new_head=True to keep the model's own last layer"
            raise ValueError(f"its {name} has the shape {shapes}{hint}")
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            types = f"{tensor.dtype} instead of {wanted[name].dtype}"
            raise ValueError(f"its {name} is {types}")
        if not tensor.isfinite().all():
            raise ValueError(f"its {name} has values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise ValueError(f"its {name} is a variance and has negative values")
    return state
