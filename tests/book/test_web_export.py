"""What the page loads is the network that was trained, whole, and nothing that its script cannot run."""

import json
from pathlib import Path

import pytest
import torch

from resnest_edu import ResNeSt, Variant, rectify, to_cardinality_major
from resnest_edu.book.web_export import (
    NAME,
    choose_scenes,
    decode_network,
    decode_scenes,
    encode_network,
    encode_scenes,
    read_script,
    write_script,
)
from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.resnest import VARIANTS
from resnest_edu.training import RECIPES, evaluate, shapes_data
from resnest_edu.training.augmentation import MEAN, STD
from tests.randomize import randomize
from tests.refused import assert_refused
from tools.notebooks import ROOT

COMMITTED = ROOT / "book" / "_extra" / "explorables" / NAME
SMALL = Variant((1, 1), planes=(8, 16), stem_width=8)


def network(variant: Variant = SMALL) -> ResNeSt:
    model = ResNeSt(variant, 5)
    randomize(model)
    return model.eval()


def test_a_network_comes_back_bit_by_bit(tmp_path: Path) -> None:
    model = network()
    write_script(tmp_path / NAME, encode_network(model, SMALL, "abcde"))
    back = decode_network(read_script(tmp_path / NAME)).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back[name], tensor) or name.endswith("num_batches_tracked")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_scenes_come_back_bit_by_bit() -> None:
    images = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    back = decode_scenes(json.loads(json.dumps(encode_scenes(images, torch.tensor([2, 0, 1])))))
    assert torch.equal(back.images, images) and back.labels.tolist() == [2, 0, 1]


def test_a_network_that_the_script_cannot_run_is_refused() -> None:
    family, broken = VARIANTS["resnest11_small"], network()
    with torch.no_grad():
        broken.fc.bias[1] = torch.nan
    rows = [
        ((rectify(network()), SMALL), r"conv1.0 \(=RectifiedConv2d.*must be Conv2d"),
        ((to_cardinality_major(network()), SMALL), r"layer1.0.conv2.conv \(=None\) must be Conv2d"),
        ((ResNeSt(SMALL, 6), SMALL), r"fc \(=Linear\(.*=6.*must be Linear\(.*=5"),
        ((network(Variant((1, 2), planes=(8, 16), stem_width=8)), SMALL), r"layer2.1.conv1 .* must be None"),
        ((ResNeSt(family, 5, output_stride=8), family), r"strides \(=.*'layer3': 8.* must double"),
        ((broken, SMALL), r"fc.bias must hold finite numbers"),
    ]
    assert_refused(lambda given: encode_network(*given, "abcde"), rows)


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    content = encode_network(network(), SMALL, "abcde")
    with pytest.raises(ValueError, match=r"numbers \(=\d+\) must be as many as it says"):
        decode_network(content | {"data": content["data"][:4096]})
    without = {name: place for name, place in content["tensors"].items() if name != "fc.bias"}
    with pytest.raises(ValueError, match=r"missing \['fc.bias'\]"):
        decode_network(content | {"tensors": without})
    path = tmp_path / NAME
    with pytest.raises(FileNotFoundError, match="must be a file: it comes with the book's repository"):
        read_script(path)
    for text, message in (("var x = 1;", "must be a script"), ("self.LIVE_NETWORK = {,};\n", "must assign JSON")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_script(path)


def test_the_committed_network_does_what_its_file_says() -> None:
    content = read_script(COMMITTED)
    recipe, model = RECIPES[content["recipe"]], decode_network(content)
    assert content["model"] == recipe.model and content["variant"] == json.loads(
        json.dumps(vars(VARIANTS[recipe.model]))
    )
    assert tuple(content["classes"]) == SHAPE_CLASSES
    assert (tuple(content["mean"]), tuple(content["std"])) == (MEAN, STD)
    _, test_data = shapes_data(recipe, content["seed"])
    assert len(test_data) == content["test"]["images"]
    _, accuracy = evaluate(model, test_data)
    # Another machine rounds otherwise; a scene or two may change sides.
    assert accuracy == pytest.approx(content["test"]["accuracy"], abs=0.002)
    assert accuracy > 0.98
    scenes = decode_scenes(content["scenes"])
    chosen = choose_scenes(model, test_data)
    assert torch.equal(scenes.images, test_data.images[chosen]) and torch.equal(scenes.labels, test_data.labels[chosen])


def test_the_committed_file_is_small_and_names_no_path() -> None:
    content = read_script(COMMITTED)
    assert COMMITTED.stat().st_size < 1_000_000
    assert {"command", "code", "commit", "date", "device", "versions"} <= set(content)
    for key in ("data", "scenes", "tensors"):
        content.pop(key)
    assert "/" not in json.dumps(content)
