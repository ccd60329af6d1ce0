"""What the book's page of questions says that code does; its snippets run as they stand there."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, create_autospec

import huggingface_hub
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from resnest_edu import Bottleneck, RadixMajorSplitAttention, create_model, read_header
from resnest_edu.book.web_export import NAME, decode_network, read_script
from resnest_edu.data import ShapesDataset
from resnest_edu.training.augmentation import normalize

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "appendix" / "questions.md").read_text(encoding="utf-8")
SMALL = {"resnest50": "resnest11_small", "layer4": "layer3"}
TRAINED = ROOT / "book" / "_extra" / "explorables" / NAME


def answer(question: str, *changed: tuple[str, str], **given: object) -> SimpleNamespace:
    """What the names mean after the snippet of the answer has run, small, and with what is ``given``."""
    (text,) = re.findall(rf"^### .*{re.escape(question)}.*\n((?:(?!##).*\n)*)", PAGE, re.MULTILINE)
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    for shown, instead in (*changed, *SMALL.items()):
        assert shown in code or shown in SMALL, shown
        code = code.replace(shown, instead)
    names: dict[str, object] = {}
    exec("import torch\nfrom resnest_edu import *", names)
    names |= given
    exec(code, names)
    return SimpleNamespace(**names)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("resnest11_small", num_classes=10)


def test_a_batch_of_one_fails_in_training_in_the_attention_and_not_in_evaluation():
    model = create_model("resnest50", num_classes=10)
    image = torch.rand(1, 3, 64, 64)
    reached: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda module, inputs, name=name: reached.append(name))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        model.train()(image)
    assert reached[-1] == "layer1.0.conv2.bn1"
    assert model.eval()(image).shape == (1, 10)


def test_a_batch_of_two_trains(model):
    model.train()(torch.rand(2, 3, 64, 64)).sum().backward()


@pytest.mark.parametrize("size", [1, 31, 32, 33, 224, 231])
def test_any_input_size(size):
    with torch.device("meta"):
        network = create_model("resnest14").eval()
        last: list[torch.Size] = []
        network.layer4.register_forward_hook(lambda module, inputs, output: last.append(output.shape))
        assert network(torch.empty(1, 3, size, size)).shape == (1, 1000)
    side = -(-size // 32)
    assert last == [(1, 2048, side, side)]


@pytest.mark.parametrize(
    ("channels", "radix", "cardinality", "message"),
    [
        (30, 2, 2, r"in_channels \(=30\) must be divisible by radix \* cardinality \(=4\)"),
        (12, 1, 3, r"attention width \(=32\) must be divisible by cardinality \(=3\)"),
    ],
)
def test_what_must_divide(channels, radix, cardinality, message):
    with pytest.raises(ValueError, match=message):
        RadixMajorSplitAttention(channels, channels, radix=radix, cardinality=cardinality)


def test_a_picture_is_prepared_as_the_published_weights_expect_it(model):
    found = answer(
        "What must the images look like?", ('PUBLISHED["resnest50"]', 'PUBLISHED["resnest" "50"]'), model=model
    )
    assert found.logits.shape == (1, 10)
    pixels = v2.functional.pil_to_tensor(found.image)
    ours = normalize(v2.functional.center_crop(v2.functional.resize(pixels, [256]), [224])[None])
    torch.testing.assert_close(found.prepare(found.image)[None], ours)
    with pytest.raises(RuntimeError):
        model(pixels[None])


def test_a_stem_for_grey_images_answers_as_the_old_one_to_three_equal_channels(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    given = f'in_channels=1, pretrained="{tmp_path / "weights.pth"}"'
    grey = answer("My images have one channel", ("in_channels=1", given)).grey.eval()
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(grey(image), model.eval()(image.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("question", ["in place of a 3×3 convolution", "Can it be exported", "worse than ResNet"])
def test_what_asserts_by_itself_or_has_but_to_run(question, model):
    answer(question, model=model)


def test_weights_are_fetched_fine_tuned_watched_and_shared(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    torch.save(model.state_dict(), "published.pt")
    fetch = Mock(return_value="published.pt")
    loaded = answer("Can I load the published weights?", ('"resnest50")\nload', '"resnest50", 10)\nload'), fetch=fetch)
    assert torch.equal(loaded.model.fc.weight, model.fc.weight)

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            Path(split, name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (40, 36), (80 * i, 200 * (name == "cat"), 9)).save(f"{split}/{name}/{i}.png")
    small = "replace(get_recipe('finetune'), model='resnest50', image_size=32, batch_size=3, epochs=2)"
    changed = ('get_recipe("finetune")', small), ("pretrained=True", "pretrained='published.pt'")
    tuned = answer("How do I fine-tune", *changed, folder=tmp_path, replace=replace)
    assert tuned.classes == ("cat", "dog") and len(tuned.history) == 2
    assert not torch.equal(tuned.model.conv1[0].weight, model.conv1[0].weight)

    board = Mock()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=board))
    answer("in TensorBoard", **vars(tuned))
    written = [call.args for call in board("runs/mine").add_scalar.call_args_list]
    assert [(name, epoch) for name, _, epoch in written if name == "score"] == [("score", 1), ("score", 2)]
    assert all(isinstance(value, float) for _, value, _ in written) and len(written) == 6

    download = create_autospec(huggingface_hub.hf_hub_download, return_value=tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    back = answer("share a network", model=tuned.model)
    assert torch.equal(back.model.fc.weight, tuned.model.fc.weight)
    assert read_header("model.safetensors")["classes"] == ["cat", "dog"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter's own future
def test_eight_bits_are_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = ShapesDataset(256).tensors()
    prepared = normalize(images)
    answer("an 8-bit network", model=decode_network(read_script(TRAINED)), prepared=prepared[:64].split(8))
    assert Path("model.int8.onnx").stat().st_size < 0.5 * Path("model.onnx").stat().st_size
    session = onnxruntime.InferenceSession("model.int8.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": prepared.numpy()})
    assert (logits.argmax(1) == labels.numpy()).mean() > 0.95


def test_grad_cam_of_a_dense_layer_behind_a_mean_is_its_weights():
    model = decode_network(read_script(TRAINED))
    model.fc.bias.data[0] += 100  # for which in most images little speaks
    found = answer("Grad-CAM", model=model, images=normalize(ShapesDataset(8).tensors()[0]))
    weights = model.fc.weight[found.logits.argmax(1)] / found.maps[0, 0].numel()
    expected = torch.einsum("bc,bchw->bhw", weights, found.maps)
    assert expected.min() < 0 < expected.max()
    torch.testing.assert_close(found.cam, expected.relu())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_torch_script_does_not_take_the_pattern(model):
    with pytest.raises(torch.jit.frontend.NotSupportedError, match="keyword-only"):
        torch.jit.script(model)


def test_the_printed_order_is_not_the_order_of_the_calls():
    block = Bottleneck(64, 32, stride=2).eval()
    names = [name for name, _ in block.named_children()]
    assert "bn2" not in names
    assert names.index("pool") > names.index("bn3")
    called: list[str] = []
    for name, module in block.named_children():
        if not isinstance(module, nn.Identity):  # what training may drop, and here does not
            module.register_forward_hook(lambda module, inputs, output, name=name: called.append(name))
    block(torch.rand(2, 64, 8, 8))
    assert called == ["conv1", "bn1", "conv2", "pool", "conv3", "bn3", "downsample"]


def test_one_call_synchronises_every_batch_norm(model):
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted.layer1[0].conv2.bn1, nn.SyncBatchNorm)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == norms
