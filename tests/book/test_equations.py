"""Comments in the notebooks name equations by number, as `# (4.2)`: the second one of chapter 4."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def chapters() -> list[Path]:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return [ROOT / f"{page['file']}.ipynb" for part in parts if part.get("numbered") for page in part["chapters"]]


def test_numbers_in_comments_are_those_of_the_page() -> None:
    named = 0
    for number, chapter in enumerate(chapters(), start=1):
        cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
        prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        equations = len(re.findall(r"^\$\$ \(eq-", prose, re.MULTILINE))
        for line in re.findall(r"#.*", code):
            for of_chapter, equation in re.findall(r"\((\d+)\.(\d+)\)", line):
                assert int(of_chapter) == number, f"{chapter.name}: {line}"
                assert 1 <= int(equation) <= equations, f"{chapter.name}: {line}"
                named += 1
    assert named > 5
