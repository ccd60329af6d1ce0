"""Make the rendered site light: the same pages, with what no page uses left out and nothing in the way of the text.

The theme brings two thousand icons as a script and as fonts, the styles of components that the book has not,
and the index of the search on every page. Here each icon in use becomes a line of CSS, the common styles become
one sheet of the rules that can apply, scripts wait for the text, and images say their size before they come.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import tinycss2
from bs4 import BeautifulSoup, Tag
from PIL import Image

ICON_SCRIPT = "_static/scripts/fontawesome.js"
THEME_SCRIPT = "_static/scripts/pydata-sphinx-theme.js"
# The boxes that the theme measures as a page opens, to let the Tab key reach those that scroll. That lays out the whole
# page at once; book.js measures each box when it is laid out anyway.
MEASURED = re.compile(r'\["pre","\.nboutput > \.output_area"[^\]]*\]')
LARGE = 40_000  # bytes; smaller pictures stay as they are
STYLES = "_static/styles.css"
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
# A page opened from the disk may not read the others, which the search does to quote them.
FROM_DISK = "\nif (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;\n"
# Classes that scripts put together from parts, so that no file holds their names.
COMPOSED = ("bs-tooltip-", "was-validated")
ANY_NAME = r'[\w-]+"?'
MODIFIERS = ("solid", "regular", "brands", "lg", "stack", "fw")

# An icon is a mask over the colour of the text, so it follows the theme.
ICONS = """
.fas, .fab, .far, .fa-solid, .fa-brands, .fa-regular { line-height: 1; }
.fa-lg { font-size: 1.25em; line-height: .05em; vertical-align: -.075em; }
:is(.fas, .fab, .far, .fa-solid, .fa-brands, .fa-regular)::before {
  content: ""; display: inline-block; width: 1.25em; height: 1em; vertical-align: -.125em;
  background: currentColor;
  -webkit-mask: var(--icon) center / contain no-repeat;
  mask: var(--icon) center / contain no-repeat;
}
@media (forced-colors: active) {
  :is(.fas, .fab, .far, .fa-solid, .fa-brands, .fa-regular)::before {
    forced-color-adjust: none;
    background: ButtonText;
  }
}
"""


def lighten(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    """Rewrite the styles, scripts and images of a freshly rendered `site` in place, and its `pages` in memory."""
    icons = icon_styles(site, pages.values())
    sheets = common_sheets(pages)
    names = used_names(site, pages.values())
    styles = "".join(bundled(sheet, site / STYLES, names) for sheet in sheets) + icons
    script = site / ICON_SCRIPT
    styles = without_glyphs(styles, script.read_text(encoding="utf-8") if script.exists() else "")
    (site / STYLES).write_text(styles, encoding="utf-8")
    packed = pack_images(site)
    for path, page in pages.items():
        use_bundle(path, page, sheets, site / STYLES)
        defer_scripts(path, page)
        size_images(path, page, packed)
    for unused in (*sheets, site / ICON_SCRIPT, *(site / "_static").rglob("*.map")):
        unused.unlink(missing_ok=True)
    for script in (site / "_static").rglob("*.js"):
        text = script.read_text(encoding="utf-8", errors="surrogateescape")
        lighter = MEASURED.sub("['none']", re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.M))
        if lighter != text:
            script.write_text(lighter, encoding="utf-8", errors="surrogateescape")


# --- Icons ---


def icon_styles(site: Path, pages: Iterable[BeautifulSoup]) -> str:
    """CSS that draws the icons which the pages and the theme's scripts name."""
    script = site / ICON_SCRIPT
    if not script.exists():
        return ""
    drawings = script.read_text(encoding="utf-8")
    theme = site / THEME_SCRIPT
    named = set(re.findall(r"\bfa-([a-z0-9-]+)", theme.read_text(encoding="utf-8") if theme.exists() else ""))
    for page in pages:
        named |= {name[3:] for tag in page.select("[class*=fa-]") for name in tag["class"] if name.startswith("fa-")}
    rules = [ICONS]
    for name in sorted(named.difference(MODIFIERS)):
        if image := drawn(drawings, rf'[{{,]"?{re.escape(name)}"?', "[0-9a-f]+"):
            rules.append(f".fa-{name} {{ --icon: {image}; }}\n")
    return "".join(rules)


