"""Build the site in a staging folder and publish it whole, or leave the published one as it was.

    python -m tools.site [--executed | --check]

The pages show the outputs stored in the notebooks; with `--executed`, what they printed when they ran here last. Every
warning is an error. With `--check`, the site to be checked, in a folder of its own: it does not replace the reader's.

What Sphinx has read and written is kept under _build/site, so that the next build renders what has changed and no
more. A build that failed, or was ended, leaves nothing there, since Sphinx tells a warning only once.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

from tools.accessible import mend
from tools.alone import hold
from tools.check_site import pages as html_pages
from tools.executed import runs
from tools.formulas import FormulaError, set_formulas
from tools.lighten import ICON_SCRIPT, lighten, pack_images
from tools.notebooks import ROOT, toc_notebooks

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
HIDDEN = shutil.ignore_patterns(".*", "__pycache__")


class BuildFailure(Exception):
    """The site could not be built; the message says why, in terms of the sources."""


# --- what is kept between two builds


@contextmanager
def kept(folder: Path, key: str) -> Iterator[None]:
    """Keep `folder` from one build to the next of the same key; after a failure it is as it was before."""
    mark, before, copy = folder / "key", folder.with_name(f"{folder.name}-before"), folder.with_name("staging-before")
    if before.exists():  # the last build was ended in the middle
        shutil.rmtree(folder, ignore_errors=True)
        before.rename(folder)
    if mark.exists() and mark.read_text() == key:
        shutil.copytree(folder, copy).rename(before)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        yield
    except BaseException:
        shutil.rmtree(folder)
        if before.exists():
            before.rename(folder)
        raise
    mark.write_text(key)
    shutil.rmtree(before, ignore_errors=True)


def base(root: Path) -> str:
    """A digest of what every page rests on: settings, contents, these tools and all that is installed."""
    digest = hashlib.sha256(sys.version.encode())
    for file in (root / "_config.yml", root / "_toc.yml", *sorted(Path(__file__).parent.glob("*.[pj][ys]"))):
        digest.update(file.read_bytes())
    digest.update("\n".join(sorted(f"{one.name} {one.version}" for one in distributions())).encode())
    return digest.hexdigest()


# --- from sources to pages


def stage(root: Path, source: Path, executed: Mapping[str, Path]) -> None:
    """Make `source` hold what Sphinx may read, and nothing else; what is the same there already stays untouched."""
    if unknown := sorted(name for name in executed if not (root / name).is_file()):
        raise BuildFailure(f"{', '.join(unknown)}: no notebook of this book")
    settings = (root / "_config.yml").read_text(encoding="utf-8")
    wanted = {"_toc.yml": (root / "_toc.yml").read_bytes(), "_config.yml": with_buttons(settings).encode()}
    for folder, folders, names in os.walk(root / "book"):
        folders[:] = set(folders) - HIDDEN(folder, folders)
        for file in (Path(folder, name) for name in set(names) - HIDDEN(folder, names)):
            name = file.relative_to(root).as_posix()
            wanted[name] = executed.get(name, file).read_bytes()
    for file in [file for file in source.rglob("*") if file.is_file()]:
        if file.relative_to(source).as_posix() not in wanted:
            file.unlink()
    for name, content in wanted.items():
        file = source / name
        if not file.exists() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def with_buttons(settings: str) -> str:
    """`_config.yml` with every button that needs the repository's address, if it gives one."""
    config = yaml.safe_load(settings)
    if not (config.get("repository") or {}).get("url"):
        return settings
    shown = ("use_repository_button", "use_issues_button", "use_edit_page_button")
    config["html"] = {**config.get("html", {}), **dict.fromkeys(shown, True)}
    # Binder installs what requirements.txt says, the package among it; Colab opens a notebook alone, without.
    config["launch_buttons"] = {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def render(root: Path, source: Path, output: Path) -> Path:
    """Run Jupyter Book over `source`; the folder of its pages, in `output`."""
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["-W", "-n", "--keep-going", "--path-output", str(output)]
    command = [sys.executable, "-c", code, "build", *options, str(source)]
    # Docstrings are read from the package beside the book, and an extension of Sphinx from here.
    paths = [str(root), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=root)
    site = output / "_build" / "html"
    warned = re.search(r"\b(WARNING|ERROR|CRITICAL)\b", done.stderr)
    if done.returncode or warned or not any(site.rglob("*.html")):
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr.strip() or done.stdout.strip())
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for folder in (source, root):
            said = said.replace(f"{folder}{os.sep}", "")
        raise BuildFailure("\n".join(dict.fromkeys(said.splitlines()[-60:])))
    return site


