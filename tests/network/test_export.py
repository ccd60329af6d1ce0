"""A network leaves Python, and computes the same outside: on crops of a real photograph, for any batch size."""

import os
import shutil
import warnings
from pathlib import Path

import matplotlib.cbook
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from resnest_edu import ResNeSt, Variant, create_model, rectify, to_cardinality_major
from tests.randomize import randomize_norms

SMALL = Variant((1, 1), planes=(16, 32), stem_width=16)
BATCH = torch.export.Dim("batch")


def photographs(count: int, size: int = 64) -> Tensor:
    """Crops of the photograph that comes with Matplotlib, prepared as the published weights want it."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        image = Image.open(file).convert("RGB")
    prepare = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.1, 1)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    torch.manual_seed(0)
    return torch.stack([prepare(image) for _ in range(count)])


def network(variant: Variant = Variant((1, 1, 1, 1)), **options: object) -> nn.Module:  # noqa: B008
    """ResNeSt-14 unless told otherwise."""
    torch.manual_seed(0)
    return randomize_norms(ResNeSt(variant, 10, **options)).eval()


@torch.no_grad()
def assert_same_logits(found: Tensor, model: nn.Module, x: Tensor) -> None:
    expected = model(x)
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    differences = expected - expected.mean(dim=0)  # between the images, whose logits have much in common
    assert (found - expected).norm() <= 1e-3 * differences.norm()


FAST = {"blocks": (1, 1, 1, 1), "pool_first": True}
KINDS = {
    "radix 2": lambda: network(),
    "cardinality 4, radix 1": lambda: network(Variant(**FAST, radix=1, cardinality=4, base_width=24)),
    "cardinality 2, radix 4": lambda: network(Variant(**FAST, radix=4, cardinality=2, base_width=40)),
    "dilated": lambda: network(output_stride=8),
    "rectified": lambda: rectify(network()),
    "cardinality-major": lambda: to_cardinality_major(network()),
    "regularized": lambda: network(dropout=0.2, dropblock=0.1, stochastic_depth=0.1),
}


# Every way out of Python is tried with the network as it is published; with the others before a release.
in_every_kind = pytest.mark.parametrize(
    "kind", [kind if kind == "radix 2" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)


@in_every_kind
def test_torch_export_with_any_batch(kind):
    model = KINDS[kind]()
    program = torch.export.export(model, (photographs(2),), dynamic_shapes=({0: BATCH},))
    x = photographs(5)
    assert_same_logits(program.module()(x), model, x)


def test_torch_export_with_any_size():
    model = network(SMALL)
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(model, (photographs(2),), dynamic_shapes=({0: free, 2: free, 3: free},))
    x = photographs(3, 97)[..., :80]
    assert_same_logits(program.module()(x), model, x)


@pytest.mark.slow
def test_an_exported_program_is_saved_and_loaded(tmp_path):
    model = network()
    torch.export.save(torch.export.export(model, (photographs(2),)), tmp_path / "model.pt2")
    x = photographs(2)
    assert_same_logits(torch.export.load(tmp_path / "model.pt2").module()(x), model, x)


def onnx_logits(path: Path, x: Tensor, shape: tuple[object, ...] = ("batch", 3, 64, 64)) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()
    assert argument.shape == [*shape]
    return torch.from_numpy(session.run(None, {argument.name: x.numpy()})[0])


@in_every_kind
def test_onnx_runtime_with_any_batch(kind, tmp_path):
    model = KINDS[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own future
        program = torch.onnx.export(model, (photographs(2),), dynamo=True, dynamic_shapes=({0: BATCH},), verbose=False)
    program.save(tmp_path / "model.onnx")
    for count in (2, 5):
        x = photographs(count)
        assert_same_logits(onnx_logits(tmp_path / "model.onnx", x), model, x)


def test_onnx_runtime_with_any_size(tmp_path):
    model, free = network(SMALL), {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(model, (photographs(2),), dynamo=True, dynamic_shapes=(free,), verbose=False)
    program.save(tmp_path / "model.onnx")
    x = photographs(3, 97)[..., :80]
    assert_same_logits(onnx_logits(tmp_path / "model.onnx", x, ("batch", 3, "height", "width")), model, x)


@in_every_kind
def test_torchscript_trace_with_any_batch(kind):
    model = KINDS[kind]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("error", category=torch.jit.TracerWarning)  # a shape that was frozen
        traced = torch.jit.trace(model, photographs(2))
    x = photographs(5)
    assert_same_logits(traced(x), model, x)


@in_every_kind
def test_compile_without_a_graph_break(kind):
    torch.compiler.reset()
    model = KINDS[kind]()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = photographs(2)
    with torch.no_grad():
        assert_same_logits(compiled(x), model, x)


@pytest.mark.slow
def test_compile_in_training_without_a_graph_break():
    torch.compiler.reset()
    model = network(SMALL, dropblock=0.1, stochastic_depth=0.1, dropout=0.1).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(photographs(4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="the default backend needs a C++ compiler")
def test_compile_with_the_default_backend():
    torch.compiler.reset()
    model = network(SMALL)
    x = photographs(2)
    with torch.no_grad():
        assert_same_logits(torch.compile(model, fullgraph=True)(x), model, x)


@pytest.mark.slow
def test_stages_by_name_are_exported_too():
    model = randomize_norms(create_model("resnest14", features_only=True)).eval()
    program = torch.export.export(model, (photographs(2),), dynamic_shapes=({0: BATCH},))
    x = photographs(3)
    found, expected = program.module()(x), model(x)
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
