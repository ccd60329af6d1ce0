"""The layout explorer in a browser, from a file: what it draws, and whether everybody can use it."""

import itertools
import re
from collections.abc import Callable
from functools import partial

import pytest
from playwright.sync_api import Locator, Page

from tests.site import axe
from tests.site.node import EXPLORABLES

Open = Callable[..., Page]
CARD, RADIX = "cardinality-major", "radix-major"


@pytest.fixture
def open_page(open_figure: Open) -> Open:
    return partial(open_figure, "split_attention/equivalence.ipynb", "explorer")


def choose(page: Page, **values: int | str) -> None:
    for name, value in values.items():
        if name == "mistake":
            page.check(f"input[name=mistake][value='{value}']")
        else:
            page.select_option(f"select[name={name}]", str(value))


def cells(page: Page, layout: str, stage: str) -> Locator:
    return page.locator(f"svg[data-layout={layout}] [role=gridcell][data-stage={stage}]")


def told(page: Page) -> str:
    said = page.locator(".le-followed, .le-told").all_inner_texts()
    return "\n".join(said).replace("\u00a0", " ")


def test_the_scripts_are_classic_ones_and_fetch_nothing() -> None:
    for path in set(EXPLORABLES.iterdir()) - {EXPLORABLES / "live_network_weights.js"}:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|export)\b|\bfetch\(|XMLHttpRequest|@import|url\(", text, re.MULTILINE), path
        assert "http" not in text.replace("http://www.w3.org/", ""), path


def test_without_javascript_it_says_what_is_missing(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    assert "It needs JavaScript" in page.locator("#layout-explorer p").inner_text()
    page = open_page()
    assert "It needs JavaScript" not in page.locator("#layout-explorer").inner_text()


def numbers(page: Page, layout: str) -> list[str]:
    return page.locator(f"svg[data-layout={layout}] .le-number").all_text_contents()


def test_every_stage_has_its_channels_for_all_settings(open_page: Open) -> None:
    page = open_page(width=1000)
    for radix, cardinality in itertools.product((1, 2, 3), repeat=2):
        choose(page, radix=radix, cardinality=cardinality)
        channels = int(page.input_value("select[name=channels]"))
        assert channels % (radix * cardinality) == 0
        expected = [1, channels, radix * channels, channels, cardinality, radix * channels, radix * channels, channels]
        counts = page.eval_on_selector_all(
            "svg[data-layout]",
            "(all) => all.map((one) => [...one.querySelectorAll('[role=row]')].map((row) => row.children.length))",
        )
        assert counts in ([expected], [expected, expected])
    choose(page, radix=2, cardinality=2, channels=4)
    assert cells(page, RADIX, "conv2").count() == 8


def test_strips_are_coloured_by_what_stands_there(open_page: Open) -> None:
    page = open_page()
    fills = {
        layout: cells(page, layout, "conv2").evaluate_all("(all) => all.map((cell) => cell.getAttribute('fill'))")
        for layout in ("cardinality-major", "radix-major")
    }
    card = fills["cardinality-major"]  # k0 r0, k0 r1, k1 r0, k1 r1, four channels each
    assert len(set(card)) == 4
    assert fills["radix-major"] == card[:4] + card[8:12] + card[4:8] + card[12:]
    names = page.locator("svg[data-layout=radix-major] .le-name").all_text_contents()
    assert names[4:8] == ["r=0, k=0", "r=0, k=1", "r=1, k=0", "r=1, k=1"]


def test_pointing_at_a_channel_follows_it_in_both_layouts_and_says_so(open_page: Open) -> None:
    page = open_page()
    before = told(page)
    cells(page, CARD, "conv2").nth(5).hover()
    for words in (
        "r = 1, k = 0, c = 1",
        "Cardinality-major: number 5, made from channels 2–3 of the 1×1",
        "Radix-major: number 9, made from channels 4–5 of the 1×1",
        "weighed by logit 5, transposed to 9",
    ):
        assert words in told(page)
    assert numbers(page, RADIX) == ["4", "5", "9", "1", "5", "9", "1", "9"]  # the last is U once more, below its weight
    page.mouse.move(2, 2)
    assert told(page) == before
    cells(page, CARD, "conv2").nth(5).click()
    page.mouse.move(2, 2)
    assert "r = 1, k = 0, c = 1" in told(page)


def test_the_keyboard_reaches_every_channel_with_one_stop_a_layout(open_page: Open) -> None:
    page = open_page()
    assert page.locator("[role=gridcell][tabindex='0']").count() == 2
    page.focus("input[type=range]")
    page.keyboard.press("Tab")
    place = "() => { const d = document.activeElement.dataset; return [d.stage, Number(d.n)]; }"
    assert page.evaluate(place) == ["conv2", 9]
    for key, expected in [
        ("ArrowRight", ["conv2", 10]),
        ("ArrowLeft", ["conv2", 9]),
        ("ArrowUp", ["conv1", 4]),
        ("Home", ["conv1", 0]),
        ("End", ["conv1", 7]),
        ("ArrowDown", ["conv2", 14]),
        ("End", ["conv2", 15]),
        ("ArrowRight", ["conv2", 15]),
        ("ArrowDown", ["context", 7]),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(place) == expected, key
    assert "context channel 7" in told(page)
    assert "context channel 7" in page.evaluate("document.activeElement.getAttribute('aria-label')").replace(
        "\xa0", " "
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('svg').dataset.layout") == "radix-major"
    page.keyboard.press("Escape")
    assert "Point at a channel" in told(page)
    assert page.locator(".le-mark, .le-frame").locator("visible=true").count() == 1  # the legend's


def test_the_slider_follows_too_for_those_who_cannot_hit_a_channel(open_page: Open) -> None:
    page = open_page()
    page.focus("input[type=range]")
    page.keyboard.press("Home")
    assert "r = 0, k = 0, c = 0" in told(page)
    for layout in (CARD, RADIX):  # number 0 is drawn like any other
        assert numbers(page, layout) == ["0", "1", "0", "0", "0", "0", "0", "0"]
    page.keyboard.press("ArrowRight")
    assert "r = 0, k = 0, c = 1" in told(page)
    assert page.locator("input[type=range]").get_attribute("aria-valuetext").startswith("1: ")


def test_hollow_dots_go_in_and_full_ones_come_out(open_page: Open) -> None:
    page = open_page()
    dots = page.locator("svg[data-layout=radix-major] circle.le-hollow, svg[data-layout=radix-major] circle.le-full")
    kinds = "(all) => all.map((one) => one.getAttribute('class'))"
    below = "(all) => all.map((one) => Number(one.getAttribute('cy')))"

    def row(stage: str) -> float:
        cell = cells(page, RADIX, stage).first
        return float(cell.get_attribute("y")) + float(cell.get_attribute("height")) / 2

    cells(page, RADIX, "output").nth(5).hover()  # all of group 1 but the channel's own two splits
    assert set(dots.evaluate_all(kinds)) == {"le-hollow"}
    assert dots.evaluate_all(below).count(row("conv2")) == 6
    assert "it is made from channels" in told(page)
    cells(page, RADIX, "conv2").nth(5).hover()
    assert set(dots.evaluate_all(kinds)) == {"le-full"}
    assert dots.evaluate_all(below).count(row("output")) == 3
    assert "it reaches channels 4–7" in told(page)
    cells(page, RADIX, "logits").nth(9).hover()
    both = set(zip(dots.evaluate_all(kinds), dots.evaluate_all(below), strict=True))
    assert both >= {("le-hollow", row("context")), ("le-full", row("attention"))}
    assert not both & {("le-full", row("context")), ("le-hollow", row("attention"))}
    legend = page.locator(".le-legend")
    assert legend.locator("span:has(.le-hollow)").inner_text() == "it is made from these"
    assert legend.locator("span:has(.le-full)").inner_text() == "it reaches these"


def test_a_mistake_shows_where_wires_cross_and_that_shapes_agree(open_page: Open) -> None:
    page = open_page()
    for mistake, crosses, words in [
        ("none", 0, "every wire brings"),
        ("naive", 4, "8 of 16 channels are added into another group's context"),
        ("outputs only", 2, "8 of 16 channels are made from what was meant for others"),
        ("untransposed", 2, "8 of 16 are another channel's"),
    ]:
        choose(page, cardinality=2, channels=8, mistake=mistake)
        page.focus("input[type=range]")
        for key in ("Home", *["ArrowRight"] * 9):
            page.keyboard.press(key)
        assert page.locator(f"svg[data-layout={RADIX}] .le-cross").count() == crosses
        assert page.locator(f"svg[data-layout={CARD}] .le-cross").count() == 0
        assert words in page.locator(".le-verdict").inner_text()
        assert cells(page, RADIX, "output").count() == 8
        bad = page.locator(f"svg[data-layout={RADIX}] .le-bad").all_text_contents()
        assert (bad[-1:] == ["all wrong"]) == (mistake != "none")
        if mistake == "untransposed":
            assert "weighed by logit 5, which belongs to r = 1, k = 0" in told(page)
            assert "channels 0–7 of V, in all 2 groups" in told(page)
        if mistake == "outputs only":
            assert "which were made for r = 1, k = 0" in told(page)
        choose(page, cardinality=1)
        assert page.locator(".le-diagrams .le-cross").count() == 0
        assert "K = 1" in page.locator(".le-verdict").inner_text()


def test_a_mistake_is_shown_where_it_was_made(open_page: Open) -> None:
    page = open_page(width=390)
    shown = page.locator("svg[data-layout]")
    for mistake in ("naive", "outputs only", "untransposed"):
        page.check(f"input[name=shown][value={CARD}]")
        choose(page, mistake=mistake)
        assert shown.get_attribute("data-layout") == RADIX and page.is_checked(f"input[name=shown][value={RADIX}]")
        assert shown.locator(".le-cross").count() > 0
    page.check(f"input[name=shown][value={CARD}]")
    choose(page, radix=3, mistake="none")
    assert shown.get_attribute("data-layout") == CARD


@pytest.mark.parametrize(("width", "tallest"), [(736, 960), (374, 1180)])
def test_cause_and_effect_are_near_each_other_and_the_drawing_stays(open_page: Open, width: int, tallest: int) -> None:
    page = open_page(width=width)
    for mistake in ("none", "naive", "outputs only", "untransposed"):
        choose(page, mistake=mistake)
        assert page.locator("#layout-explorer").bounding_box()["height"] < tallest
    tops = [page.locator(each).bounding_box()["y"] for each in (".le-slider", ".le-told", ".le-diagrams")]
    assert tops == sorted(tops)
    # Whatever is said above it.
    tops = page.evaluate("""() => {
      const stage = document.querySelector(".le-diagrams"), found = new Set();
      for (const cell of document.querySelectorAll("[role=gridcell]")) {
        cell.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
        found.add(stage.getBoundingClientRect().top);
      }
      return [...found];
    }""")
    assert len(tops) == 1


def test_it_fits_a_phone_and_turns_with_it(open_page: Open) -> None:
    page = open_page(width=320)
    overflow = "(box) => box.scrollWidth - box.clientWidth"
    for radix, cardinality in itertools.product((1, 2, 3), repeat=2):
        choose(page, radix=radix, cardinality=cardinality)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert page.locator(".le-diagrams").evaluate(overflow) <= 0
    assert page.locator("svg[data-layout]").count() == 1
    page.check(f"input[name=shown][value={CARD}]")
    assert page.locator("svg[data-layout]").get_attribute("data-layout") == CARD
    page.set_viewport_size({"width": 900, "height": 900})
    page.wait_for_function("document.querySelectorAll('svg[data-layout]').length === 2")
    assert not page.locator(".le-switch").is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 736), ("dark", 736), ("light", 320)])
def test_everything_can_be_read_light_and_dark(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(scheme=scheme, width=width)
    choose(page, mistake="naive")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for kind, prop, least in [
        *((kind, "fill", 4.5) for kind in (".le-title", ".le-name", ".le-bad", ".le-symbol")),
        *((kind, "stroke", 3) for kind in (".le-cross", ".le-wire", ".le-bus")),
    ]:
        color = page.eval_on_selector(kind, f"(one) => getComputedStyle(one).{prop}")
        assert contrast(luminance(color), luminance(ground)) >= least, kind
    # No wire runs through a title.
    plates = page.locator(f"svg[data-layout={RADIX}] .le-plate")
    assert set(plates.evaluate_all("(all) => all.map((one) => getComputedStyle(one).fill)")) == {ground}
    titles = page.locator("svg[data-layout] :is(.le-title, .le-bad)")
    bare = titles.evaluate_all("""(all) => all.filter((one) => {
      const svg = one.ownerSVGElement, box = one.getBBox();
      const follows = (a, b) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING;
      return ![...svg.querySelectorAll(".le-plate")].some((plate) => {
        const at = plate.getBBox();
        return at.x <= box.x && at.x + at.width >= box.x + box.width && at.y <= box.y + 1 && at.height >= 12 &&
          follows(plate, one) && [...svg.querySelectorAll(".le-wire, .le-band")].every((wire) => follows(wire, plate));
      });
    }).map((one) => one.textContent)""")
    assert bare == []
    axe.prepare(page)
    assert axe.violations(page) == []


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
