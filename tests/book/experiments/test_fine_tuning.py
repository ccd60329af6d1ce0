"""Fine-tuning against training from scratch, with a few tiny images of plain colours."""

import json
from dataclasses import replace

import pytest
import torch

from resnest_edu.book.experiments import fine_tuning
from resnest_edu.training import get_recipe


@pytest.fixture(autouse=True)
def small(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(fine_tuning, "IMAGES", 2)
    for name in ("SMALL", "HIGHER", "LONGER", "FIRST"):
        recipe = getattr(fine_tuning, name)
        few = replace(recipe, epochs=2 if name == "LONGER" else 1, batch_size=5, warmup_epochs=0)
        monkeypatch.setattr(fine_tuning, name, few)


def test_a_seed_gives_the_same_accuracies_again(tiny_cifar10):
    found = [fine_tuning.run_piece(name, data=tiny_cifar10) for name in ("seed 0", "seed 0", "seed 1")]
    assert found[0] == json.loads(json.dumps(found[1])) and found[1] != found[2]
    assert len(found[0]["ways"]) == 4 and all(
        0 <= one <= 100 for one in (found[0]["first"], *found[0]["ways"].values())
    )
    made_up = {name: {"ways": {"fine-tuned": 70.0 + seed}} for seed, name in enumerate(fine_tuning.PIECES)}
    summary = fine_tuning.summarize(made_up)
    json.dumps(summary)
    assert summary["ways"]["fine-tuned"]["mean"] == 72 and summary["ways"]["fine-tuned"]["n"] == 5


def test_what_each_way_begins_with_and_is_trained_on(tiny_cifar10, monkeypatch):
    calls = []

    def noted(model, data, recipe, seed):
        calls.append(
            (data.images, data.labels, recipe, {name: one.clone() for name, one in model.state_dict().items()})
        )
        with torch.no_grad():
            model.conv1[0].weight += 1
        return model

    monkeypatch.setattr(fine_tuning, "trained", noted)
    fine_tuning.run_piece("seed 3", data=tiny_cifar10)
    (first, first_labels, *_), *ways = calls
    assert [recipe for *_, recipe, _ in ways] == [
        getattr(fine_tuning, n) for n in ("SMALL", "HIGHER", "HIGHER", "LONGER")
    ]
    assert len(first) == 15 and first_labels.bincount().tolist() == [3] * 5
    assert first[:, 1].float().mean() > 150 > 120 > ways[0][0][:, 1].float().mean()  # the first classes are the greener
    for images, labels, _, _ in ways:
        assert images.equal(ways[0][0]) and labels.bincount().tolist() == [2] * 5
    starts = [state for *_, state in calls]
    assert all(one["fc.weight"].equal(starts[0]["fc.weight"]) for one in starts)
    shifted = [(state["conv1.0.weight"] - starts[0]["conv1.0.weight"]).mean().round().item() for state in starts[1:]]
    assert shifted == [1, 1, 0, 0]  # the fine-tuned begin where the first training ended


def test_but_for_the_size_and_the_rates_the_numbers_are_those_of_the_recipe(monkeypatch):
    monkeypatch.undo()
    recipe = get_recipe("finetune")
    sizes = {"model": "resnest11_small", "image_size": 32, "crop": 0.0, "shift": 4}
    assert replace(recipe, **sizes) == fine_tuning.SMALL == replace(fine_tuning.HIGHER, base_rate=recipe.base_rate)
    assert replace(fine_tuning.LONGER, epochs=recipe.epochs) == fine_tuning.HIGHER and fine_tuning.LONGER.epochs == 24
    assert (recipe.ema, recipe.crop, recipe.image_size) == (0, 0.35, 224)
