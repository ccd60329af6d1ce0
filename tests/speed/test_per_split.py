"""The fast bottleneck is the reference, executed otherwise."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import resnest_edu
from resnest_edu import Bottleneck, rectify, to_cardinality_major
from resnest_edu.speed import PerSplitBottleneck, accelerate, restore
from resnest_edu.speed.per_split import _average_by_convolution, weighted_sum
from resnest_edu.speed.timing import Timing
from resnest_edu.split_attention import RadixMajorSplitAttention, record_attention
from tests.differentiate import differentiate
from tests.pairwise import pairwise
from tests.randomize import randomize, randomize_norms


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def assert_equal_states(one: nn.Module, other: nn.Module) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert list(left) == list(right)
    for name in left:
        torch.testing.assert_close(
            left[name], right[name], rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
        )


NAMES = ("radix", "cardinality", "pool_first", "stride", "training")
OPTIONS = [
    dict(zip(NAMES, row, strict=True)) for row in pairwise((1, 2, 3), (1, 2), (False, True), (1, 2), (False, True))
]
OPTIONS += [{"dilation": 2, "always_pool": True, "training": training} for training in (False, True)]


@pytest.mark.parametrize("options", OPTIONS)
def test_output_gradients_and_statistics_are_the_references(options):
    training = options.pop("training")
    reference = randomize(Bottleneck(24, 48, **options)).double().train(training)
    fast = accelerate(copy.deepcopy(reference))
    assert type(fast) is (PerSplitBottleneck if options.get("radix") != 1 else Bottleneck)
    x = torch.randn(3, 24, 7, 6, dtype=torch.float64)
    output, input_gradient, gradients = differentiate(reference, x)
    fast_output, fast_input_gradient, fast_gradients = differentiate(fast, x)
    close(fast_output, output)
    close(fast_input_gradient, input_gradient)
    assert_equal_states(fast_gradients, gradients)
    assert_equal_states(fast, reference)  # running statistics and the number of batches too
    with torch.no_grad():  # in evaluation the norms go into the weights
        close(fast(x), reference(x))


@pytest.mark.parametrize("name", ["resnest11_small", pytest.param("resnest14", marks=pytest.mark.slow)])
def test_a_network_trains_as_the_reference_does(name):
    torch.manual_seed(0)
    reference = randomize_norms(resnest_edu.create_model(name, 5)).double()
    fast = accelerate(copy.deepcopy(reference))
    images, targets = torch.randn(8, 3, 64, 64, dtype=torch.float64), torch.arange(8) % 5
    for model in (reference, fast):
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), targets).backward()
            optimizer.step()
    assert_equal_states(fast, reference)
    reference.load_state_dict(fast.state_dict())
    fast.load_state_dict(reference.state_dict())
    with torch.no_grad():
        close(fast.eval()(images), reference.eval()(images))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_lower_precision(training, dtype):
    torch.manual_seed(0)
    reference = randomize_norms(resnest_edu.resnest14(5)).train(training)
    fast = accelerate(copy.deepcopy(reference))
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        expected, found = reference(x), fast(x)
    assert found.dtype == expected.dtype
    assert (found - expected).norm() < (1e-5 if dtype == torch.float32 else 0.05) * expected.norm()


def test_weights_in_float32_for_splits_in_bfloat16(monkeypatch):
    """As CUDA's autocast makes them, whose softmax returns float32."""
    torch.manual_seed(0)
    model = accelerate(randomize_norms(resnest_edu.resnest14(5)).bfloat16().eval())
    x = torch.randn(2, 3, 64, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = model(x)
        attention = RadixMajorSplitAttention.attention
        monkeypatch.setattr(RadixMajorSplitAttention, "attention", lambda self, splits: attention(self, splits).float())
        assert torch.equal(model(x), expected)


def test_a_whole_model_in_bfloat16():
    torch.manual_seed(0)
    reference = randomize_norms(resnest_edu.resnest14(5)).bfloat16().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        expected, found = reference(x), accelerate(reference)(x)
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() < 0.05 * expected.norm()


class Louder(Bottleneck):
    def branch(self, x: Tensor) -> Tensor:
        return 2 * super().branch(x)


class Doubtful(RadixMajorSplitAttention):
    def attention(self, splits: Tensor) -> Tensor:
        return super().attention(splits) / 2


def replace_convolution(name: str, **options) -> Callable[[Bottleneck], None]:
    def replace(block: Bottleneck) -> None:
        holder, _, last = name.rpartition(".")
        old = block.get_submodule(name)
        sizes = {"kernel_size": old.kernel_size, "padding": old.padding, "groups": old.groups, "bias": False}
        setattr(block.get_submodule(holder), last, nn.Conv2d(old.in_channels, old.out_channels, **sizes | options))

    return replace


def replace_method(module: nn.Module, name: str) -> None:
    method = getattr(module, name)
    setattr(module, name, lambda *given: 2 * method(*given))


CHANGES = {
    "rectified": rectify,
    "synchronised": lambda block: setattr(block, "bn1", nn.SyncBatchNorm(48)),
    "cumulative average": lambda block: setattr(block.bn3, "momentum", None),
    "no scale": lambda block: setattr(block, "bn1", nn.BatchNorm2d(48, affine=False)),
    "batch statistics": lambda block: setattr(block, "bn3", nn.BatchNorm2d(96, track_running_stats=False)),
    "statistics stay": lambda block: setattr(block.bn1, "track_running_stats", False),
    "bias": replace_convolution("conv1", bias=True),
    "wider": replace_convolution("conv3", kernel_size=3, padding=1),
    "reflection": replace_convolution("conv2.conv", padding_mode="reflect"),
    "other groups": replace_convolution("conv2.conv", groups=1),
    "other attention": lambda block: setattr(block, "conv2", Doubtful(48, 48)),
    "another norm": lambda block: setattr(block, "bn3", nn.GroupNorm(4, 96)),
    "dropblock": lambda block: setattr(block, "dropblock", nn.Dropout2d(0.5)),
    "pruned": lambda block: prune.l1_unstructured(block.conv3, "weight", 0.5),
    "pruned structure": lambda block: prune.ln_structured(block.conv2.conv, "weight", 0.5, n=2, dim=0),
    "spectral norm": lambda block: nn.utils.parametrizations.spectral_norm(block.conv1),
    "older spectral norm": lambda block: nn.utils.spectral_norm(block.conv2.conv),
    "weight norm": lambda block: nn.utils.parametrizations.weight_norm(block.conv3),
    "method of the attention": lambda block: replace_method(block.conv2, "attention"),
    "method of the block": lambda block: replace_method(block, "branch"),
    "forward of a layer": lambda block: replace_method(block.bn3, "forward"),
    "inside of a convolution": lambda block: replace_method(block.conv3, "_conv_forward"),
}


def step(model: nn.Module, x: Tensor) -> Tensor:
    """Forward and backward, with the same draws for everyone."""
    torch.manual_seed(1)
    model.zero_grad()
    out = model(x)
    if out.requires_grad:
        out.square().sum().backward()
    return out.detach()


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_it_does_not_know_runs_as_the_reference(change, when):
    """Whatever has been changed before the block is accelerated, or between two calls."""
    mode = change != "synchronised"  # which refuses to train on a CPU
    reference, fast = (randomize(Bottleneck(24, 24, base_width=128)).train(mode) for _ in range(2))
    fast.load_state_dict(reference.state_dict())
    x = torch.randn(3, 24, 6, 6)
    if when == "after":
        step(accelerate(fast), x)
        assert type(fast) is PerSplitBottleneck
        fast.load_state_dict(reference.state_dict())
    for block in (reference, fast):
        torch.manual_seed(0)
        CHANGES[change](block)
    accelerate(fast)
    assert type(fast) is (Bottleneck if when == "before" else PerSplitBottleneck)
    for training in (mode, False):
        assert torch.equal(step(fast.train(training), x), step(reference.train(training), x))
    for (name, one), (_, other) in zip(fast.named_parameters(), reference.named_parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad), name
    assert_equal_states(fast, reference)
    assert type(restore(fast)) is Bottleneck


@pytest.mark.parametrize("kind", [Louder, lambda *sizes: to_cardinality_major(Bottleneck(*sizes, cardinality=2))])
def test_other_blocks_stay_as_they_are(kind):
    block = kind(24, 48)
    kinds = [type(part) for part in block.modules()]
    assert [type(part) for part in accelerate(block).modules()] == kinds
    assert [type(part) for part in restore(block).modules()] == kinds
    block = Bottleneck(24, 48)
    replace_method(block, "forward")
    assert type(accelerate(block)) is Bottleneck


LISTEN = {
    "forward": lambda layer, note: layer.register_forward_hook(note),
    "before": lambda layer, note: layer.register_forward_pre_hook(note),
    "backward": lambda layer, note: layer.register_full_backward_hook(note),
    "before backward": lambda layer, note: layer.register_full_backward_pre_hook(note),
}


@pytest.mark.parametrize("kind", LISTEN)
def test_hooks_on_every_layer_are_called_as_in_the_reference(kind):
    x = torch.randn(2, 24, 6, 6, requires_grad=True)
    for name, _ in Bottleneck(24, 48, stride=2).named_modules():
        heard = []
        for fast in (False, True):
            block = randomize(Bottleneck(24, 48, stride=2))
            if fast:
                step(accelerate(block), x)
            calls = []
            hook = LISTEN[kind](block.get_submodule(name), lambda *given, calls=calls: calls.append(len(given)))
            step(block, x)
            heard.append(list(calls))
            hook.remove()
            step(block, x)
            assert calls == heard[-1]
        assert heard[0] == heard[1] and heard[0], name


def test_hooks_on_all_modules_are_called_as_in_the_reference():
    calls = []
    reference = Bottleneck(24, 48)
    fast = accelerate(copy.deepcopy(reference))
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: calls.append(module))
    try:
        reference(torch.randn(2, 24, 6, 6))
        expected = len(calls)
        fast(torch.randn(2, 24, 6, 6))
    finally:
        hook.remove()
    assert len(calls) == 2 * expected


