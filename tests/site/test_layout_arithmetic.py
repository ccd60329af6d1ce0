"""What the layout explorer says is what the package's modules do: probed with gradients, and with mistakes made on
purpose."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

from resnest_edu import CardinalityMajorSplitAttention, RadixMajorSplitAttention, to_radix_major
from resnest_edu.network.layouts import cardinality_major_order, radix_major_order
from resnest_edu.split_attention import SplitAttention
from tests.randomize import randomize
from tests.site.node import Node, node

PAIRS = list(itertools.product((1, 2, 3), (1, 2, 3)))
all_pairs = pytest.mark.parametrize(("radix", "cardinality"), PAIRS)
LAYOUTS = ("cardinality-major", "radix-major")
MISTAKES = ("naive", "outputs only", "untransposed")
Stages = dict[str, list[Tensor]]  # a stage's channels, (1, n, 1, 1) each, in pieces as the module makes them


@pytest.fixture(scope="module")
def script() -> Iterator[Node]:
    with node("explorable.js", "layout_arithmetic.js") as process:
        yield process


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """A hidden layer of 12 channels, which every K divides, in place of 32 or more: so that blocks may be small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resnest_edu.split_attention.hyperparameters.attention_width", lambda *_: 12)
        yield


def widths(radix: int, cardinality: int) -> list[int]:
    step = radix * cardinality
    return [step] + [n * step for n in (2, 3) if n * step * radix <= 27]


def blocks(radix: int, cardinality: int, channels: int) -> tuple[SplitAttention, SplitAttention]:
    """The same block in both layouts. No ReLU is closed and no softmax saturated, so that every wire carries."""
    card = CardinalityMajorSplitAttention(channels, channels, radix=radix, cardinality=cardinality)
    card = randomize(card.double().eval())
    with torch.no_grad():
        for name, tensor in card.state_dict().items():
            if name.endswith(("bn0.bias", "bn1.bias")):
                tensor.add_(20)
            elif "fc2" in name:
                tensor.mul_(0.02)
    return card, to_radix_major(card)


def stages(module: SplitAttention, x: Tensor) -> Stages:
    """What the module computes on the way to V, in one graph."""
    found: Stages = {"conv1": [x], "context": [], "hidden": [], "logits": []}
    handles = []
    for name, part in module.named_modules():
        if name.endswith("fc1"):
            handles.append(part.register_forward_pre_hook(lambda _, inputs: found["context"].append(inputs[0])))
            handles.append(part.register_forward_hook(lambda *parts: found["hidden"].append(parts[2])))
        elif name.endswith("fc2"):
            handles.append(part.register_forward_hook(lambda *parts: found["logits"].append(parts[2])))
    if isinstance(module, RadixMajorSplitAttention):
        splits = module.split(x)
        attention = module.attention(splits)
        found |= {"conv2": [splits], "attention": [attention], "output": [(attention * splits).sum(dim=1)]}
    else:
        found |= {"conv2": [], "attention": [], "output": []}
        for group, part in zip(module.groups, x.chunk(module.cardinality, dim=1), strict=True):
            shares = part.chunk(module.radix, dim=1)
            U = [split(share) for split, share in zip(group.splits, shares, strict=True)]
            a = group.attention(U)
            found["conv2"] += U
            found["attention"] += a
            found["output"].append(sum(weight * split for weight, split in zip(a, U, strict=True)))
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(flat(found["output"]), module(x).flatten())
    return found


def flat(pieces: list[Tensor]) -> Tensor:
    return torch.cat([piece.flatten() for piece in pieces])


def slopes(outputs: list[Tensor], inputs: list[Tensor]) -> Tensor:
    """How each output moves with each input: (outputs, inputs)."""
    values = flat(outputs)
    grads = torch.autograd.grad(
        values, inputs, torch.eye(len(values)).double(), retain_graph=True, allow_unused=True, is_grads_batched=True
    )
    pairs = zip(grads, inputs, strict=True)
    return torch.cat(
        [torch.zeros(len(values), piece.numel()) if grad is None else grad.flatten(1) for grad, piece in pairs], dim=1
    )


def ask(script: Node, expression: str, *arguments: Any) -> Any:
    return script.evaluate(f"([a, b, c, d, e]) => {{ return {expression}; }}", [*arguments])


