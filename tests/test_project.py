"""The files that must agree with each other do."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.notebooks import toc_notebooks

ROOT = Path(__file__).resolve().parent.parent


def test_every_dependency_has_a_lower_bound_and_every_extra_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = project["dependencies"] + [line for extra in extras.values() for line in extra]
    assert [line for line in declared if ">=" not in line] == []
    assert f"-e .[{','.join(extras)}]" in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_every_python_that_the_package_names_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    assert re.findall(r'python: "(.+?)"', workflow) == named
    assert project["requires-python"] == f">={named[0]}"


def test_every_notebook_is_a_chapter() -> None:
    written = {path for path in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
    assert written == set(toc_notebooks(ROOT))


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(r"(?:root|file): *(\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    written = {str(path.relative_to(ROOT).with_suffix("")) for path in (ROOT / "book").rglob("*.md")}
    assert written <= set(listed)


def test_every_make_target_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    assert set(phony.group(1).split()) == set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))


def test_the_package_loads_and_exports_without_the_packages_of_the_book_and_of_the_tests(tmp_path: Path) -> None:
    # A name that maps to None in sys.modules cannot be imported. What takes seconds is not, before it is used.
    code = """
import sys
others = "IPython jupyter_book sphinx nbval scipy timm onnx onnxscript onnxruntime pytest triton"
others += " torchmetrics pycocotools"
for name in others.split():
    sys.modules[name] = None
import resnest_edu, resnest_edu.data, resnest_edu.speed, resnest_edu.training
slow = {"torchvision", "torch._dynamo", "matplotlib"} & set(sys.modules)
assert not slow, slow
sys.modules["matplotlib"] = None
import resnest_edu.speed.benchmark, resnest_edu.transfer
import resnest_edu.cli, resnest_edu.book.experiments.__main__
import torch
source, model = (resnest_edu.create_model("resnest11_small").eval() for _ in range(2))
torch.save(source.state_dict(), sys.argv[1])
resnest_edu.load_checkpoint(model, sys.argv[1])
x = torch.randn(2, 3, 64, 64)
program = torch.export.export(model, (x,)).module()
assert torch.equal(program(x), source(x))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "weights.pth")], check=True, cwd=ROOT)


# The order of the ideas: what a module imports from the package stands in its own part or further up.
PARTS = [
    "arguments",
    "atomic_write",
    "provenance",
    "take_over",
    "blocks",
    "split_attention",
    "network",
    "data",
    "speed",
    "training",
    "transfer",
    "inference",
    "cli",
    "book",
    "experiments",
]


def test_imports_point_to_earlier_parts_only() -> None:
    package = ROOT / "resnest_edu"
    found = set()
    for path in package.rglob("*.py"):
        part = path.relative_to(package).with_suffix("").parts[0]
        if part == "__init__":
            continue
        found.add(part)
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"^\s*(?:from|import) resnest_edu\.(\w+)", text, re.MULTILINE))
        later = {other for other in imported if PARTS.index(other) > PARTS.index(part)}
        assert not later, f"{path.relative_to(ROOT)} imports {', '.join(later)}"
    assert found == set(PARTS)


def test_no_two_modules_have_one_name_nor_that_of_a_standard_one() -> None:
    names = [path.stem for path in (ROOT / "resnest_edu").rglob("*.py") if not path.stem.startswith("__")]
    assert [name for name in names if names.count(name) > 1 or name in sys.stdlib_module_names] == []
