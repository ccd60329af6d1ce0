"""Install everything into a virtual environment: `python tools/install.py VENV STATE [TORCH_INDEX]`.

`make` runs this with the Python that the environment is to have. Nothing but the standard library is needed.
"""

import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEEDED = {False: 9, True: 5}  # GB, without and with PyTorch's build for the CPU alone


def version_of(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


def main(folder: Path, state: str, torch_index: str | None = None) -> int:
    here, python, log = ".".join(map(str, sys.version_info[:3])), folder / "bin" / "python", folder / "pip.log"
    stamp = folder / ".installed"
    if sys.version_info < OLDEST:
        print(f"Python 3.11 or newer is needed; this is {here}. Name another: make PYTHON=python3.12", file=sys.stderr)
        return 1
    if stamp.exists() and stamp.read_text().strip() == state:  # another make has done it meanwhile
        return 0
    afresh = version_of(python) != here if python.exists() else True
    if afresh and python.exists():
        print(f"{folder} was made by another Python than {here}: made anew")
    free = shutil.disk_usage(folder.parent if not folder.exists() else folder).free / 1e9
    if afresh and not python.exists() and free < NEEDED[torch_index is not None]:
        print(
            f"Only {free:.1f} GB are free, and the environment needs {NEEDED[torch_index is not None]}. PyTorch's "
            "builds for the CPU need 4 GB less: make install TORCH_INDEX=ADDRESS, with the address that PyTorch's "
            "page on installation gives for pip and the CPU.",
            file=sys.stderr,
        )
        return 1
    print(f"Installing into {folder}: a few minutes and several GB the first time", flush=True)
    if afresh:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    tested = ["-c", "constraints.txt"]
    pip: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    project = ["-r", "requirements.txt"]

    def installed(*arguments: str) -> bool:
        with log.open("a", encoding="utf-8") as output:
            return subprocess.run([*pip, *arguments], stdout=output, stderr=subprocess.STDOUT).returncode == 0

    log.unlink(missing_ok=True)
    if torch_index and not installed("--index-url", torch_index, *tested, "torch", "torchvision"):
        print(f"{log.read_text(encoding='utf-8')}\nNot installed from {torch_index}", file=sys.stderr)
        return 1
    if not installed(*tested, *project):
        print("The tested versions (constraints.txt) cannot all be had here; trying the newest that fit", flush=True)
        if not installed(*project):
            print(f"{log.read_text(encoding='utf-8')}\nNot installed; the log is {log}", file=sys.stderr)
            return 1
    stamp.write_text(state + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
