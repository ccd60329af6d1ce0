"""The network in the reader's browser computes what PyTorch computes, and its page can be used without a pointer."""

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page, sync_playwright
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnest_edu.browser import NAME, decode_network, decode_scenes, encode_network, read_script
from resnest_edu.data import SHAPE_CLASSES, draw_scenes
from resnest_edu.data.plan import pixel_centres
from resnest_edu.data.silhouettes import Shapes
from resnest_edu.resnest import ResNeSt, Variant
from resnest_edu.split_attention import record_attention
from resnest_edu.training.augment import normalize
from tests.randomize import randomize_norms
from tools import browser as chromium
from tools.notebooks import ROOT

FOLDER = ROOT / "book" / "_extra" / "explorables"
SCRIPTS = ("network_operators.js", "network_resnest.js", "network_scenes.js", "live_network.js")
CLOSE = {"rtol": 0.0, "atol": 1e-4}

# Runs an operator on a map given as {data, shape} and returns such a map.
CALL = """([name, x, layer, options]) => {
  const map = featureMap(...x.shape, Float32Array.from(x.data));
  const y = layer ? window[name](map, layer, options) : window[name](map, options);
  return { data: Array.from(y.data), shape: [y.channels, y.height, y.width] };
}"""
RUN = """images => images.map((image) => {
  const { logits, attention } = forward(network, featureMap(...image.shape, Float32Array.from(image.data)));
  return { logits: Array.from(logits), attention: [...attention.values()].map((a) => Array.from(a)) };
})"""


@pytest.fixture(scope="module")
def driver() -> Iterator[Browser]:
    executable = chromium.find()
    if executable is None:
        assert os.environ.get("CI") != "true", "no Chromium found, and under CI=true the network must be run in one"
        pytest.skip("no Chromium found")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def bare(driver: Browser) -> Iterator[Page]:
    """An empty page with the functions, without the figure."""
    page = driver.new_page()
    for name in SCRIPTS[:3]:
        page.add_script_tag(path=FOLDER / name)
    yield page
    page.close()


def as_map(tensor: Tensor) -> dict[str, Any]:
    return {"data": tensor.flatten().tolist(), "shape": list(tensor.shape)}


def as_tensor(value: dict[str, Any]) -> Tensor:
    return torch.tensor(value["data"]).view(value["shape"])


def call(page: Page, name: str, x: Tensor, options: dict[str, Any], layer: nn.Conv2d | None = None) -> Tensor:
    given = layer and {
        "weight": layer.weight.flatten().tolist(),
        "bias": None if layer.bias is None else layer.bias.tolist(),
        "out": layer.out_channels,
        "kernel": layer.kernel_size[0],
    }
    return as_tensor(page.evaluate(CALL, [name, as_map(x), given, options]))


@pytest.mark.parametrize("size", [(7, 7), (8, 5), (3, 9), (1, 1)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups"),
    [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 2), (3, 1, 1, 4), (5, 3, 2, 2), (1, 2, 0, 4)],
)
@torch.no_grad()
def test_the_convolution_is_pytorchs(
    bare: Page, size: tuple[int, int], kernel: int, stride: int, padding: int, groups: int
) -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        layer = nn.Conv2d(4, 8, kernel, stride, padding, groups=groups, bias=bias)
        x = torch.randn(4, *size)
        options = {"stride": stride, "padding": padding, "groups": groups}
        torch.testing.assert_close(call(bare, "convolve", x, options, layer), layer(x))


@pytest.mark.parametrize("size", [(7, 7), (8, 5), (3, 9), (4, 4), (2, 2)])
def test_the_pools_are_pytorchs(bare: Page, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, *size)
    for kernel, stride, padding in ((3, 2, 1), (2, 2, 0), (2, 2, 1), (3, 1, 1), (2, 3, 1), (1, 1, 0)):
        plain = {"kernel": kernel, "stride": stride, "padding": padding}
        expected = F.max_pool2d(x, kernel, stride, padding)
        torch.testing.assert_close(call(bare, "maxPool", x, plain), expected)
        for ceil in (False, True):
            for counts in (False, True):
                options = plain | {"ceil": ceil, "countPadding": counts}
                expected = F.avg_pool2d(x, kernel, stride, padding, ceil, counts)
                torch.testing.assert_close(call(bare, "averagePool", x, options), expected)


