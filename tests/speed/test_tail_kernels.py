"""The kernels of the attention tail against the same in plain PyTorch, in float64.

With CUDA they run as they are. Elsewhere Triton's interpreter runs them, which has to be asked for before the first
import: the kernels' tests are skipped in the first process, and run in one of their own.
"""

import copy
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import resnest_edu
from resnest_edu.speed import accelerate, attend, kernels_apply, pool_splits, tail_kernels, weigh_splits
from resnest_edu.speed import triton_programs as programs
from tests.differentiate import differentiate
from tests.pairwise import pairwise
from tests.randomize import randomize_norms

ROOT = Path(__file__).parents[2]
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
KERNELS = programs is not None and (CUDA or programs.INTERPRETED)

# What is skipped here runs in a process of its own, if there is Triton.
NO_KERNELS = "no Triton" if programs is None else "they run in Triton's interpreter, in a process of its own"
with_kernels = pytest.mark.skipif(not KERNELS, reason=NO_KERNELS)
in_both = pytest.mark.parametrize(
    "with_kernels", [pytest.param(False, id="plain"), pytest.param(True, marks=with_kernels, id="kernels")]
)
# A GPU rounds to the nearest number, the interpreter cuts off.
BFLOAT16_ROUNDING = 2**-8 if CUDA else 2**-7


