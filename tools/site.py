"""Build the site in a staging folder and publish it whole, or leave the published one as it was.

    python -m tools.site [--execute [NOTEBOOK ...]]

Without `--execute`, from the outputs stored in the notebooks. With it, the notebooks run first, in the
staging copy: the committed ones are not touched. Every warning is an error, and a failing cell ends the build
before anything is rendered.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

from tools.accessible import mend
from tools.check_site import pages as html_pages
from tools.formulas import FormulaError, set_formulas
from tools.lighten import lighten
from tools.normal_form import dumps, faults
from tools.notebooks import ROOT, CellFailure, run, shown, toc_notebooks

ENTRY = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={page}">
</head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""


class BuildFailure(Exception):
    """The site could not be built; the message says why, in terms of the sources."""


def stage(root: Path, staging: Path) -> Path:
    """Copy what Sphinx may read, and nothing else, to `staging`."""
    source = staging / "source"
    source.mkdir(parents=True)
    shutil.copy2(root / "_toc.yml", source / "_toc.yml")
    settings = (root / "_config.yml").read_text(encoding="utf-8")
    (source / "_config.yml").write_text(with_buttons(settings), encoding="utf-8")
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return source


def with_buttons(settings: str) -> str:
    """`_config.yml` with every button that needs the repository's address, if it gives one."""
    config = yaml.safe_load(settings)
    if not (config.get("repository") or {}).get("url"):
        return settings
    shown = ("use_repository_button", "use_issues_button", "use_edit_page_button")
    config["html"] = {**config.get("html", {}), **dict.fromkeys(shown, True)}
    config["launch_buttons"] = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def execute(root: Path, source: Path, notebooks: list[Path]) -> None:
    """Run `notebooks` where they lie in the staging copy `source`."""
    for path in notebooks:
        name = shown(path, root)
        staged = source / name
        if not staged.is_file():
            raise BuildFailure(f"{name} is no notebook of this book")
        notebook = run(staged, name, root)
        for fault in faults(notebook, name):
            print(f"  note: {fault}", flush=True)
        staged.write_text(dumps(notebook), encoding="utf-8")


def render(root: Path, source: Path, staging: Path) -> Path:
    """Run Jupyter Book over `source`; the folder of the finished site."""
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["-W", "-n", "--keep-going", "--path-output", str(staging)]
    command = [sys.executable, "-c", code, "build", *options, str(source)]
    # Docstrings are read from the package beside the book, and an extension of Sphinx from here.
    paths = [str(root), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=root)
    site = staging / "_build" / "html"
    warned = re.search(r"\b(WARNING|ERROR|CRITICAL)\b", done.stderr)
    if done.returncode or warned or not any(site.rglob("*.html")):
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr.strip() or done.stdout.strip())
        for folder in (source, root):
            said = said.replace(f"{folder}{os.sep}", "")
        raise BuildFailure("\n".join(dict.fromkeys(said.splitlines()[-60:])))
    return site


def finish(site: Path) -> None:
    """Give the pages that Sphinx rendered the form in which they are published."""
    pages = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in html_pages(site)}
    try:
        set_formulas(site, pages)
    except FormulaError as error:
        raise BuildFailure(str(error)) from error
    lighten(site, pages)
    for path, page in pages.items():
        mend(page)
        path.write_text(str(page), encoding="utf-8")


def entry(site: Path) -> None:
    """Put an `index.html` at the top that leads to the book's root page, which lies in a folder."""
    root = next((page for page in ("book/index.html", "index.html") if (site / page).exists()), None)
    if root is None:
        raise BuildFailure("the site has no index page")
    if root != "index.html":
        title = re.search(r"<title>(.*?)</title>", (site / root).read_text(encoding="utf-8"), re.S)
        text = ENTRY.format(title=title.group(1).strip() if title else "The book", page=root)
        (site / "index.html").write_text(text, encoding="utf-8")


def publish(site: Path, target: Path) -> None:
    """Put `site` in the place of `target`, in two renames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = site.parent / "replaced"
    if target.exists():
        target.rename(old)
    site.rename(target)


def build(root: Path = ROOT, notebooks: list[Path] | None = None, run_notebooks: bool = False) -> Path:
    """Build the book at `root`; the published entry page."""
    target = root / "_build" / "html"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="staging-") as folder:
        staging = Path(folder)
        source = stage(root, staging)
        if run_notebooks:
            execute(root, source, notebooks or toc_notebooks(root))
        print("  rendering … ", end="", flush=True)
        begin = time.perf_counter()
        try:
            site = render(root, source, staging)
            finish(site)
        except BuildFailure:
            print("failed", flush=True)
            raise
        print(f"{time.perf_counter() - begin:.1f} s", flush=True)
        entry(site)
        publish(site, target)
    return target / "index.html"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.site", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--execute", action="store_true", help="run the notebooks first")
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to run (default: all in _toc.yml)")
    options = parser.parse_args(arguments)
    begin = time.perf_counter()
    try:
        page = build(ROOT, options.notebooks, options.execute)
    except (CellFailure, BuildFailure) as failure:
        published = ROOT / "_build" / "html" / "index.html"
        kept = "the site published before is as it was" if published.exists() else "nothing was published"
        print(f"{failure}\nNot built; {kept}.", file=sys.stderr)
        return 1
    print(f"{page}  (built in {time.perf_counter() - begin:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
