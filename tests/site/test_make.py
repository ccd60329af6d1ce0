"""What the Makefile leaves to scripts: installing, waiting for another make, and asking other versions."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import install, portability
from tools.notebooks import ROOT


def test_a_second_command_waits_for_the_first_and_one_beneath_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESNEST_EDU_ALONE", raising=False)
    (tmp_path / "tools").mkdir()
    alone = [sys.executable, str(shutil.copy(ROOT / "tools" / "alone.py", tmp_path / "tools"))]
    held, done = tmp_path / "held", tmp_path / "done"
    code = f"import pathlib, time; pathlib.Path(r'{held}').touch(); time.sleep(3); pathlib.Path(r'{done}').touch()"
    first = subprocess.Popen([*alone, sys.executable, "-c", code])
    while not held.exists():
        time.sleep(0.05)
    code = f"import pathlib, sys; sys.exit(5 if pathlib.Path(r'{done}').exists() else 3)"
    command = [*alone, *alone, sys.executable, "-c", code]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 5 and second.stderr.count("waits until it is done") == 1
    assert first.wait() == 0


def test_installing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pip: list[list[str]] = []
    made: list[list[str]] = []
    free, says = 100e9, ""

    def run(command: list[object], **options: object) -> SimpleNamespace:
        """The environment it makes is an empty folder, and constraints cannot be met."""
        words = [str(word) for word in command]
        if "venv" in words:
            made.append(words)
            (Path(words[-1]) / "bin").mkdir(parents=True, exist_ok=True)
        if "pip" not in words:
            return SimpleNamespace(
                returncode=0, stdout="sympy\ncuda\ntriton; 1\n" if "torch" in words[-1] else "3.0.0\n"
            )
        pip.append(words)
        options["stdout"].write(says)
        return SimpleNamespace(returncode=int("constraints.txt" in words))

    monkeypatch.setattr(install.subprocess, "run", run)
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    folder = tmp_path / ".venv"
    free = 4e9
    assert install.main(folder, "state") == 1
    assert "Only 4.0 GB are free" in capsys.readouterr().err and pip == []
    assert install.main(folder, "state", "address") == 1  # nothing is there under that address
    assert "Not installed from address" in capsys.readouterr().err
    assert pip[-1][pip[-1].index("--index-url") :][:2] == ["--index-url", "address"] and "--no-cache-dir" in pip[-1]
    pip.clear()
    free, says = 100e9, "ERROR: [Errno 28] No space left on device\n"
    assert install.main(folder, "state 1") == 1
    assert "make install TORCH_INDEX=" in capsys.readouterr().err and len(pip) == 1
    pip.clear()
    says = ""
    assert install.main(folder, "state 1") == 0
    assert "trying the newest that fit" in capsys.readouterr().out
    assert ["-c" in words for words in pip] == [True, False, False, False, False]
    assert [words[-1] for words in pip[1:]] == ["torchvision", "cuda", "triton; 1", "requirements.txt"]
    assert not any("--no-cache-dir" in words for words in pip)
    count = len(pip)
    assert install.main(folder, "state 1") == 0 and len(pip) == count  # nothing has changed
    (folder / "bin" / "python").touch()
    assert install.main(folder, "state 2") == 0
    assert "made by another Python" in capsys.readouterr().out and len(pip) > count
    assert len(made) == 4 and "--clear" in made[-1]


def test_what_fell_elsewhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portability, "FOLDER", tmp_path)

    def run(command: list[str], *, env: dict[str, str], **options: object) -> SimpleNamespace:
        assert env["OMP_NUM_THREADS"] == "2" and env["ATEN_CPU_CAPABILITY"] == "avx2"
        return SimpleNamespace(returncode=1, stdout=said)

    monkeypatch.setattr(portability.subprocess, "run", run)
    said, settings = (
        "FAILED book/a b.ipynb::Cell 3 - x\nERROR book/c.ipynb - y\n1 failed",
        {"ATEN_CPU_CAPABILITY": "avx2"},
    )
    assert portability.run("one", 2, settings) == ["book/a b.ipynb::Cell 3", "book/c.ipynb"]
    assert (tmp_path / "one.log").read_text() == said
    said = "no tests ran"
    assert portability.run("one", 2, settings) == ["pytest ended with status 1; see one.log"]


def test_the_twelve_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"torch==2.11", "timm==1.0.15"} <= set(portability.lowest())
    monkeypatch.setattr(portability, "library", lambda which: Path(which))
    runs = list(portability.settings(["lowest", "newest"], []))
    assert len({name for name, _, _ in runs}) == 12
    assert len({(threads, *sorted(environment.items())) for _, threads, environment in runs}) == 12
    assert [environment for _, _, environment in portability.settings([], [7])] == [{"DEMONSTRATION_SEED": "7"}]
