"""Install everything into a virtual environment: `python tools/install.py VENV STATE [TORCH_INDEX]`.

`make` runs this with the Python that the environment is to have. Nothing but the standard library is needed.
"""

import errno
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEEDED = {False: 7.6, True: 3.0}  # GB while it is installed, without and with PyTorch's build for the CPU alone
LESS = (
    " PyTorch's builds for the CPU take 4 GB less: make install TORCH_INDEX=ADDRESS, with the address that PyTorch's "
    "page on installation gives for pip and the CPU."
)
NO_SPACE = os.strerror(errno.ENOSPC)
TESTED = ("-c", "constraints.txt")
LIBRARIES = ("cuda", "nvidia", "triton")
VERSION = "import platform; print(platform.python_version())"
REQUIRED = "import importlib.metadata; print(*importlib.metadata.requires('torch'), sep='\\n')"


def main(folder: Path, state: str, torch_index: str | None = None) -> int:
    stamp, python, log = folder / ".installed", folder / "bin" / "python", folder / "pip.log"
    here, needed = platform.python_version(), NEEDED[torch_index is not None]
    less = "" if torch_index else LESS
    free = shutil.disk_usage(folder.parent).free / 1e9
    keep = () if free > 2 * needed else ("--no-cache-dir",)

    def pip(*arguments: str) -> bool:
        command: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check", *keep, *arguments]
        with log.open("a", encoding="utf-8") as output:
            return subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode == 0

    def asked(code: str) -> str:
        return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()

    def everything(*constraints: str) -> bool:
        """PyTorch's libraries one by one, and first: pip keeps all that one call downloads until all of it is
        installed, which for these at once is 3 GB.
        """
        return (
            pip(*constraints, "--no-deps", "torch", "torchvision")
            and all(pip(*constraints, name) for name in asked(REQUIRED).splitlines() if name.startswith(LIBRARIES))
            and pip(*constraints, "-r", "requirements.txt")
        )

    if sys.version_info < OLDEST:
        return _failed(f"Python 3.11 or newer is needed; this is {here}. Name another: make PYTHON=python3.12")
    if stamp.exists() and stamp.read_text().strip() == state:  # another make has done it meanwhile
        return 0
    if not python.exists() and free < needed:
        return _failed(f"Only {free:.1f} GB are free, and the environment takes {needed}.{less}")
    print(f"Installing into {folder}: a few minutes and several GB the first time", flush=True)
    made_by = asked(VERSION) if python.exists() else None
    if made_by != here:
        if made_by is not None:
            print(f"{folder} was made by another Python than {here}: made anew", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    log.unlink(missing_ok=True)
    if torch_index and not pip("--index-url", torch_index, *TESTED, "torch", "torchvision"):
        return _failed(f"{log.read_text(encoding='utf-8')}\nNot installed from {torch_index}")
    if not everything(*TESTED):
        if NO_SPACE in log.read_text(encoding="utf-8"):
            return _failed(f"Not installed: {NO_SPACE}, here or where pip keeps downloads.{less} The log is {log}")
        print("The tested versions (constraints.txt) cannot all be had here; trying the newest that fit", flush=True)
        if not everything():
            return _failed(f"{log.read_text(encoding='utf-8')}\nNot installed; the log is {log}")
    stamp.write_text(state + "\n", encoding="utf-8")
    return 0


def _failed(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