def test_mean_relu_and_sum_are_pytorchs(bare: Page) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(call(bare, "globalMean", x, {}), x.mean(dim=(1, 2), keepdim=True))
    torch.testing.assert_close(call(bare, "relu", x, {}), x.relu())
    given = as_map(x)
    doubled = bare.evaluate(
        "(x) => Array.from(add(featureMap(...x.shape, [...x.data]), featureMap(...x.shape, x.data)).data)", given
    )
    torch.testing.assert_close(torch.tensor(doubled).view_as(x), 2 * x)


def test_softmax_and_sigmoid_survive_large_numbers(bare: Page) -> None:
    values = torch.tensor([1000.0, 999.0, -1000.0, 0.5])
    found = bare.evaluate("(v) => [softmax(v), v.map(sigmoid)]", values.tolist())
    torch.testing.assert_close(torch.tensor(found), torch.stack([values.softmax(0), values.sigmoid()]))


@torch.no_grad()
def test_folding_is_pytorchs(bare: Page) -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        conv, norm = nn.Conv2d(4, 6, 3, groups=2, bias=bias).eval(), randomize_norms(nn.BatchNorm2d(6)).eval()
        expected = fuse_conv_bn_eval(conv, norm)
        folded = bare.evaluate(
            "([weight, bias, out, norm]) => { const f = fold({weight, bias, out}, norm);"
            " return [Array.from(f.weight), Array.from(f.bias)]; }",
            [
                conv.weight.flatten().tolist(),
                conv.bias.tolist() if bias else None,
                conv.out_channels,
                {name: t.tolist() for name, t in norm.state_dict().items()},
            ],
        )
        torch.testing.assert_close(torch.tensor(folded[0]).view_as(conv.weight), expected.weight)
        torch.testing.assert_close(torch.tensor(folded[1]), expected.bias)


def compare(page: Page, content: dict[str, Any], images: Tensor) -> float:
    """Run the browser's network and PyTorch's, unfolded; the greatest difference."""
    page.evaluate("(content) => { window.network = loadNetwork(content); }", content)
    model = decode_network(content)
    attention = record_attention(model, images)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        logits = model(images)
    greatest = 0.0
    for i, found in enumerate(page.evaluate(RUN, [as_map(image) for image in images])):
        pairs = [(found["logits"], logits[i])]
        pairs += list(zip(found["attention"], [a[i].flatten() for a in attention.values()], strict=True))
        for ours, theirs in pairs:
            torch.testing.assert_close(torch.tensor(ours), theirs, **CLOSE)
            greatest = max(greatest, (torch.tensor(ours) - theirs).abs().max().item())
    return greatest


def test_the_committed_network_is_pytorchs(bare: Page) -> None:
    content = read_script(FOLDER / NAME)
    torch.manual_seed(0)
    scenes = normalize(decode_scenes(content["scenes"]).images)
    others = normalize(torch.from_numpy(draw_scenes(2**39, 24).images))
    black, white = (normalize(torch.full((1, 3, 32, 32), byte, dtype=torch.uint8)) for byte in (0, 255))
    assert compare(bare, content, torch.cat([scenes, others, black, white, torch.randn(24, 3, 32, 32)])) < 1e-4


@pytest.mark.parametrize(
    "variant",
    [
        Variant((1, 2), planes=(8, 16), stem_width=4, radix=1),
        Variant((2, 1, 1), planes=(8, 16, 16), stem_width=4, radix=2, cardinality=2, stem_stride=2, pool_first=True),
        Variant((1, 1), planes=(16, 16), stem_width=4, radix=3, cardinality=4, base_width=48, stem_stride=1),
        Variant((1, 1), planes=(8, 8), stem_width=4, radix=1, cardinality=2, stem_stride=4),
    ],
)
def test_any_variant_is_pytorchs(bare: Page, variant: Variant) -> None:
    torch.manual_seed(0)
    model = randomize_norms(ResNeSt(variant, 5))
    content = encode_network(model, variant, "abcde")
    for side in (32, 27):  # an odd side leaves windows that hang over the edge
        compare(bare, content, torch.randn(2, 3, side, side))