def test_grad_cam_sees_what_it_sees_in_the_reference():
    torch.manual_seed(0)
    reference = randomize_norms(resnest_edu.create_model("resnest11_small", 5)).eval()
    fast = accelerate(copy.deepcopy(reference))
    x, maps = torch.randn(1, 3, 32, 32), []
    for model in (reference, fast):
        seen = {}
        layer = [block for block in model.modules() if isinstance(block, Bottleneck)][-1].conv3
        layer.register_forward_hook(lambda _, __, out, seen=seen: seen.update(features=out))
        layer.register_full_backward_hook(lambda _, __, gradients, seen=seen: seen.update(gradient=gradients[0]))
        model(x)[0, 2].backward()
        maps.append((seen["gradient"].mean((2, 3), keepdim=True) * seen["features"]).sum(1).relu())
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_dropblock_runs_as_the_reference_only_while_it_drops(training, monkeypatch):
    called = []
    monkeypatch.setattr(
        "resnest_edu.speed.per_split.weighted_sum", lambda *given: called.append(1) or weighted_sum(*given)
    )
    reference = randomize(Bottleneck(24, 48, dropblock=0.2))
    fast = accelerate(copy.deepcopy(reference))
    x = torch.randn(3, 24, 6, 6)
    torch.testing.assert_close(step(fast.train(training), x), step(reference.train(training), x), rtol=1e-4, atol=1e-4)
    assert bool(called) != training