def drawn(drawings: str, name: str, code: str) -> str:
    """The icon of that name or code as an image, from the source of the theme's script."""
    found = re.findall(rf'{name}:\[(\d+),(\d+),\[[^\]]*\],"{code}","([^"]+)"\]', drawings)
    if not found:
        return ""
    width, height, outline = found[-1]  # the filled one of several comes last
    drawing = f"%3Cpath d='{outline}'/%3E%3C/svg%3E"
    opening = f"%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'%3E"
    return f'url("data:image/svg+xml,{opening}{drawing}")'


def without_glyphs(styles: str, drawings: str) -> str:
    """`styles` with the icons that it takes from the font, by their codes, as images too."""

    def image(glyph: re.Match[str]) -> str:
        code = glyph[2].lstrip("\\") if len(glyph[2]) > 1 else f"{ord(glyph[2]):x}"
        return f"{glyph[1]}: {drawn(drawings, ANY_NAME, code) or 'none'}"

    styles = re.sub(r'(--pst-icon-[\w-]+):\s*"(\\[0-9a-f]+|.)"', image, styles)
    mask = r"var(\1) center / contain no-repeat"
    box = "display: inline-block; width: 1em; height: 1em; background: currentColor"
    image_box = f'content: ""; {box}; -webkit-mask: {mask}; mask: {mask}'
    return re.sub(r"content:\s*var\((--pst-icon-[\w-]+)\)", image_box, styles)


# --- Styles ---


def _local(path: Path, link: str) -> Path:
    return Path(os.path.normpath(path.parent / link.partition("?")[0]))


def common_sheets(pages: dict[Path, BeautifulSoup]) -> list[Path]:
    """The style sheets that every page with content loads, in their order."""
    every: list[list[Path]] = []
    for path, page in pages.items():
        links = [str(link["href"]) for link in page.select("link[rel=stylesheet]")]
        if links:
            every.append([_local(path, link) for link in links if "://" not in link])
    return [sheet for sheet in every[0] if all(sheet in other for other in every)] if every else []


def used_names(site: Path, pages: Iterable[BeautifulSoup]) -> set[str]:
    """Every class and id of the pages, and every word of the scripts, which may set a class."""
    names: set[str] = set()
    for page in pages:
        for tag in page.find_all(True):
            names.update(tag.get("class") or [])
            names.add(str(tag.get("id")))
        for script in page.find_all("script"):
            names.update(re.findall(r"[A-Za-z_][\w-]*", script.get_text()))
    for file in site.rglob("*.js"):
        if file != site / ICON_SCRIPT:
            names.update(re.findall(r"[A-Za-z_][\w-]*", file.read_text(encoding="utf-8", errors="replace")))
    return names


def bundled(sheet: Path, target: Path, names: set[str]) -> str:
    """The rules of `sheet` that can apply to something named in `names`, with links as seen from `target`."""

    def moved(link: re.Match[str]) -> str:
        quote, path = link.group(1), link.group(2)
        if path.startswith(("data:", "#")) or "://" in path:
            return link.group(0)
        return f"url({quote}{os.path.relpath(sheet.parent / path, target.parent)}{quote})"

    text = re.sub(r"url\(\s*([\"']?)([^\"')]+)\1\s*\)", moved, sheet.read_text(encoding="utf-8"))
    rules = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
    imported = [rule for rule in rules if rule.type == "at-rule" and rule.at_keyword == "import"]
    for rule in imported:
        file = next(part.value for part in rule.prelude if part.type in ("string", "url"))
        base = sheet if any(part.type == "string" for part in rule.prelude) else target
        return bundled(base.parent / file, target, names) + "".join(
            f"{kept}\n" for other in rules if other not in imported and (kept := _kept(other, names))
        )
    return "".join(f"{kept}\n" for rule in rules if (kept := _kept(rule, names)))


