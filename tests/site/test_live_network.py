"""The page of the network in the reader's browser can be used without a pointer, and says what the network finds."""

import math
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from resnest_edu.book.web_export import NAME, decode_network, decode_scenes, read_script
from resnest_edu.split_attention import record_attention
from resnest_edu.training.augmentation import normalize
from tests.site.node import EXPLORABLES


@pytest.fixture
def figure(open_figure: Callable[..., Page]) -> Page:
    """The page's own figure, on a phone."""
    return open_figure("training/in_the_browser.ipynb", "question", width=320)


def load(page: Page) -> None:
    page.get_by_role("button", name="Load the network").press("Enter")
    page.locator(".live-bars").wait_for()


def sentence(page: Page) -> str:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".live-sentence").inner_text()


def test_nothing_is_loaded_until_the_reader_asks_and_then_as_much_as_is_said(figure: Page) -> None:
    assert not any(NAME in url for url in figure.asked)  # type: ignore[attr-defined]
    assert figure.evaluate("window.LIVE_NETWORK === undefined")
    said = re.search(r"\((\d+)\skB\)", figure.locator(".live-load").inner_text())
    assert said and int(said[1]) == round((EXPLORABLES / NAME).stat().st_size / 1000)
    load(figure)
    assert any(NAME in url for url in figure.asked)  # type: ignore[attr-defined]
    assert sentence(figure).startswith("The network says bowtie")
    for mode in ("a shape", "a test scene", "a drawing"):
        figure.get_by_role("radio", name=mode).check()
        sentence(figure)
        assert figure.evaluate("document.documentElement.scrollWidth") <= 320


def test_keys_change_the_picture_the_prediction_and_the_attention(figure: Page) -> None:
    load(figure)
    assert sentence(figure).endswith("right.")
    usual = figure.locator(".live-strip").first.inner_text()
    figure.locator("canvas").focus()
    for _ in range(12):  # to a third of the side
        figure.keyboard.press("-")
    assert sentence(figure).endswith("wrong, this is a bowtie.")
    assert figure.locator(".live-strip").first.inner_text() != usual
    assert "never saw so small a shape" in figure.locator(".live-note").inner_text()
    size = figure.get_by_role("slider", name="Size")
    size.fill("72")
    assert sentence(figure).endswith("right.")
    across = figure.get_by_role("slider", name="Across").input_value()
    figure.locator("canvas").focus()
    figure.keyboard.press("ArrowRight")
    sentence(figure)
    assert figure.get_by_role("slider", name="Across").input_value() > across
    # What is spoken comes once the picture rests.
    figure.wait_for_function("document.querySelector('.live-spoken').textContent.startsWith('The network says bowtie')")


def test_the_shape_it_begins_with_fails_as_the_text_says(figure: Page) -> None:
    load(figure)
    size = figure.get_by_role("slider", name="Size")

    def strayed() -> list[float]:
        return [float(text.split()[-1][:-1]) for text in figure.locator(".live-strip p").all_inner_texts()]

    sentence(figure)
    usual = strayed()
    for value, note in ((54, "so small"), (55, "it saw shapes like"), (90, "it saw shapes like"), (91, "so large")):
        size.fill(str(value))
        sentence(figure)
        assert note in figure.locator(".live-note").inner_text(), value
    for value in range(39, 19, -1):
        size.fill(str(value))
        assert "wrong" in sentence(figure), value
        assert all(now > 2 * then for now, then in list(zip(strayed(), usual, strict=True))[:2]), value
    figure.get_by_role("button", name="Reset").press("Enter")
    assert sentence(figure).endswith("right.")
    figure.get_by_role("combobox", name="Colours").select_option("equally light pair")
    assert "wrong" in sentence(figure)
    assert "as light as its ground" in figure.locator(".live-note").inner_text()


def test_an_empty_picture_is_called_a_star(figure: Page) -> None:
    load(figure)
    figure.get_by_role("radio", name="a drawing").check()
    colours, grounds = (figure.get_by_role("combobox", name=name) for name in ("Colours", "Ground"))
    for colour in colours.locator("option").all_inner_texts():
        colours.select_option(colour)
        for ground in grounds.locator("option").all_inner_texts():
            grounds.select_option(ground)
            share = re.fullmatch(r"The network says star, (\d+)\s%\.", sentence(figure))
            assert share and 50 <= int(share.group(1)) <= 70, (colour, ground)


def test_reset_brings_back_what_it_began_with(figure: Page) -> None:
    load(figure)
    sliders = [figure.get_by_role("slider", name=name) for name in ("Size", "Turn", "Across", "Down")]
    lists = [figure.get_by_role("combobox", name=name) for name in ("Shape", "Colours", "Ground")]
    before = [control.input_value() for control in sliders + lists], sentence(figure)
    for control in sliders:
        control.fill("25")
    for choice in lists:
        choice.select_option(index=1)
    assert sentence(figure) != before[1]
    figure.get_by_role("button", name="Reset").press("Enter")
    said = sentence(figure)
    assert ([control.input_value() for control in sliders + lists], said) == before