def test_converting_an_accelerated_network():
    torch.manual_seed(0)
    fast = accelerate(randomize_norms(resnest_edu.resnest14(5)).double().eval())
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        close(to_cardinality_major(fast)(x), fast(x))


def test_attention_is_recorded_as_before():
    torch.manual_seed(0)
    model = randomize_norms(resnest_edu.resnest14(5)).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = record_attention(model, x)
    found = record_attention(accelerate(model), x)
    assert list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_restore_undoes_it():
    model = resnest_edu.resnest14(5)
    kinds = {name: type(part) for name, part in model.named_modules()}
    assert accelerate(model) is model
    assert {name: type(part) for name, part in model.named_modules()} != kinds
    assert restore(model) is model
    assert {name: type(part) for name, part in model.named_modules()} == kinds


@pytest.mark.parametrize("training", [False, True])
def test_blocks_are_chosen_by_measurement(training, monkeypatch):
    """With a clock on which the third stage's reference is the faster form, and the others' is not."""
    model = randomize_norms(resnest_edu.resnest14(5)).train(training)
    before = copy.deepcopy(model.state_dict())
    seen = []

    def timings(calls, device, **options):
        for name, call in calls.items():
            assert call.args[0].__name__ == name
            call()
        seen.extend((name, call.args[2].shape, call.args[1].training) for name, call in calls.items())
        slower = "PerSplitBottleneck" if call.args[2].shape[1] == 512 else "Bottleneck"
        return {name: Timing(float(name == slower), 0, 1, 5) for name in calls}

    monkeypatch.setattr("resnest_edu.speed.per_split.interleave", timings)
    accelerate(model, torch.randn(2, 3, 64, 64))
    fast = [isinstance(model.get_submodule(f"layer{i}")[0], PerSplitBottleneck) for i in (1, 2, 3, 4)]
    assert fast == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {shape for _, shape, _ in seen} == {(2, 64, 16, 16), (2, 256, 16, 16), (2, 512, 8, 8), (2, 1024, 4, 4)}
    assert {mode for *_, mode in seen} == {training}


@pytest.mark.parametrize("training", [False, True])
def test_measuring_changes_nothing_but_the_execution(training):
    model = randomize_norms(resnest_edu.create_model("resnest11_small", 5)).train(training)
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    accelerate(model, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training == training and not images.requires_grad


@pytest.mark.slow
def test_it_compiles_and_exports():
    torch.compiler.reset()
    model = accelerate(randomize_norms(resnest_edu.create_model("resnest11_small", 5)))
    x = torch.randn(4, 3, 32, 32)
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).sum().backward()
    model.eval()
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x[:3]), model(x[:3]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_pool_as_a_convolution(stride):
    pool = Bottleneck(24, 48, stride=stride, always_pool=True).pool
    x = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    close(_average_by_convolution(pool, x), pool(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_in_half_precision():
    torch.manual_seed(0)
    reference = randomize_norms(resnest_edu.resnest14(5)).cuda().to(memory_format=torch.channels_last)
    fast = accelerate(copy.deepcopy(reference))
    x = torch.randn(8, 3, 96, 96, device="cuda").to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        for mode in (True, False):
            expected, found = reference.train(mode)(x), fast.train(mode)(x)
            assert (found - expected).norm() < 0.05 * expected.norm()
            found.sum().backward()


def test_nothing_to_accelerate():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    assert accelerate(model) is model and accelerate(model, torch.randn(1, 3, 2, 2)) is model
