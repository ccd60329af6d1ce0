"""Where figures come from: processor or GPU, threads, versions, commit. No machine, no user, no path is named."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch


def provenance(device: torch.device) -> dict[str, Any]:
    """Where figures made now on ``device`` come from. On another processor, with other instructions or another number
    of threads, sums are rounded otherwise, and the same seed makes another network.

    Args:
        device: where the figures were made.

    Example:
        >>> import torch
        >>> from resnest_edu.book.records import provenance
        >>> sorted(provenance(torch.device("cpu")))
        ['commit', 'date', 'device', 'driver', 'instructions', 'threads', 'versions']
    """
    cuda = device.type == "cuda"
    return {
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if cuda else f"{_processor()}, {os.cpu_count()} cores",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "driver": _driver() if cuda else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
            "numpy": np.__version__,
            "cuda": torch.version.cuda if cuda else None,
        },
    }


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """The processor by its name, or, where the system does not tell, its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()


def _commit() -> str | None:
    """The commit of the code, marked where files have been changed since.

    Only of a repository that tracks this very file: an installed copy may lie inside another project's. Where there is
    no git, as on a machine that was handed the files, ``RESNEST_EDU_COMMIT`` says it, if anything does.
    """
    if _output("git", "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return os.environ.get("RESNEST_EDU_COMMIT")
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    if commit and _output("git", "status", "--porcelain", "--untracked-files=no", "--", "."):
        commit += " with changes"
    return commit


def _driver() -> str | None:
    versions = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return versions.splitlines()[0] if versions else None