def test_the_scenes_are_the_tested_ones_with_their_attention_and_those_it_mistakes(figure: Page) -> None:
    load(figure)
    content = read_script(EXPLORABLES / NAME)
    network, scenes = decode_network(content), normalize(decode_scenes(content["scenes"]).images)
    figure.get_by_role("radio", name="a test scene").check()
    sentence(figure)
    printed = figure.locator(".live-strip p").all_inner_texts()
    recorded = record_attention(network, scenes).values()
    for text, weights in zip(printed, (a[:, 0].flatten(1) for a in recorded), strict=True):
        mean, moved = weights[0].mean().item(), (weights[0] - weights.mean(dim=0)).abs().mean().item()
        found = re.search(r"weight of split 1: (\S+)\. Mean distance from usual: (\S+)\.$", text)
        assert found and [float(value) for value in found.groups()] == pytest.approx([mean, moved], abs=0.0051)
    for number in (17, 18, 19, 20, 17):
        figure.get_by_role("button", name="Next wrong one").press("Enter")
        assert "wrong" in sentence(figure)
        assert figure.locator(".live-scenes > span").inner_text().startswith(f"{number} of 20")


def test_keys_choose_scenes_and_draw(figure: Page) -> None:
    load(figure)
    figure.get_by_role("radio", name="a test scene").press("Space")
    assert "disk" in sentence(figure) and "1 of 20: disk" in figure.locator(".live-scenes").inner_text()
    figure.locator("canvas").focus()
    figure.keyboard.press("ArrowLeft")
    assert "wrong" in sentence(figure) and "20 of 20" in figure.locator(".live-scenes").inner_text()
    figure.get_by_role("radio", name="a drawing").press("Space")
    pixels = "() => document.querySelector('canvas').getContext('2d').getImageData(0, 0, 32, 32).data.join()"
    sentence(figure)
    empty = figure.evaluate(pixels)
    figure.locator("canvas").focus()
    figure.keyboard.press("ArrowRight")  # the pen is up
    sentence(figure)
    assert figure.evaluate(pixels) == empty
    figure.keyboard.down(" ")
    for _ in range(8):
        figure.keyboard.press("ArrowRight")
    figure.keyboard.up(" ")
    sentence(figure)
    assert figure.evaluate(pixels) != empty
    figure.get_by_role("button", name="Clear").press("Enter")
    sentence(figure)
    assert figure.evaluate(pixels) == empty


def test_a_pointer_moves_sizes_and_draws(figure: Page) -> None:
    load(figure)

    def drag(*places: tuple[float, float]) -> str:
        figure.locator("canvas").scroll_into_view_if_needed()
        box = figure.locator("canvas").bounding_box()
        assert box
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
        figure.mouse.move(*points[0])
        figure.mouse.down()
        for point in points[1:]:
            figure.mouse.move(*point)
        figure.mouse.up()
        return sentence(figure)

    value = {name: figure.get_by_role("slider", name=name).input_value for name in ("Size", "Across", "Turn")}
    drag((0.5, 0.5), (0.6, 0.5))
    assert (value["Across"](), value["Size"]()) == ("60", "72")
    drag((0.5, 0.5), (0.4, 0.5))
    handle = 0.36 * math.cos(math.radians(12)), 0.36 * math.sin(math.radians(12))
    drag((0.5 + handle[0], 0.5 + handle[1]), (0.5, 0.75))
    assert (value["Across"](), value["Size"](), value["Turn"]()) == ("50", "50", "90")
    # Nearly half of a small shape lies within a fingertip of its handle; what is nearer to the centre moves it.
    figure.get_by_role("slider", name="Size").fill("20")
    sentence(figure)
    drag((0.5, 0.54), (0.3, 0.54))
    assert (value["Across"](), value["Size"]()) == ("30", "20")
    drag((0.3, 0.58), (0.3, 0.7))
    assert (value["Across"](), value["Size"]()) == ("30", "40")


def test_what_cannot_be_loaded_is_said_in_words_and_can_be_tried_again(figure: Page) -> None:
    weights = figure.evaluate("document.querySelector('.live-network').dataset.weights")
    for address, message in (("nowhere.js", "nowhere.js was not found"), ("data:text/javascript,1", "does not hold")):
        figure.evaluate("(a) => { document.querySelector('.live-network').dataset.weights = a; }", address)
        figure.locator(".live-load").click()
        figure.get_by_role("alert").get_by_text(message).wait_for()
    figure.evaluate("(a) => { document.querySelector('.live-network').dataset.weights = a; }", weights)
    figure.get_by_role("button", name="Try again").click()
    figure.locator(".live-bars").wait_for()
