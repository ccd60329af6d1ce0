"""Recorded results: figures with their provenance, one JSON file an experiment.

A record says by which command, from which commit, when, on what device and with which library versions its figures
were made, so that a page which shows them can say so too. It names no machine, no user and no path.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from resnest_edu.atomic_write import write_atomically
from resnest_edu.book.fingerprint import fingerprint
from resnest_edu.provenance import provenance


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation of the runs (n - 1 in the denominator) and their number.

    Args:
        values: one number a run, two or more.

    Raises:
        ValueError: there are fewer than two values, and so no spread.
    """
    if len(values) < 2:
        raise ValueError(f"values (={list(values)}) must be at least two, or there is no spread")
    return {"mean": mean(values), "sd": stdev(values), "n": len(values)}


def origin(*, module: str, command: str, device: torch.device) -> dict[str, Any]:
    """With what a record begins: the command, a hash of the code, and the provenance.

    Args:
        module: dotted name of the experiment.
        command: what was typed to run it.
        device: where it ran.

    Raises:
        ValueError: there is no such module.
    """
    return {"command": command, "code": fingerprint(module), **provenance(device)}


def record(path: Path, figures: Mapping[str, Any], *, module: str, command: str, device: torch.device) -> None:
    """Write an experiment's figures with their provenance; the file appears whole or not at all.

    Args:
        path: the file to write; its folder is made if need be.
        figures: plain values, as JSON can hold them.
        module: dotted name of the experiment.
        command: what was typed to run it.
        device: where it ran.

    Raises:
        ValueError: there is no such module.
    """
    write(path, {**origin(module=module, command=command, device=device), **figures})


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record that has its provenance already, such as one that grows; the file appears whole or not at all.

    Args:
        path: the file to write; its folder is made if need be.
        content: plain values, as JSON can hold them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def read(path: str | Path) -> dict[str, Any]:
    """A record, as written by :func:`record`.

    Args:
        path: where it is.

    Raises:
        FileNotFoundError: it has not been recorded, or is not here.
        ValueError: the file is not such a record.
    """
    try:
        content = json.loads(book_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"path (={str(path)!r}) must be a record in JSON: {error}") from error
    missing = {"command", "code", "commit", "date", "device", "versions"} - set(content)
    if missing:
        raise ValueError(f"path (={str(path)!r}) must be a record with its provenance; {sorted(missing)} is missing")
    return content


def book_text(path: str | Path) -> str:
    """The text of a file that comes with the notebooks.

    Raises:
        FileNotFoundError: there is none, as where a notebook was taken out of the repository.
    """
    if not Path(path).is_file():
        where = "it comes with the book's repository, so run the notebooks in a clone of it"
        raise FileNotFoundError(f"path (={str(path)!r}) must be a file: {where}")
    return Path(path).read_text(encoding="utf-8")


def is_complete(content: Mapping[str, Any]) -> bool:
    """Whether a record holds all that was asked. One that is made in pieces has them under ``pieces``, the names of
    those to come under ``missing``, and under ``summary`` what follows from all; without that it is not complete.

    Args:
        content: a record, as :func:`read` returns it.
    """
    return "pieces" not in content or (not content["missing"] and "summary" in content)


def recorded(path: str | Path) -> dict[str, Any] | None:
    """The record at ``path``; None if there is none, or not all of it. For pages, which then say so.

    Args:
        path: where the record is, or will be.

    Raises:
        ValueError: the file is no record.
    """
    try:
        content = read(path)
    except FileNotFoundError:
        return None
    return content if is_complete(content) else None


def is_recorded(path: str | Path, module: str) -> bool:
    """Whether the file is a complete record made by the present code of the experiment ``module``.

    Args:
        path: where the record is, or will be.
        module: dotted name of the experiment.
    """
    try:
        content = read(path)
    except (FileNotFoundError, ValueError):
        return False
    return content["code"] == fingerprint(module) and is_complete(content)


def describe(content: Mapping[str, Any]) -> str:
    """One sentence on where a record comes from, for the page that shows it.

    Args:
        content: a record, as :func:`read` returns it.
    """
    device = content["device"]
    if content.get("driver") is None and "instructions" in content:  # on a CPU, and not one of the first records
        threads = content["threads"]
        device += f", {content['instructions']}, {threads} thread{'s' if threads != 1 else ''} a run"
    version = content["versions"]["torch"].partition("+")[0]  # whether with CUDA, and which, is in the record
    return f"Recorded on {content['date']} on {device}, PyTorch {version}."