def finish(raw: Path, site: Path, ready: Path) -> None:
    """Make `site` of what Sphinx rendered in `raw`, in the form in which it is published.

    Pages that are as they were at the last build are taken from `ready`, and so are packed pictures.
    """
    shutil.copytree(raw, site, ignore=shutil.ignore_patterns("*.map", ICON_SCRIPT, ".buildinfo"))
    ready.mkdir(exist_ok=True)
    pack_images(site / "_images", ready)
    digests, known, changed = {}, {}, {}
    for path in html_pages(site):
        content = path.read_bytes()
        digests[path] = hashlib.sha256(path.relative_to(site).as_posix().encode() + content).hexdigest()
        file = ready / f"{digests[path]}.json"
        if file.exists():
            known[path] = json.loads(file.read_text(encoding="utf-8"))
        else:
            changed[path] = BeautifulSoup(content, "html.parser")
    try:
        others = [(tex, display) for page in known.values() for tex, display in page["formulas"]]
        formulas = set_formulas(site, changed, others)
    except FormulaError as error:
        raise BuildFailure(str(error)) from error
    for path, page in changed.items():
        lighten(path, page)
        mend(page)
        known[path] = {"html": str(page), "formulas": formulas[path]}
        (ready / f"{digests[path]}.json").write_text(json.dumps(known[path]), encoding="utf-8")
    for path, page in known.items():
        path.write_text(page["html"], encoding="utf-8")
    shown = set(re.findall(r"_images/([\w.-]+)", " ".join(page["html"] for page in known.values())))
    for image in (site / "_images").glob("*"):
        if image.name not in shown:
            image.unlink()


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
    if target.exists():
        target.rename(site.with_name("replaced"))
    site.rename(target)


def build(root: Path = ROOT, target: Path | None = None, executed: Mapping[str, Path] | None = None) -> Path:
    """Build the book at `root` into the folder `target` (`_build/html` unless given); the published entry page.

    `executed` gives, by a notebook's name relative to `root`, the file that is rendered in its place.

    Raises:
        BuildFailure: with nothing published, for a warning of Sphinx's, a formula that cannot be set, a full disk.
    """
    target = target or root / "_build" / "html"
    work = root / "_build" / "site"
    try:
        work.mkdir(parents=True, exist_ok=True)
        for stale in work.glob("staging-*"):  # of a build that was ended
            shutil.rmtree(stale)
        with tempfile.TemporaryDirectory(dir=work, prefix="staging-") as staging:
            print("  rendering … ", end="", flush=True)
            begin = time.perf_counter()
            # Stored and executed notebooks have different outputs: each kind is compared with its own last build.
            state = work / ("executed" if executed else "stored")
            site = Path(staging) / "html"
            with kept(state, base(root)):
                stage(root, state / "source", executed or {})
                finish(render(root, state / "source", state), site, state / "ready")
            entry(site)
            publish(site, target)
            print(f"{time.perf_counter() - begin:.1f} s", flush=True)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise BuildFailure(f"no space left on the disk of {root}") from error
    return target / "index.html"


def attempt(root: Path, target: Path, executed: Mapping[str, Path] | None = None) -> int:
    """Build, and say in a line or more how it went; the exit status of a command that does this."""
    begin = time.perf_counter()
    try:
        page = build(root, target, executed)
    except BuildFailure as failure:
        published = "the site published before is as it was" if target.exists() else "nothing was published"
        print("failed", flush=True)
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