@all_pairs
def test_the_orders_are_those_of_the_package(script: Node, radix: int, cardinality: int) -> None:
    for share in (1, 2, 3):
        channels = torch.arange(radix * cardinality * share)
        orders = [
            ask(script, "inOrder(d, a, b, c).map((h) => numberOf(e, a, b, c, h.r, h.k, h.c))", *sizes)
            for sizes in [
                (radix, cardinality, share, "radix-major", "cardinality-major"),
                (radix, cardinality, share, "cardinality-major", "radix-major"),
            ]
        ]
        assert orders[0] == radix_major_order(channels, radix, cardinality, dim=0).tolist()
        assert orders[1] == cardinality_major_order(channels, radix, cardinality, dim=0).tolist()


@all_pairs
def test_a_channel_reaches_what_it_reaches_in_the_modules(script: Node, radix: int, cardinality: int) -> None:
    reached = """["conv1", "conv2", "context", "logits", "attention", "output"].map((from) => {
      const block = flow(d, a, b, c, "none");
      return block.sources[from].map((_, n) => {
        const met = reach(block, from, n);
        return Object.fromEntries(STAGES.map((stage) => [stage, Array.from(met[stage]).sort((x, y) => x - y)]));
      });
    })"""
    for channels in widths(radix, cardinality):
        for layout, module in zip(LAYOUTS, blocks(radix, cardinality, channels), strict=True):
            x = torch.randn(1, channels, 1, 1).double().requires_grad_()
            found = stages(module, x)
            names = ["conv1", "conv2", "context", "logits", "attention", "output"]
            said = ask(script, reached, radix, cardinality, channels, layout, None)
            for j in range(1, len(names)):
                earlier = [found[name] for name in names[:j]]
                sizes = [len(flat(pieces)) for pieces in earlier]
                all_moves = slopes(found[names[j]], list(itertools.chain(*earlier))) != 0
                for i, moves in enumerate(all_moves.split(sizes, dim=1)):
                    down = [each[names[j]] for each in said[i]]
                    up = [each[names[i]] for each in said[j]]
                    assert down == [column.nonzero().flatten().tolist() for column in moves.T], (names[i], names[j])
                    assert up == [row.nonzero().flatten().tolist() for row in moves], (names[i], names[j])
            # One bar for each group of the hidden layer.
            group = torch.arange(cardinality).repeat_interleave(module.width // cardinality)
            moves = slopes(found["hidden"], found["context"]) != 0
            assert [each["hidden"] for each in said[2]] == [group[column].unique().tolist() for column in moves.T]


@all_pairs
def test_a_path_is_that_of_the_channel_itself(script: Node, radix: int, cardinality: int) -> None:
    paths = """flow(d, a, b, c, "none").holds.conv2.map((_, n) => {
      const path = ownPath(flow(d, a, b, c, "none"), "conv2", n);
      return STAGES.map((stage) => Array.from(path[stage]));
    })"""
    channels = widths(radix, cardinality)[-1]
    for layout, module in zip(LAYOUTS, blocks(radix, cardinality, channels), strict=True):
        x = torch.randn(1, channels, 1, 1).double().requires_grad_()
        found = stages(module, x)
        reads = slopes(found["conv2"], found["conv1"]) != 0
        added = slopes(found["context"], found["conv2"]) != 0
        own = slopes(found["attention"], found["logits"]) > 0  # rivals push a weight down
        dense = slopes(found["logits"], found["context"]) != 0
        said = ask(script, paths, radix, cardinality, channels, layout, None)
        for n, (_, conv1, conv2, context, hidden, logits, attention, output) in enumerate(said):
            assert conv1 == reads[n].nonzero().flatten().tolist()
            assert conv2 == attention == [n]  # the module multiplies them place by place
            assert context == output == added[:, n].nonzero().flatten().tolist()
            assert logits == own[n].nonzero().flatten().tolist()
            assert hidden == [context[0] * cardinality // channels]
            assert dense[logits[0], context[0]]


class Untransposed(RadixMajorSplitAttention):
    def attention(self, splits: Tensor) -> Tensor:
        context = splits.sum(dim=1).mean(dim=(2, 3), keepdim=True)
        logits = self.fc2(self.bn1(self.fc1(context)).relu())
        by_split = rearrange(logits, "b (r kc) h w -> b r kc h w", r=self.radix)
        return by_split.softmax(dim=1) if self.radix > 1 else by_split.sigmoid()


def mistaken(card: SplitAttention, mistake: str) -> RadixMajorSplitAttention:
    module = to_radix_major(card)
    if mistake == "naive":
        splits = [split for group in card.groups for split in group.splits]
        module.conv.weight.data = torch.cat([split.conv.weight for split in splits]).detach()
        for name, tensor in module.bn0.state_dict().items():
            if tensor.ndim:
                tensor.copy_(torch.cat([split.bn0.state_dict()[name] for split in splits]))
    if mistake == "untransposed":
        wrong = Untransposed(**card.arguments).double().eval()
        wrong.load_state_dict(module.state_dict())
        return wrong
    return module


@pytest.mark.parametrize("mistake", MISTAKES)
@all_pairs
def test_a_mistake_spoils_the_values_that_it_spoils_in_torch(
    script: Node, radix: int, cardinality: int, mistake: str
) -> None:
    for channels in widths(radix, cardinality):
        card, right = blocks(radix, cardinality, channels)
        x = torch.randn(1, channels, 1, 1).double()
        moved = radix_major_order(x, radix, cardinality)
        with torch.no_grad():
            good = stages(right, moved)
            found = stages(mistaken(card, mistake), moved if mistake == "untransposed" else x)
        if mistake == "naive":  # the channels are right, at other places
            found["conv2"] = [radix_major_order(flat(found["conv2"]), radix, cardinality, dim=0)]
        said = ask(script, "wrongValues(a, b, c, d)", radix, cardinality, channels, mistake, None)
        if mistake == "naive":
            spoilt = torch.tensor(said["conv2"])
            said["conv2"] = radix_major_order(spoilt, radix, cardinality, dim=0).tolist()
        for stage in ("conv2", "context", "logits", "attention", "output"):
            differ = (flat(found[stage]) - flat(good[stage])).abs() > 1e-9
            assert said[stage] == differ.tolist(), stage
        assert flat(found["output"]).shape == flat(good["output"]).shape
        assert any(said["output"]) == (min(radix, cardinality) > 1)


@pytest.mark.parametrize("mistake", ("none", *MISTAKES))
@all_pairs
def test_a_wire_is_crossed_if_the_cardinality_major_block_has_no_such_wire(
    script: Node, radix: int, cardinality: int, mistake: str
) -> None:
    channels = widths(radix, cardinality)[-1]
    card, _ = blocks(radix, cardinality, channels)
    x = torch.randn(1, channels, 1, 1).double().requires_grad_()
    found = stages(card, x)
    said = ask(script, "flow('radix-major', a, b, c, d)", radix, cardinality, channels, mistake, None)
    # Which channel of the cardinality-major block stands in each place, counted here with the package's own order.
    here = torch.arange(channels)
    features = torch.arange(radix * channels)
    transposed = radix_major_order(features, radix, cardinality, dim=0)
    origin = {
        "conv1": here if mistake in ("naive", "outputs only") else radix_major_order(here, radix, cardinality, dim=0),
        "conv2": features if mistake == "naive" else transposed,
        "context": here,
        "logits": features,
        "attention": transposed,
        "output": here,
    }
    joined = {
        ("conv1", "conv2"): slopes(found["conv2"], found["conv1"]) != 0,
        ("conv2", "context"): slopes(found["context"], found["conv2"]) != 0,
        ("logits", "attention"): slopes(found["attention"], found["logits"]),
    }
    for (start, end), needed in joined.items():
        for n, wires in enumerate(said["sources"][end]):
            for place, (stage, m, crossed) in enumerate(wires):
                assert stage == start
                slope = needed[origin[end][n], origin[start][m]]
                if start == "logits":  # its own logit comes first and pulls, its rivals push
                    slope = slope > 0 if place == 0 else slope < 0
                assert crossed == (not slope), (start, m, end, n)
    for wires in said["sources"]["output"]:
        for (weight, n, _), (feature, m, crossed) in zip(wires[::2], wires[1::2], strict=True):
            assert (weight, feature) == ("attention", "conv2")
            assert m == n  # the module multiplies place by place
            assert crossed == (origin["conv2"][m] != origin["attention"][n])
    if mistake == "none" or min(radix, cardinality) == 1:
        assert not any(crossed for end in said["sources"].values() for wires in end for *_, crossed in wires)