def run(*command: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, text=True, capture_output=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


ASKED = "TRITON_INTERPRET" in os.environ  # a process that was started for them starts no other, though they be skipped


@pytest.mark.skipif(KERNELS or ASKED or programs is None, reason="the kernels run here")
@pytest.mark.parametrize("tier", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_kernels_in_the_interpreter(tier):
    needs_kernels = "not plain and not without_triton"
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", tier, "-k", needs_kernels, __file__]
    output = run(*command, TRITON_INTERPRET="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # nbval alone imports for seconds
    # In the first tier this test, the one without kernels, and the one for large tensors; in the second this one.
    assert f", {3 if tier == 'not slow' else 1} skipped" in output, output


def test_without_triton():
    run(
        "-c",
        "import sys, torch\n"
        "sys.modules['triton'] = None\n"
        "from resnest_edu.speed import attend, kernels_apply\n"
        "splits = [torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)]\n"
        "assert not kernels_apply([split.to(memory_format=torch.channels_last) for split in splits])\n"
        "assert attend(splits, lambda s: torch.stack([s, s], dim=1)).eq(1).all()\n",
        TRITON_INTERPRET="1",
    )


@pytest.fixture(params=["as it comes", "many strips", "one strip"])
def cut(request, monkeypatch):
    """Small tiles make small maps have many, and last ones that are not full."""
    if request.param != "as it comes":
        monkeypatch.setattr(programs, "TILE", 256)
        monkeypatch.setattr(programs, "WIDEST", 32)
        monkeypatch.setattr(programs, "SHORTEST", 16)
        monkeypatch.setattr(programs, "PROGRAMS", 12 if request.param == "many strips" else 1)


def made(radix: int, batch: int, channels: int, height: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(radix + channels)
    size = radix, batch, channels, height, width
    splits = torch.randn(size, generator=generator).add(0.5).to(DEVICE, dtype)
    return [split.contiguous(memory_format=torch.channels_last).requires_grad_() for split in splits]


def numbers(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size))).to(DEVICE, dtype)


def doubled(splits: list[Tensor]) -> list[Tensor]:
    return [split.detach().double().requires_grad_() for split in splits]


def plain_pool(splits: list[Tensor]) -> Tensor:
    return torch.stack(splits).sum(dim=0).mean(dim=(2, 3))


def plain_sum(splits: list[Tensor], weights: Tensor) -> Tensor:
    return torch.einsum("rbchw,brc->bchw", torch.stack(splits), weights)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()


def all_close(found: Iterable[Tensor], expected: Iterable[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        close(one, other, tolerance)


SIZES = [(2, 1, 7, 5), (3, 3, 5, 7), (1, 32, 9, 5), (2, 64, 7, 7), (2, 65, 5, 5), (1, 96, 3, 7), (2, 32, 1, 1)]


def thinned(radices: list[int], sizes: list[tuple[int, ...]], cuts: list[str]) -> pytest.MarkDecorator:
    """All pairs; in the first tier one radix that is a power of two and one that is not."""
    rows = pairwise(radices, sizes, cuts)
    rows = [pytest.param(*row, marks=[pytest.mark.slow] if row[0] in (1, 4) else []) for row in rows]
    return pytest.mark.parametrize(("radix", "size", "cut"), rows, indirect=["cut"])


@with_kernels
@thinned([1, 2, 3, 4], SIZES, ["many strips", "one strip"])
def test_results_and_gradients_in_float32(radix, size, cut):
    splits = made(radix, *size, torch.float32)
    assert kernels_apply(splits)
    exact = doubled(splits)
    batch, channels = size[:2]
    upstream = numbers(batch, channels)
    context, expected = pool_splits(splits), plain_pool(exact)
    close(context, expected)
    gradients = torch.autograd.grad((context * upstream).sum(), splits)
    all_close(gradients, torch.autograd.grad((expected * upstream).sum(), exact))

    weights = numbers(batch, radix, channels).requires_grad_()
    exact_weights = weights.detach().double().requires_grad_()
    upstream = numbers(*size)
    out, expected = weigh_splits(splits, weights), plain_sum(exact, exact_weights)
    close(out, expected)
    gradients = torch.autograd.grad((out * upstream).sum(), [weights, *splits])
    wanted = torch.autograd.grad((expected * upstream).sum(), [exact_weights, *exact])
    all_close(gradients, wanted)
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (out, *gradients[1:]))


@with_kernels
@thinned([1, 2, 3, 4], [(3, 3, 5, 7), (2, 65, 5, 5), (2, 32, 1, 1)], ["as it comes", "many strips", "one strip"])
def test_the_whole_tail_in_float32(radix, size, cut):
    splits = made(radix, *size, torch.float32)
    exact = doubled(splits)
    layer = numbers(size[1], radix * size[1]) / size[1] ** 0.5
    layer.requires_grad_()
    exact_layer = layer.detach().double().requires_grad_()
    upstream = numbers(*size)

    def attention(context: Tensor, layer: Tensor) -> Tensor:
        return (context @ layer).unflatten(1, (radix, -1)).sigmoid()

    out = attend(splits, lambda context: attention(context, layer))
    expected = plain_sum(exact, attention(plain_pool(exact), exact_layer))
    close(out, expected)
    gradients = torch.autograd.grad((out * upstream).sum(), [layer, *splits])
    wanted = torch.autograd.grad((expected * upstream).sum(), [exact_layer, *exact])
    all_close(gradients, wanted)
    with torch.no_grad():
        assert torch.equal(attend(splits, lambda context: attention(context, layer)), out)


@with_kernels
@pytest.mark.parametrize(
    ("dtype", "weights_dtype", "size"),
    [
        *pairwise([torch.bfloat16, torch.float16], [torch.float32, None], [(3, 3, 5, 7), (1, 96, 3, 7)]),
        pytest.param(torch.bfloat16, None, (2, 65, 15, 17), marks=pytest.mark.slow),
        pytest.param(torch.float16, torch.float32, (2, 65, 15, 17), marks=pytest.mark.slow),
    ],
)
def test_lower_precision_is_rounded_once(dtype, weights_dtype, size):
    """Each result is the exact one in its own dtype: what is between is float32."""
    rounding = BFLOAT16_ROUNDING if dtype == torch.bfloat16 else 2**-11
    radix, weights_dtype = 3, weights_dtype or dtype
    splits = made(radix, *size, dtype)
    exact = doubled(splits)
    context = pool_splits(splits)
    assert context.dtype == dtype
    torch.testing.assert_close(context.double(), plain_pool(exact), rtol=rounding, atol=1e-5)
    weights = numbers(size[0], radix, size[1], dtype=weights_dtype).requires_grad_()
    exact_weights = weights.detach().double().requires_grad_()
    upstream = numbers(*size, dtype=dtype)
    out, expected = weigh_splits(splits, weights), plain_sum(exact, exact_weights)
    gradients = torch.autograd.grad(out, [weights, *splits], upstream)
    wanted = torch.autograd.grad(expected, [exact_weights, *exact], upstream.double())
    precisions = [dtype, weights_dtype, *[dtype] * radix]
    for one, other, precision in zip((out, *gradients), (expected, *wanted), precisions, strict=True):
        assert one.dtype == precision
        tolerance = 1e-5 if precision == torch.float32 else rounding
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=1e-5 * float(other.detach().abs().max()))

    if weights_dtype == torch.float32:  # with weights that ask for no context, ∂u is as exact
        gradients = torch.autograd.grad(attend(splits, lambda context: weights), splits, upstream)
        for one, other in zip(gradients, wanted[1:], strict=True):
            torch.testing.assert_close(one.double(), other, rtol=rounding, atol=1e-5)

    def shifted(context: Tensor) -> Tensor:  # ∂s is rounded too
        return weights.detach() + context[:, None] * 0.5

    gradients = torch.autograd.grad(attend(splits, shifted), splits, upstream)
    exact_sum = plain_sum(exact, exact_weights + plain_pool(exact)[:, None] * 0.5)
    for one, other in zip(gradients, torch.autograd.grad(exact_sum, exact, upstream.double()), strict=True):
        assert one.dtype == dtype
        close(one, other, 4 * rounding)


@with_kernels
def test_memory_as_autograd_and_einops_leave_it():
    """Weights and gradients that are views: repeated, transposed, in the other memory format."""
    splits = made(2, 2, 6, 5, 3, torch.float32)
    exact = doubled(splits)
    weights = numbers(2, 6, 2).transpose(1, 2).requires_grad_()
    for upstream in (
        torch.ones((), device=DEVICE).expand(2, 6, 5, 3),
        numbers(2, 6, 5, 3),
        numbers(3, 5, 6, 2).permute(3, 2, 1, 0),
    ):
        leaf = weights.detach().double().requires_grad_()
        out, expected = weigh_splits(splits, weights), plain_sum(exact, leaf)
        close(out, expected)
        found = torch.autograd.grad(out, [weights, *splits], upstream)
        all_close(found, torch.autograd.grad(expected, [leaf, *exact], upstream.double()))

        def attention(context: Tensor, weights: Tensor = weights) -> Tensor:
            return weights.to(context.dtype) * context.flip(1)[:, None]

        found = torch.autograd.grad(attend(splits, attention), [weights, *splits], upstream)
        expected = plain_sum(exact, attention(plain_pool(exact), leaf))
        all_close(found, torch.autograd.grad(expected, [leaf, *exact], upstream.double()))


class Traffic(TorchDispatchMode):
    """The operators that touch a tensor of at least ``size`` numbers in memory of their own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.operators = size, []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        out = operator(*args, **(kwargs or {}))
        tensors = [leaf for leaf in torch.utils._pytree.tree_leaves((args, out)) if isinstance(leaf, Tensor)]
        large = [tensor for tensor in tensors if tensor.numel() >= self.size and 0 not in tensor.stride()]
        name = str(operator).split(".")[1]
        if large and not operator.is_view and name != "new_empty":
            self.operators.append(name)
        return out


@with_kernels
def test_every_tensor_is_read_and_written_no_more_than_counted():
    splits = made(2, 2, 3, 5, 5, torch.float32)
    with Traffic(splits[0].numel()) as traffic:
        out = attend(splits, lambda context: context[:, None].expand(-1, 2, -1).sigmoid())
    assert traffic.operators == ["pool_splits", "weigh_splits"]
    upstream = torch.ones_like(out)
    with Traffic(splits[0].numel()) as traffic:
        torch.autograd.grad(out, splits, upstream)
    assert traffic.operators == ["gradient_of_weights", "gradient_of_splits"]
    context = pool_splits(splits)
    with Traffic(splits[0].numel()) as traffic:
        torch.autograd.grad(context.sum(), splits)
    assert not traffic.operators


@with_kernels
def test_the_rule():
    def last(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(size, device=DEVICE, dtype=dtype).to(memory_format=torch.channels_last)

    x = last(2, 8, 5, 6)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert kernels_apply([last(2, 8, 5, 6, dtype=dtype)])
    assert kernels_apply([x] * 4) and not kernels_apply([x] * 5)
    assert kernels_apply([x[1:], x[:1]]) and kernels_apply([torch.zeros(2, 8, 1, 1, device=DEVICE)])
    for other in (
        last(2, 8, 5, 6, dtype=torch.float64),
        last(0, 8, 5, 6),
        torch.zeros(2, 8, 5, 6, device=DEVICE),
        x[:, :4],
        x[:, :, 1:],
        x[:, :, :, 1:],
        torch.zeros(2, 8, 5, device=DEVICE),
        torch.empty(2, 8, 5, 6, device="meta").to(memory_format=torch.channels_last) if CUDA else x[:, ::2],
    ):
        assert not kernels_apply([other])
    for other in (x[:1], x.bfloat16(), x.contiguous()):
        assert not kernels_apply([x, other]) and not kernels_apply([other, x])


@pytest.mark.skipif(KERNELS, reason="the kernels run here")
def test_no_kernels_on_the_cpu():
    assert not kernels_apply([torch.zeros(2, 8, 5, 6).to(memory_format=torch.channels_last)])


@pytest.mark.skipif(programs is None, reason="no Triton")
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 64, 56, 56), (64, 32, 13, 8, 1)),
        ((128, 512, 7, 7), (128, 16, 4, 1, 4)),
        ((1, 96, 28, 28), (128, 16, 4, 13, 1)),
        ((2, 3, 5, 5), (4, 512, 1, 1, 1)),
        ((1, 1, 1, 1), (1, 2048, 1, 1, 1)),
    ],
)
def test_the_cut(shape, expected):
    assert programs.plan(shape) == expected


@pytest.mark.parametrize("radix", [1, 2, 5])
def test_plain_pytorch(radix):
    """float64, which the kernels leave alone."""
    splits = made(radix, 2, 3, 3, 4, torch.float64)
    assert not kernels_apply(splits)
    weights = numbers(2, radix, 3, dtype=torch.float64).requires_grad_()
    close(pool_splits(splits), plain_pool(splits), 1e-12)
    close(weigh_splits(splits, weights), plain_sum(splits, weights), 1e-12)

    def attention(context: Tensor) -> Tensor:
        return weights * context[:, None].tanh()

    close(attend(splits, attention), plain_sum(splits, attention(plain_pool(splits))), 1e-12)
    torch.autograd.gradcheck(lambda *splits: pool_splits(list(splits)), splits)
    torch.autograd.gradcheck(lambda weights, *splits: weigh_splits(list(splits), weights), (weights, *splits))
    torch.autograd.gradcheck(lambda *splits: attend(list(splits), attention), splits)


def test_plain_pytorch_keeps_the_dtype():
    splits = [torch.randn(2, 3, 4, 4, device=DEVICE).bfloat16() for _ in range(2)]
    assert pool_splits(splits).dtype == weigh_splits(splits, numbers(2, 2, 3)).dtype == torch.bfloat16


@in_both
def test_weights_of_another_shape(with_kernels):
    splits = made(2, 2, 3, 5, 4, torch.float32 if with_kernels else torch.float64)
    assert kernels_apply(splits) == with_kernels
    message = r"weights \(of shape \(2, 3, 2\)\) must have the shape \(B, R, C\) \(=\(2, 2, 3\)\)"
    with pytest.raises(ValueError, match=message):
        weigh_splits(splits, numbers(2, 3, 2))
    with pytest.raises(ValueError, match=message):
        attend(splits, lambda context: numbers(2, 3, 2))


@with_kernels
def test_the_operators_are_registered_rightly():
    splits = made(2, 2, 3, 5, 4, torch.float32)
    plain = [split.detach() for split in splits]
    weights = numbers(2, 2, 3)
    torch.library.opcheck(tail_kernels._pool, (splits,))
    torch.library.opcheck(tail_kernels._weigh, (splits, weights.clone().requires_grad_()))
    torch.library.opcheck(tail_kernels._gradient_of_weights, (numbers(2, 3, 5, 4), plain, torch.bfloat16))
    torch.library.opcheck(tail_kernels._gradient_of_splits, (plain[0], weights, None))
    torch.library.opcheck(tail_kernels._gradient_of_splits, (plain[0], weights, numbers(2, 3)))


@with_kernels
@pytest.mark.parametrize("differentiated", ["attend", "weigh_splits"])
def test_second_derivatives_are_refused(differentiated):
    splits = made(2, 2, 3, 5, 4, torch.float32)

    def attention(context: Tensor) -> Tensor:
        return context[:, None].expand(-1, 2, -1).sigmoid()

    if differentiated == "attend":
        out = attend(splits, attention)
    else:
        out = weigh_splits(splits, attention(pool_splits(splits)))
    (gradient, _) = torch.autograd.grad(out.square().sum(), splits, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()


@in_both
def test_it_compiles(with_kernels):
    torch.compiler.reset()
    splits = made(2, 2, 3, 5, 4, torch.float32 if with_kernels else torch.float64)
    assert kernels_apply(splits) == with_kernels
    layer = numbers(3, 6, dtype=splits[0].dtype)

    def attention(context: Tensor) -> Tensor:
        return (context @ layer).unflatten(1, (2, 3)).softmax(dim=1)

    def tail(*splits: Tensor) -> Tensor:
        return attend(list(splits), attention)

    def halves(*splits: Tensor) -> Tensor:
        return weigh_splits(list(splits), attention(pool_splits(list(splits))))

    for function in (tail, halves):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        out, expected = compiled(*splits), function(*splits)
        close(out, expected.double(), 1e-6)
        upstream = numbers(2, 3, 5, 4)
        found = torch.autograd.grad((out * upstream).sum(), splits)
        all_close(found, [one.double() for one in torch.autograd.grad((expected * upstream).sum(), splits)], 1e-6)


@with_kernels
@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_accelerated_network_is_the_reference(training):
    torch.manual_seed(0)
    reference = randomize_norms(resnest_edu.create_model("resnest11_small", 5)).train(training).to(DEVICE)
    reference = reference.to(memory_format=torch.channels_last)
    fast = accelerate(copy.deepcopy(reference))
    x = torch.randn(16, 3, 32, 32).to(DEVICE).to(memory_format=torch.channels_last)
    with Traffic(1) as traffic:
        output, input_gradient, gradients = differentiate(fast, x)
    assert {"pool_splits", "weigh_splits", "gradient_of_weights", "gradient_of_splits"} <= set(traffic.operators)
    expected, expected_input_gradient, expected_gradients = differentiate(reference, x)
    vectors = [
        torch.cat([tensor.flatten() for tensor in part.parameters()]) for part in (gradients, expected_gradients)
    ]
    for one, other in ((output, expected), (input_gradient, expected_input_gradient), vectors):
        assert (one - other).norm() < 1e-5 * other.norm()


@with_kernels
def test_what_is_compiled_has_them():
    split = torch.randn(2, 8, 4, 4, device=DEVICE).to(memory_format=torch.channels_last)
    assert torch.compile(kernels_apply, backend="eager")([split])


@with_kernels
def test_what_is_exported_does_without_them():
    torch.manual_seed(0)
    model = accelerate(randomize_norms(resnest_edu.create_model("resnest11_small", 5))).eval().to(DEVICE)
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32).to(DEVICE).to(memory_format=torch.channels_last)
    exported = torch.export.export(model, (x,)).graph
    assert not [node for node in exported.nodes if "resnest_edu" in str(node.target)]
    with torch.no_grad():
        traced = torch.jit.trace(model, x, check_trace=False)
    assert "resnest_edu::" not in str(traced.inlined_graph)


@pytest.mark.skipif(not CUDA, reason="takes 13 GB of a GPU's memory")
def test_more_numbers_than_an_int32_can_count():
    split = torch.zeros(2, 64, 4096, 4224, device="cuda", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    assert split.numel() > 2**31
    split[1, :, -1, -1] = 64
    weights = torch.tensor([2.0, 3.0], device="cuda")[:, None, None].expand(2, 1, 64)
    assert weigh_splits([split], weights)[1, :, -1, -1].eq(192).all()
    context = pool_splits([split]).float() * (4096 * 4224)
    assert context[0].eq(0).all() and context[1].sub(64).abs().max() < 1
    gradient = tail_kernels._gradient_of_weights(split, [split], torch.float32)
    assert gradient[0].eq(0).all() and gradient[1].eq(4096).all()
    (found,) = tail_kernels._gradient_of_splits(split, weights, None)
    assert found[1, :, -1, -1].eq(192).all()
