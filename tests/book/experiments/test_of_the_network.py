"""The experiments on the network and on its weights: what a seed decides, and what is the same for all it compares."""

import copy
import math

import pytest
import torch

from resnest_edu import Variant
from resnest_edu.book.experiments import flipped_bits, new_head, zero_gamma


@pytest.fixture(autouse=True)
def small(monkeypatch):
    deep = Variant((1, 1), planes=(8, 16), stem_width=4)
    for experiment, sizes in {
        zero_gamma: {"PICTURES": 16, "DEEP": deep, "LARGE": "resnest11_small", "STEPS": 2, "BATCH": 8},
        flipped_bits: {"FLIPS": 3, "FLIPS_OF_EACH_BIT": 1},
        new_head: {"TRAIN": 96, "TEST": 40, "FEW": 16, "PUBLISHER_EPOCHS": 1, "EPOCHS": 1, "RATES": (0.1,)},
    }.items():
        for name, value in sizes.items():
            monkeypatch.setattr(experiment, name, value)
    zero_gamma.pictures.cache_clear()
    yield
    zero_gamma.pictures.cache_clear()


def test_zero_gamma_starts_alike_at_all_rates_and_silences_blocks():
    found = zero_gamma.run_seed(0)
    starts = {(gamma, losses[0]) for of_rate in found["losses"].values() for gamma, losses in of_rate.items()}
    assert len(starts) == len({gamma for gamma, _ in starts}) == 2
    ends = {losses[-1] for of_rate in found["losses"].values() for losses in of_rate.values()}
    assert len(ends) == 6
    assert all(one > zero for zero, one in zip(*found["sizes"].values(), strict=True))
    assert len(found["sizes"]["γ = 0"]) == 3
    assert zero_gamma.losses(0, 0.05, 0) == found["losses"]["rate 0.05"]["γ = 0"] != zero_gamma.losses(0, 0.05, 1)


def test_flipped_bits_are_counted_by_form_and_their_errors_by_bit():
    found = flipped_bits.run_seed(0)
    assert set(found["through"]) == {".pth", ".old.pth", ".safetensors"}
    for counts in found["through"].values():
        assert 3 >= counts["plain"] >= counts["package"] >= counts["package, hash"] == 0
    assert sorted(found["errors"]) == list(range(32)) and found["impossible"] >= 0
    assert sum(len(errors) for errors in found["errors"].values()) == 32
    assert found["errors"][0][0] < 1e-4
    assert all(error is None or math.isfinite(error) for [error] in found["errors"].values())


def test_a_flip_gets_through_only_if_it_changes_a_number_without_an_error(tmp_path):
    model = flipped_bits.stranger("resnest11_small", 8)
    good = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def change(model, path):
        model.fc.bias.data[0] += 1

    def refuse(model, path):
        change(model, path)
        raise RuntimeError

    for load, through in ((lambda model, path: None, False), (refuse, False), (change, True)):
        assert flipped_bits.gets_through(load, model, tmp_path, good) == through
    first, second = flipped_bits.logits(model, torch.randn(2, 3, 32, 32))
    assert flipped_bits.relative_error(first, second) > 0.1  # a stranger depends on the image


def test_the_new_head_compares_four_ways_at_every_rate():
    found = new_head.run_seed(0)
    assert set(found["ways"]) == {"head, loaded trunk", "head, fresh trunk", "all, loaded", "all, from scratch"}
    assert all(list(scores) == ["0.1"] for scores in found["ways"].values())
    assert all(0 <= score <= 100 for scores in found["ways"].values() for score in scores.values())
    assert 0 <= found["publisher"] <= 100


def test_a_loaded_trunk_comes_from_the_file_and_the_head_does_not():
    published = flipped_bits.stranger("resnest11_small", 4)
    untrained = new_head.fresh()
    before = copy.deepcopy(untrained.state_dict())
    loaded = new_head.load_trunk(published, untrained).state_dict()
    for name, tensor in loaded.items():
        source = before if name.startswith("fc.") else published.state_dict()
        assert torch.equal(tensor, source[name])
    assert all(torch.equal(tensor, before[name]) for name, tensor in untrained.state_dict().items())


def test_training_the_head_leaves_the_trunk():
    model = flipped_bits.stranger("resnest11_small", 4)
    before = copy.deepcopy(model.state_dict())
    few, test = (torch.randn(8, 3, 32, 32), torch.arange(8) % 4), (torch.randn(4, 3, 32, 32), torch.arange(4))
    scores = new_head.head_only(model.train(), few, test, seed=0)
    assert list(scores) == ["0.1"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(model.fc(new_head.features(model, test[0])), model(test[0]))


def test_the_classes_are_split_in_two_and_counted_from_zero():
    (known, known_labels), (others, other_labels) = new_head.in_two(40, "test")
    assert len(known) + len(others) == 40
    assert known_labels.unique().tolist() == other_labels.unique().tolist() == [0, 1, 2, 3]


def test_flipped_numbers_are_set_right_again(monkeypatch):
    model = flipped_bits.stranger("resnest11_small", 8)
    before = copy.deepcopy(model.state_dict())
    monkeypatch.setattr(flipped_bits, "stranger", lambda name, classes, seed: model)
    flipped_bits.errors_by_bit(0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
