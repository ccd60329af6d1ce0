"""What the book's page of questions says that code does."""

import pytest
import torch
from torch import nn

from resnest_edu import Bottleneck, RadixMajorSplitAttention, create_model


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


def test_the_exported_program_computes_the_same(model):
    images = torch.rand(2, 3, 32, 32)
    exported = torch.export.export(model.eval(), (images,)).module()
    assert torch.equal(exported(images), model(images))


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
