"""The network of the live figure computes what PyTorch computes."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnest_edu.book.web_export import NAME, decode_network, decode_scenes, encode_network, read_script
from resnest_edu.data import SHAPE_CLASSES, draw_scenes
from resnest_edu.data.shapes.outlines import Shapes
from resnest_edu.data.shapes.scene_layout import pixel_centres
from resnest_edu.network.resnest import ResNeSt, Variant
from resnest_edu.split_attention import record_attention
from resnest_edu.training.augmentation import normalize
from tests.randomize import randomize_norms
from tests.site.node import EXPLORABLES, Node, node

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
def script() -> Iterator[Node]:
    with node("explorable.js", "network_operators.js", "network_resnest.js", "network_scenes.js") as process:
        yield process


def as_map(tensor: Tensor) -> dict[str, Any]:
    return {"data": tensor.flatten().tolist(), "shape": list(tensor.shape)}


def as_tensor(value: dict[str, Any]) -> Tensor:
    return torch.tensor(value["data"]).view(value["shape"])


def call(script: Node, name: str, x: Tensor, options: dict[str, Any], layer: nn.Conv2d | None = None) -> Tensor:
    given = layer and {
        "weight": layer.weight.flatten().tolist(),
        "bias": None if layer.bias is None else layer.bias.tolist(),
        "out": layer.out_channels,
        "kernel": layer.kernel_size[0],
    }
    return as_tensor(script.evaluate(CALL, [name, as_map(x), given, options]))


@torch.no_grad()
def test_the_operators_are_pytorchs(script: Node) -> None:
    torch.manual_seed(0)
    sizes = [(7, 7), (8, 5), (3, 9), (2, 2)]
    settings = [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 2), (3, 1, 1, 4), (5, 3, 2, 2), (1, 2, 0, 4)]
    for size, setting, bias in itertools.product([*sizes, (1, 1)], settings, (True, False)):
        kernel, stride, padding, groups = setting
        layer, x = nn.Conv2d(4, 8, kernel, stride, padding, groups=groups, bias=bias), torch.randn(4, *size)
        options = {"stride": stride, "padding": padding, "groups": groups}
        torch.testing.assert_close(call(script, "convolve", x, options, layer), layer(x))
    settings = [(3, 2, 1), (2, 2, 0), (2, 2, 1), (3, 1, 1), (2, 3, 1), (1, 1, 0)]
    for size, (kernel, stride, padding) in itertools.product(sizes, settings):
        if kernel > min(size):
            continue
        x, plain = torch.randn(3, *size), {"kernel": kernel, "stride": stride, "padding": padding}
        expected = F.max_pool2d(x, kernel, stride, padding)
        torch.testing.assert_close(call(script, "maxPool", x, plain), expected)
        for ceil, counts in itertools.product((False, True), repeat=2):
            expected = F.avg_pool2d(x, kernel, stride, padding, ceil, counts)
            options = plain | {"ceil": ceil, "countPadding": counts}
            torch.testing.assert_close(call(script, "averagePool", x, options), expected)
    torch.testing.assert_close(call(script, "globalMean", x, {}), x.mean(dim=(1, 2), keepdim=True))
    torch.testing.assert_close(call(script, "relu", x, {}), x.relu())
    twice = "(x) => Array.from(add(featureMap(...x.shape, [...x.data]), featureMap(...x.shape, x.data)).data)"
    torch.testing.assert_close(torch.tensor(script.evaluate(twice, as_map(x))).view_as(x), 2 * x)
    values = torch.tensor([1000.0, 999.0, -1000.0, 0.5])  # large numbers overflow nothing
    found = script.evaluate("(v) => [softmax(v), v.map(sigmoid)]", values.tolist())
    torch.testing.assert_close(torch.tensor(found), torch.stack([values.softmax(0), values.sigmoid()]))


@torch.no_grad()
def test_folding_is_pytorchs(script: Node) -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        conv, norm = nn.Conv2d(4, 6, 3, groups=2, bias=bias).eval(), randomize_norms(nn.BatchNorm2d(6)).eval()
        expected = fuse_conv_bn_eval(conv, norm)
        folded = script.evaluate(
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


def compare(script: Node, content: dict[str, Any], images: Tensor) -> None:
    """Run the browser's network and PyTorch's, unfolded."""
    script.evaluate("(content) => { window.network = loadNetwork(content); }", content)
    model = decode_network(content)
    attention = record_attention(model, images)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        logits = model(images)
    for i, found in enumerate(script.evaluate(RUN, [as_map(image) for image in images])):
        torch.testing.assert_close(torch.tensor(found["logits"]), logits[i], **CLOSE)
        for ours, theirs in zip(found["attention"], attention.values(), strict=True):
            torch.testing.assert_close(torch.tensor(ours), theirs[i].flatten(), **CLOSE)


def test_the_committed_network_is_pytorchs(script: Node) -> None:
    content = read_script(EXPLORABLES / NAME)
    torch.manual_seed(0)
    scenes = normalize(decode_scenes(content["scenes"]).images)
    others = normalize(torch.from_numpy(draw_scenes(2**39, 24).images))
    black, white = (normalize(torch.full((1, 3, 32, 32), byte, dtype=torch.uint8)) for byte in (0, 255))
    compare(script, content, torch.cat([scenes, others, black, white, torch.randn(24, 3, 32, 32)]))


@pytest.mark.parametrize(
    "variant",
    [
        Variant((1, 2), planes=(8, 16), stem_width=4, radix=1),
        Variant((2, 1, 1), planes=(8, 16, 16), stem_width=4, radix=2, cardinality=2, stem_stride=2, pool_first=True),
        Variant((1, 1), planes=(16, 16), stem_width=4, radix=3, cardinality=4, base_width=48, stem_stride=1),
        Variant((1, 1), planes=(8, 8), stem_width=4, radix=1, cardinality=2, stem_stride=4),
    ],
)
def test_any_variant_is_pytorchs(script: Node, variant: Variant) -> None:
    torch.manual_seed(0)
    model = randomize_norms(ResNeSt(variant, 5))
    content = encode_network(model, variant, "abcde")
    for side in (32, 27):  # an odd side leaves windows that hang over the edge
        compare(script, content, torch.randn(2, 3, side, side))


def test_a_broken_file_is_refused_and_pixels_are_normalized_as_in_training(script: Node) -> None:
    content, image = read_script(EXPLORABLES / NAME), draw_scenes(0, 1).images
    given = [image.flatten().tolist(), content["mean"], content["std"]]
    found = script.evaluate("([p, m, s]) => Array.from(normalize(p, m, s).data)", given)
    torch.testing.assert_close(torch.tensor(found).view(1, 3, 32, 32), normalize(torch.from_numpy(image)))
    content["data"] = content["data"][: len(content["data"]) // 8 * 4]
    with pytest.raises(Exception, match="not whole"):
        script.evaluate("(content) => { loadNetwork(content); }", content)


def test_the_outlines_are_those_of_the_training_scenes(script: Node) -> None:
    assert script.evaluate("Object.keys(OUTLINES)") == list(SHAPE_CLASSES)
    places = 2.4 * pixel_centres(12) - 1.2
    u, v = (torch.from_numpy(places).expand(8, 12, 12) for _ in range(2))
    v = v.mT
    expected = Shapes(torch.arange(8).numpy()).depth(u.numpy(), v.numpy())
    found = script.evaluate(
        "(p) => Object.values(OUTLINES).map((f) => p.map((v) => p.map((u) => Math.min(f(u, v), disk(u, v)))))",
        places.tolist(),
    )
    torch.testing.assert_close(torch.tensor(found), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_in_its_element_the_network_is_right(script: Node) -> None:
    script.load(NAME)
    wrong = script.evaluate("""() => {
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
