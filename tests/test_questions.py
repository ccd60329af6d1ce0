"""What the book's page of questions says that code does."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from resnest_edu import Bottleneck, RadixMajorSplitAttention, create_model, load_checkpoint
from resnest_edu.training import folder_data, get_recipe, train
from resnest_edu.training.augmentation import normalize


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
    prepare = v2.Compose(
        [
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    image = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    prepared = prepare(image)[None]
    assert prepared.shape == (1, 3, 224, 224)
    ours = normalize(v2.functional.center_crop(v2.functional.resize(image, [256]), [224])[None])
    torch.testing.assert_close(prepared, ours)
    assert model.eval()(prepared).shape == (1, 10)
    with pytest.raises(RuntimeError):
        model(image[None])


def test_a_stem_for_grey_images_answers_as_the_old_one_to_three_equal_channels(model):
    image = torch.rand(2, 1, 32, 32)
    before = model.eval()(image.expand(-1, 3, -1, -1))
    first = model.conv1[0]
    grey = nn.Conv2d(1, first.out_channels, 3, stride=first.stride, padding=1, bias=False)
    grey.weight.data = first.weight.data.sum(dim=1, keepdim=True)
    model.conv1[0] = grey
    torch.testing.assert_close(model(image), before)


def test_the_block_in_place_of_a_convolution_of_stride_two():
    attention = nn.Sequential(RadixMajorSplitAttention(64, 64, radix=2), nn.AvgPool2d(3, stride=2, padding=1))
    out = attention(torch.randn(2, 64, 32, 32))
    assert out.shape == (2, 64, 16, 16)
    assert out.min() >= 0  # it has been through a ReLU


def test_fine_tuning_on_a_folder(tmp_path, model):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                array = torch.randint(0, 256, (20, 24, 3), dtype=torch.uint8).numpy()
                Image.fromarray(array).save(folder / f"{i}.png")
    published = tmp_path / "published.pt"
    torch.save(model.state_dict(), published)
    as_on_the_page = replace(
        get_recipe("cifar10-quick"), model="resnest50", image_size=224, batch_size=32, base_rate=0.05, epochs=10
    )
    recipe = replace(as_on_the_page, model="resnest11_small", image_size=32, batch_size=3, epochs=1, warmup_epochs=0.5)
    train_data, test_data, classes = folder_data(tmp_path, recipe, skip_broken=False, workers=1)
    fresh = create_model(recipe.model, num_classes=len(classes))
    load_checkpoint(fresh, published, new_head=True)
    assert torch.equal(fresh.conv1[0].weight, model.conv1[0].weight)
    history = train(fresh, train_data, test_data, recipe, progress=False)
    assert classes == ("cat", "dog") and 0 <= history[-1].score <= 1
    assert not torch.equal(fresh.conv1[0].weight, model.conv1[0].weight)


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
