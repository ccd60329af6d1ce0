"""The segmenter is torchvision's on our backbone: logits as large as the image, the same outside Python."""

import warnings
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.segmentation import DeepLabV3, deeplabv3_resnet50

from resnest_edu import Backbone, Variant, create_model
from resnest_edu.transfer import StageBackbone, create_backbone, create_segmenter
from tests.randomize import randomize, randomize_norms
from tests.refused import assert_refused

SMALL = "resnest11_small"


def segmenter(output_stride: int = 8, **options: object) -> DeepLabV3:
    torch.manual_seed(0)
    options = {"atrous_rates": (1, 2, 3)} | options
    backbone = create_backbone(SMALL, output_stride=output_stride)
    model = create_segmenter(backbone, 4, **options)  # type: ignore[arg-type]
    randomize_norms(model)
    return model.eval()


@pytest.mark.parametrize("size", [(64, 64), (65, 50), (33, 8)])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_the_logits_are_as_large_as_the_image(size: tuple[int, int], output_stride: int) -> None:
    model = segmenter(output_stride)
    x = torch.randn(2, 3, *size)
    for training in (False, True):
        logits = model.train(training)(x)
        assert list(logits) == ["out", "aux"]
        assert all(one.shape == (2, 4, *size) for one in logits.values())
    assert not torch.equal(logits["out"], logits["aux"])


def test_without_the_auxiliary_head() -> None:
    model = segmenter(auxiliary=False)
    assert list(model(torch.randn(2, 3, 32, 32))) == ["out"]
    assert not any(name.startswith("aux") for name in model.state_dict())
    single = StageBackbone(Backbone(Variant((1,), planes=(16,), stem_width=16)))
    model = create_segmenter(single, 2, auxiliary=False)
    assert model(torch.randn(2, 3, 32, 32))["out"].shape == (2, 2, 32, 32)


def test_the_heads_are_those_of_torchvision_by_name_and_shape() -> None:
    with torch.device("meta"):
        ours = create_segmenter(create_backbone("resnest50", output_stride=8), 21)
        theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
        body = create_model("resnest50", features_only=True)

    def shapes(model: nn.Module) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in model.state_dict().items()}

    heads = {name: shape for name, shape in shapes(theirs).items() if not name.startswith("backbone.")}
    stages = {f"backbone.stages.body.{name}": shape for name, shape in shapes(body).items()}
    assert shapes(ours) == heads | stages
    dilations = [module.dilation[0] for module in ours.classifier.modules() if isinstance(module, nn.Conv2d)]
    assert dilations == [module.dilation[0] for module in theirs.classifier.modules() if isinstance(module, nn.Conv2d)]


def atrous_rates(model: DeepLabV3) -> list[int]:
    convolutions = (module for module in model.classifier.modules() if isinstance(module, nn.Conv2d))
    return [module.dilation[0] for module in convolutions if module.dilation != (1, 1)]


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_the_papers_rates_halve_where_the_stride_doubles(output_stride: int, rates: list[int]) -> None:
    assert atrous_rates(segmenter(output_stride, atrous_rates=None)) == rates
    # What matters is the stride the backbone has, not the limit it was given.
    assert atrous_rates(create_segmenter(create_backbone(SMALL), 4)) == [6, 12, 18]
    assert atrous_rates(segmenter(output_stride, atrous_rates=(2, 5))) == [2, 5]


def test_the_heads_read_the_last_two_stages_with_their_pretrained_weights(tmp_path: Path) -> None:
    classifier = randomize(create_model(SMALL, 7)).eval()
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    backbone = create_backbone(SMALL, weights=tmp_path / "weights.pth", output_stride=8)
    model = create_segmenter(backbone, 4).eval()
    plain = create_model(SMALL, features_only=True, output_stride=8).eval()
    state = classifier.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    seen: list[Tensor] = []
    for head in (model.classifier, model.aux_classifier):
        head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 3, 64, 64)
    model(x)
    features = plain(x)
    assert torch.equal(seen[0], features["layer3"])
    assert torch.equal(seen[1], features["layer2"])
    assert features["layer3"].shape[2:] == (8, 8)  # of 4 × 4 without dilation


def test_the_error_says_what_is_wrong() -> None:
    with torch.device("meta"):
        strided = create_backbone("resnest14")
    usual, single = create_backbone(SMALL), StageBackbone(Backbone(Variant((1,), planes=(16,), stem_width=16)))
    classes = r"^num_classes \(={}\) must be an integer of at least 2, the background among them$"
    rates = r"^atrous_rates \(=\({}\)\) must be positive integers, at least one$"
    rows = [
        *[((usual, count, {}), classes.format(count)) for count in (1, True, 2.0)],
        *[((usual, 2, {"atrous_rates": some}), rates.format(words)) for some, words in ATROUS.items()],
        ((strided, 2, {}), r"^backbone's last stride \(=32\) must be at most 16: build .*output_stride=16"),
        ((single, 2, {}), r"^auxiliary \(=True\) must be False for a backbone with a single stage$"),
    ]
    assert_refused(lambda row: create_segmenter(row[0], row[1], **row[2]), rows)


ATROUS = {(): "", (1, 0): "1, 0", (1.5,): "1.5,"}


def assert_same_logits(found: list[Tensor], model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        expected = list(model(x).values())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()
        assert other.std() > 0.01


def test_an_exported_segmenter_computes_the_same_for_any_batch(tmp_path: Path) -> None:
    model = segmenter()
    batch = torch.export.Dim("batch")
    x = torch.randn(2, 3, 65, 50)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own future
        onnx = torch.onnx.export(program, dynamo=True, verbose=False)
    onnx.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()
    for count in (2, 5):
        x = torch.randn(count, 3, 65, 50)
        assert_same_logits(list(program.module()(x).values()), model, x)
        found = [torch.from_numpy(one) for one in session.run(None, {argument.name: x.numpy()})]
        assert_same_logits(found, model, x)
