"""Build the site aside and publish it whole, or leave the published one as it was.

    python -m tools.site [--executed | --check]

The pages show the outputs stored in the notebooks; with `--executed`, what they printed when they ran here last. Every
warning is an error. With `--check`, the site to be checked, in a folder of its own: it does not replace the reader's.

What Sphinx has read and written is kept under _build/site, so that the next build renders what has changed and no
more. After a build that failed, or was ended, the next one begins anew, since Sphinx tells a warning only once.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bs4 import BeautifulSoup

from tools.accessible import mend
from tools.alone import hold
from tools.check_site import pages
from tools.executed import runs, versions
from tools.formulas import FormulaError, set_formulas
from tools.lighten import lighten, pack_images
from tools.notebooks import ROOT, toc_notebooks

# What the theme has made itself from, and its icons, of which the book has its own (book/_static/icons.css).
UNUSED = shutil.ignore_patterns("*.map", "*.LICENSE.txt", "fontawesome*", ".buildinfo")


class BuildFailure(Exception):
    """The site could not be built; the message says why, in terms of the sources."""


def base(root: Path) -> str:
    """A digest of what every page rests on: settings, contents, these tools and all that is installed."""
    digest = hashlib.sha256(sys.version.encode())
    for file in (root / "_config.yml", root / "_toc.yml", *sorted(Path(__file__).parent.glob("*.[pj][ys]"))):
        digest.update(file.read_bytes())
    digest.update(versions().encode())
    return digest.hexdigest()


def stage(root: Path, source: Path, executed: Mapping[str, Path]) -> None:
    """Make `source` hold what Sphinx may read, and nothing else; what is the same there already stays untouched."""
    wanted: dict[str, Path] = {}
    for file in (root / "_config.yml", root / "_toc.yml", *(root / "book").rglob("*")):
        name = file.relative_to(root)
        if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
            wanted[name.as_posix()] = executed.get(name.as_posix(), file)
    for file in source.rglob("*"):
        if file.is_file() and file.relative_to(source).as_posix() not in wanted:
            file.unlink()
    for target, original in wanted.items():
        copy = source / target
        if not copy.exists() or not filecmp.cmp(original, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, copy)


def render(root: Path, source: Path, output: Path) -> Path:
    """Run Jupyter Book over `source`; the folder of its pages, in `output`."""
    code = "import sys, tools; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["-W", "-n", "--keep-going", "--path-output", str(output)]
    # Docstrings are read from the package beside the book, and an extension of Sphinx from here.
    paths = [str(root), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", code, "build", *options, str(source)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1", "PYTHONUTF8": "1"},
        cwd=root,
    )
    if done.returncode or re.search(r"\b(WARNING|ERROR|CRITICAL)\b", done.stderr):
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr.strip() or done.stdout.strip())
        for folder in (source, root):
            said = said.replace(f"{folder}{os.sep}", "")
        raise BuildFailure("\n".join(dict.fromkeys(said.splitlines()[-60:])))
    return output / "_build" / "html"


def finish(rendered: Path, site: Path, ready: Path) -> None:
    """Make `site` of what Sphinx has rendered, in the form in which it is published.

    Pages that are as they were at the last build are taken from `ready`, and so are packed pictures.
    """
    shutil.copytree(rendered, site, ignore=UNUSED)
    ready.mkdir(exist_ok=True)
    pack_images(site / "_images", ready)
    memory = ready / "pages.json"
    before = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    now, changed = {}, {}
    for path in pages(site):
        name, text = path.relative_to(site).as_posix(), path.read_text(encoding="utf-8")
        now[name] = before.get(name, {})
        if now[name].get("rendered") != text:
            now[name], changed[path] = {"rendered": text}, BeautifulSoup(text, "html.parser")
    known = [(tex, display) for page in now.values() for tex, display in page.get("formulas", [])]
    formulas = set_formulas(site, changed, known)
    for path, page in changed.items():
        lighten(path, page)
        mend(page)
        now[path.relative_to(site).as_posix()] |= {"html": str(page), "formulas": formulas[path]}
    for name, one in now.items():
        (site / name).write_text(one["html"], encoding="utf-8")
    memory.write_text(json.dumps(now), encoding="utf-8")
    shown = set(re.findall(r"_images/([\w.-]+)", " ".join(one["html"] for one in now.values())))
    for image in (site / "_images").glob("*"):
        if image.name not in shown:
            image.unlink()


def build(root: Path = ROOT, target: Path | None = None, executed: Mapping[str, Path] | None = None) -> Path:
    """Build the book at `root` into the folder `target` (`_build/html` unless given); the published entry page.

    `executed` gives, by a notebook's name relative to `root`, the file that is rendered in its place.

    Raises:
        BuildFailure: with nothing published, for a warning of Sphinx's.
        FormulaError: with nothing published, for a formula that cannot be set.
    """
    target = target or root / "_build" / "html"
    # Stored and executed notebooks have different outputs: each kind is compared with its own last build.
    state = root / "_build" / "site" / ("executed" if executed else "stored")
    done, key = state / "done", base(root)
    if not done.exists() or done.read_text() != key:
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
    done.unlink(missing_ok=True)
    stage(root, state / "source", executed or {})
    finish(render(root, state / "source", state), state / "site", state / "ready")
    if target.exists():
        target.rename(state / "replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    (state / "site").rename(target)
    shutil.rmtree(state / "replaced", ignore_errors=True)
    done.write_text(key)
    return target / "index.html"


def attempt(root: Path, target: Path, executed: Mapping[str, Path] | None = None) -> int:
    """Build, and say how it went; the exit status of a command that does this."""
    begin = time.perf_counter()
    print("  rendering …", flush=True)
    try:
        page = build(root, target, executed)
    except (BuildFailure, FormulaError, OSError) as failure:
        published = "the site published before is as it was" if target.exists() else "nothing was published"
        print(f"{failure}\nNot built; {published}.", file=sys.stderr)
        return 1
    print(f"{page}  (built in {time.perf_counter() - begin:.0f} s)")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.site", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--executed", action="store_true", help="show what the notebooks printed when they ran here last")
    what.add_argument("--check", action="store_true", help="build into _build/check, not _build/html")
    options = parser.parse_args(arguments)
    hold()
    executed = runs(toc_notebooks()) if options.executed else None
    return attempt(ROOT, ROOT / "_build" / ("check" if options.check else "html"), executed)


if __name__ == "__main__":
    sys.exit(main())
