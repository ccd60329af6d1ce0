"""Networks that are recorded come back as they were, and nothing else does."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from resnest_edu.book.experiments import _shapes, networks
from resnest_edu.book.experiments.__main__ import main
from resnest_edu.book.interventions import replaced_attention
from resnest_edu.book.records import read
from resnest_edu.training import RECIPES, evaluate
from resnest_edu.training import batches as training_data


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_data, "TRAIN_SHAPES", 24)
        patch.setattr(training_data, "TEST_SHAPES", 80)
        patch.setitem(RECIPES, "shapes", dataclasses.replace(RECIPES["shapes"], epochs=1, batch_size=8))
        patch.setattr(networks, "SEEDS", range(2))
        folder = tmp_path_factory.mktemp("results")
        assert main(["networks", "--cpu", "--out", str(folder)]) == 0
        yield folder


def test_the_file_holds_what_was_trained_and_where_it_is_from(recorded):
    record = read(recorded / "networks.json")
    _, test_data = _shapes.images_of(1)
    for kind in _shapes.KINDS:
        model = networks.load(kind, 1, recorded)
        assert not model.training
        if kind == "averaging":  # no gradient reached its attention
            fc1 = model.get_submodule("layer1.0.conv2.fc1").weight
            initial = _shapes.build(1).get_submodule("layer1.0.conv2.fc1").weight
            assert torch.equal(fc1, initial.half().float())
            with replaced_attention(model, "uniform"):
                accuracy = evaluate(model, test_data)[1]
        else:
            accuracy = evaluate(model, test_data)[1]
        assert record["accuracy"][f"{kind} 1"] == accuracy
    with safe_open(recorded / networks.FILE, "pt") as file:
        metadata = file.metadata()
    assert {key: record[key] for key in ("command", "code", "commit", "device")} == {
        key: metadata[key] for key in ("command", "code", "commit", "device")
    }
    assert json.loads(metadata["versions"]) == record["versions"]


def test_other_networks_and_other_files_are_refused(recorded, tmp_path):
    with pytest.raises(ValueError, match="kind"):
        networks.load("averages", 0, recorded)
    with pytest.raises(ValueError, match="seed"):
        networks.load("averaging", 2, recorded)
    with pytest.raises(FileNotFoundError):
        networks.load("averaging", 0, tmp_path)
    (tmp_path / "networks.json").write_bytes((recorded / "networks.json").read_bytes())
    (tmp_path / networks.FILE).write_bytes((recorded / networks.FILE).read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        networks.load("averaging", 0, tmp_path)