def _kept(rule: tinycss2.ast.Node, names: set[str]) -> str:
    if rule.type == "qualified-rule":
        selectors = _split(tinycss2.serialize(rule.prelude))
        live = [selector for selector in selectors if _can_apply(selector, names)]
        return f"{','.join(live)}{{{_squeezed(rule.content)}}}" if live else ""
    if rule.type != "at-rule":
        return ""
    prelude = tinycss2.serialize(rule.prelude).strip()
    if rule.content is None:
        return f"@{rule.at_keyword} {prelude};" if rule.at_keyword != "charset" else ""
    if rule.at_keyword == "font-face" and "Font Awesome" in tinycss2.serialize(rule.content).replace("\\", ""):
        return ""
    if rule.at_keyword not in ("media", "supports"):
        return f"@{rule.at_keyword} {prelude}{{{_squeezed(rule.content)}}}"
    inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
    kept = "".join(_kept(one, names) for one in inner)
    return f"@{rule.at_keyword} {prelude}{{{kept}}}" if kept else ""


def _squeezed(content: list[tinycss2.ast.Node]) -> str:
    return re.sub(r"\s+", " ", tinycss2.serialize([node for node in content if node.type != "comment"])).strip()


def _split(selectors: str) -> list[str]:
    """`selectors` at the commas that are not inside brackets."""
    parts, depth = [""], 0
    for letter in re.sub(r"/\*.*?\*/", "", selectors, flags=re.S):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _can_apply(selector: str, names: set[str]) -> bool:
    """Whether every class and id that `selector` requires is in `names`; what is in brackets is not asked."""
    if re.search(r"\.fa-[\w-]+:{1,2}before", selector):
        return False  # a glyph of the icon font, which is gone
    plain = selector
    while (outer := re.sub(r"\([^()]*\)|\[[^\]]*\]", "", plain)) != plain:
        plain = outer
    required = re.findall(r"[.#]((?:[\w-]|\\.)+)", plain)
    return all(name.replace("\\", "") in names or name.startswith(COMPOSED) for name in required)


def use_bundle(path: Path, page: BeautifulSoup, sheets: list[Path], bundle: Path) -> None:
    """Put one link to the bundle in the place of the links to `sheets`."""
    links = [link for link in page.select("link[rel=stylesheet]") if _local(path, str(link["href"])) in sheets]
    for link in links[1:]:
        link.decompose()
    if links:
        links[0]["href"] = os.path.relpath(bundle, path.parent)


# --- Scripts and images ---


def defer_scripts(path: Path, page: BeautifulSoup) -> None:
    """Let every script file wait for the text; leave out icons and, where nobody searches, the search."""
    for preload in page.select("link[rel=preload]"):
        preload.decompose()
    for script in page.find_all("script", src=True):
        file = _local(path, str(script["src"]))
        unused = file.name in SEARCH and path.name != "search.html"
        if unused or file.name == Path(ICON_SCRIPT).name:
            script.decompose()
        elif file.name == "documentation_options.js":
            # The scripts that stand in the page itself use it, and those cannot wait.
            del script["src"]
            script.string = file.read_text(encoding="utf-8") + FROM_DISK
        elif script.get("type") != "module":
            script["defer"] = "defer"


def pack_images(site: Path) -> dict[Path, Path]:
    """Write the large pictures of cells as WebP, without loss unless that is still large; what replaces what."""
    replaced = {}
    for file in sorted((site / "_images").glob("*.png")):
        if file.stat().st_size < LARGE:
            continue
        smaller = file.with_suffix(".webp")
        with Image.open(file) as opened:
            picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
            picture.save(smaller, lossless=True, method=4)
            if smaller.stat().st_size > 2 * LARGE:
                picture.save(smaller, quality=90, method=4)
        if smaller.stat().st_size < file.stat().st_size:
            replaced[file] = smaller
            file.unlink()
        else:
            smaller.unlink()
    return replaced


def size_images(path: Path, page: BeautifulSoup, packed: dict[Path, Path]) -> None:
    """Give images their size, so that text does not jump; those after the first wait until they are near."""
    for tag, attribute in [(tag, "src") for tag in page.find_all("img")] + [(a, "href") for a in page.find_all("a")]:
        if smaller := packed.get(_local(path, str(tag.get(attribute)))):
            tag[attribute] = os.path.relpath(smaller, path.parent)
    article = page.find("article")
    images = article.find_all("img") if isinstance(article, Tag) else []
    for i, image in enumerate(images):
        if i:
            image["loading"] = "lazy"
        file = _local(path, str(image.get("src")))
        raster = file.suffix in (".png", ".webp") and file.exists()
        if raster and not image.has_attr("width") and not image.has_attr("style"):
            with Image.open(file) as picture:
                image["width"], image["height"] = map(str, picture.size)