def test_a_broken_file_is_refused(bare: Page) -> None:
    content = read_script(FOLDER / NAME)
    content["data"] = content["data"][: len(content["data"]) // 8 * 4]
    with pytest.raises(Exception, match="not whole"):
        bare.evaluate("(content) => { loadNetwork(content); }", content)


def test_pixels_are_normalized_as_in_training(bare: Page) -> None:
    content, image = read_script(FOLDER / NAME), draw_scenes(0, 1).images
    given = [image.flatten().tolist(), content["mean"], content["std"]]
    found = bare.evaluate("([p, m, s]) => Array.from(normalize(p, m, s).data)", given)
    torch.testing.assert_close(torch.tensor(found).view(1, 3, 32, 32), normalize(torch.from_numpy(image)))


def test_the_outlines_are_those_of_the_training_scenes(bare: Page) -> None:
    assert bare.evaluate("Object.keys(OUTLINES)") == list(SHAPE_CLASSES)
    places = 2.4 * pixel_centres(12) - 1.2
    u, v = (torch.from_numpy(places).expand(8, 12, 12) for _ in range(2))
    v = v.mT
    expected = Shapes(torch.arange(8).numpy()).depth(u.numpy(), v.numpy())
    found = bare.evaluate(
        "(p) => Object.values(OUTLINES).map((f) => p.map((v) => p.map((u) => Math.min(f(u, v), disk(u, v)))))",
        places.tolist(),
    )
    torch.testing.assert_close(torch.tensor(found), torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.fixture
def figure(driver: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page's own figure, opened from a disk, on a phone; what it asks for is noted in ``figure.asked``."""
    cells = json.loads((ROOT / "book" / "training" / "in_the_browser.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = ("".join(cell["source"]) for cell in cells if cell["id"] == "question")
    html = source[source.index("<link") : source.rindex("</script>") + len("</script>")]
    shutil.copytree(FOLDER, tmp_path / "explorables")
    (tmp_path / "book" / "training").mkdir(parents=True)
    path = tmp_path / "book" / "training" / "page.html"
    head = '<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>x</title>'
    path.write_text(f'{head}<body style="margin: 8px">{html}</body>', encoding="utf-8")
    page = driver.new_page(viewport={"width": 320, "height": 700})
    page.set_default_timeout(20_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.goto(path.as_uri())
    page.asked = asked  # type: ignore[attr-defined]
    yield page
    page.close()


def load(page: Page) -> None:
    page.get_by_role("button", name="Load the network").press("Enter")
    page.locator(".live-bars").wait_for()


def sentence(page: Page) -> str:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".live-sentence").inner_text()


def test_nothing_is_loaded_until_the_reader_asks_and_nothing_from_elsewhere(figure: Page) -> None:
    assert not any(NAME in url for url in figure.asked)  # type: ignore[attr-defined]
    assert figure.evaluate("window.LIVE_NETWORK === undefined")
    load(figure)
    asked = figure.asked  # type: ignore[attr-defined]
    assert [url for url in asked if NAME in url] and all(url.startswith("file://") for url in asked)
    assert sentence(figure).startswith("The network says bowtie")


def test_the_button_says_how_much_it_loads(figure: Page) -> None:
    said = int(re.search(r"\((\d+)\skB\)", figure.locator(".live-load").inner_text()).group(1))  # type: ignore[union-attr]
    assert said == round((FOLDER / NAME).stat().st_size / 1000)


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


def test_sizes_at_the_ends_of_the_training_range_are_inside_it(figure: Page) -> None:
    load(figure)
    for size, note in ((54, "so small"), (55, "it saw shapes like"), (90, "it saw shapes like"), (91, "so large")):
        figure.get_by_role("slider", name="Size").fill(str(size))
        sentence(figure)
        assert note in figure.locator(".live-note").inner_text(), size


def test_reset_brings_back_what_it_began_with(figure: Page) -> None:
    load(figure)
    controls = [figure.get_by_role("slider", name=name) for name in ("Size", "Turn", "Across", "Down")]
    lists = [figure.get_by_role("combobox", name=name) for name in ("Shape", "Colours", "Ground")]
    before = [control.input_value() for control in controls + lists], sentence(figure)
    for control in controls:
        control.fill("25")
    for choice in lists:
        choice.select_option(index=1)
    assert sentence(figure) != before[1]
    figure.get_by_role("button", name="Reset").press("Enter")
    said = sentence(figure)
    assert ([control.input_value() for control in controls + lists], said) == before


def test_a_button_leads_from_one_wrong_scene_to_the_next(figure: Page) -> None:
    load(figure)
    figure.get_by_role("radio", name="a test scene").check()
    label = figure.locator(".live-scenes > span")
    for number in (17, 18, 19, 20, 17):
        figure.get_by_role("button", name="Next wrong one").press("Enter")
        assert "wrong" in sentence(figure) and label.inner_text().startswith(f"{number} of 20")


def test_what_the_strips_print_is_the_mean_weight_and_its_distance_from_usual(figure: Page) -> None:
    load(figure)
    content = read_script(FOLDER / NAME)
    network, scenes = decode_network(content), normalize(decode_scenes(content["scenes"]).images)
    figure.get_by_role("radio", name="a test scene").check()
    sentence(figure)
    printed = figure.locator(".live-strip p").all_inner_texts()
    recorded = record_attention(network, scenes).values()
    for text, weights in zip(printed, (a[:, 0].flatten(1) for a in recorded), strict=True):
        mean, moved = weights[0].mean().item(), (weights[0] - weights.mean(dim=0)).abs().mean().item()
        found = re.search(r"weight of split 1: (\S+)\. Mean distance from usual: (\S+)\.$", text)
        assert found and [float(value) for value in found.groups()] == pytest.approx([mean, moved], abs=0.0051)


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


def test_the_figure_fits_a_phone(figure: Page) -> None:
    load(figure)
    for mode in ("a shape", "a test scene", "a drawing"):
        figure.get_by_role("radio", name=mode).check()
        sentence(figure)
        assert figure.evaluate("document.documentElement.scrollWidth") <= 320


def test_what_cannot_be_loaded_is_said_in_words_and_can_be_tried_again(figure: Page) -> None:
    weights = figure.evaluate("document.querySelector('.live-network').dataset.weights")
    for address, message in (("nowhere.js", "nowhere.js was not found"), ("data:text/javascript,1", "does not hold")):
        figure.evaluate("(a) => { document.querySelector('.live-network').dataset.weights = a; }", address)
        figure.locator(".live-load").click()
        figure.get_by_role("alert").get_by_text(message).wait_for()
    figure.evaluate("(a) => { document.querySelector('.live-network').dataset.weights = a; }", weights)
    figure.get_by_role("button", name="Try again").click()
    figure.locator(".live-bars").wait_for()


def test_in_its_element_the_network_is_right(figure: Page) -> None:
    load(figure)
    wrong = figure.evaluate("""() => {
      const network = loadNetwork(LIVE_NETWORK), wrong = [];
      for (const shape of Object.keys(OUTLINES)) for (const diameter of [0.6, 0.75]) for (const turn of [0, 40]) {
        for (const ground of Object.keys(GROUNDS)) {
          const scene = { shape, diameter, turn, ground, x: 0.5, y: 0.45, colours: "violet on pale yellow" };
          const { logits } = forward(network, network.normalize(drawScene(32, scene)));
          const said = LIVE_NETWORK.classes[logits.indexOf(Math.max(...logits))];
          if (said !== shape) wrong.push(`${shape}: ${said}`);
        }
      }
      return wrong;
    }""")
    assert len(wrong) <= 4, wrong  # of 128
