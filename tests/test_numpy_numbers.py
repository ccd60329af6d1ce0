"""NumPy's numbers, as ``labels.max() + 1`` gives them, do what Python's do."""

import json
from dataclasses import asdict, replace

import numpy as np
import torch

from resnest_edu import create_model, load, save
from resnest_edu.data import SceneConfig, draw_scenes
from resnest_edu.training import Checkpoints, get_recipe, train
from resnest_edu.training.batches import seed_of
from resnest_edu.transfer import TRANSFER_RECIPES
from tests.training.small_runs import images, small_model, values


def test_networks_and_their_files(tmp_path):
    for number in (np.int64(5), torch.tensor(5), np.array(5)):
        save(tmp_path / "a.safetensors", create_model("resnest11_small", number, dropout=np.float32(0.5)))
        assert load(tmp_path / "a.safetensors").fc.out_features == 5
    replace(TRANSFER_RECIPES["segment-shapes"], frozen_stages=np.int64(1)).build(np.int64(4))
    replace(TRANSFER_RECIPES["detect-shapes"], frozen_stages=np.int64(1)).build(np.int64(4))


def test_recipes_and_runs(tmp_path):
    floats = {"base_rate": 0.5, "dropout": 0.25, "mixup": 0.5, "ema": 0.5, "warmup_epochs": 0.5}
    whole = {"image_size": 8, "epochs": 1, "batch_size": 10, "shift": 1}
    ended = []
    for real, integer in ((float, int), (np.float32, np.int64)):
        recipe = get_recipe("shapes")
        numbers = {name: real(value) for name, value in floats.items()}
        numbers |= {name: integer(value) for name, value in whole.items()}
        recipe, model = replace(recipe, **numbers), small_model()
        json.dumps(asdict(recipe))
        seed, folder = integer(3), tmp_path / integer.__name__
        checkpoints = Checkpoints(folder, recipe, ("a", "b"), seed)
        train(model, images(20, 0), images(8, 1), recipe, seed=seed, progress=False, checkpoints=checkpoints)
        ended.append(values(model))
    assert ended[0].equal(ended[1])
    assert seed_of(np.int64(3), "order", np.uint8(1)) == seed_of(3, "order", 1)


def test_scenes():
    sizes, shares = np.int64([16, 1, 2, 3]), np.float64([0.5, 0.75])
    config = SceneConfig(size=sizes[0], objects=(sizes[1], sizes[2]), scale=(shares[0], shares[1]))
    found = draw_scenes(sizes[1], sizes[3], seed=sizes[2], config=config)
    expected = draw_scenes(1, 3, seed=2, config=SceneConfig(size=16, objects=(1, 2), scale=(0.5, 0.75)))
    assert np.array_equal(found.images, expected.images)
