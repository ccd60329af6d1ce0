import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from resnest_edu.resnest import ResNeSt, Variant
from resnest_edu.training import RECIPES, TensorImages, evaluate, predict, train
from resnest_edu.training.data import batches

TINY = replace(RECIPES["shapes"], epochs=2, batch_size=8, image_size=8)


def two_colours(count: int, seed: int = 0) -> TensorImages:
    """Noise that is a little redder for label 1: learnable at a glance."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 200, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 1, 0] += 50
    return TensorImages(images, labels)


def tiny_model(seed: int = 0) -> ResNeSt:
    torch.manual_seed(seed)
    return ResNeSt(Variant((1,), (16,), stem_width=8), 2)


def test_learns_and_reports(tmp_path):
    path, seen = tmp_path / "metrics.jsonl", []
    model = tiny_model()
    history = train(
        model,
        two_colours(96),
        two_colours(64, seed=1),
        replace(TINY, epochs=6),
        metrics_file=path,
        progress=False,
        after_epoch=seen.append,
    )
    assert history[-1].test_accuracy > 0.9 > history[0].train_accuracy
    assert seen == history
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["test_accuracy"] == history[-1].test_accuracy
    loss, accuracy = evaluate(model, two_colours(64, seed=1))
    assert (loss, accuracy) == (pytest.approx(history[-1].test_loss), history[-1].test_accuracy)


def test_the_seed_decides_the_run():
    losses = []
    for seed in (3, 3, 4):
        history = train(tiny_model(), two_colours(40), two_colours(8), TINY, seed=seed, progress=False)
        losses.append([metrics.train_loss for metrics in history])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_an_epoch_sees_every_image_once():
    data = TensorImages(torch.zeros(21, 3, 2, 2, dtype=torch.uint8), torch.arange(21))
    streamed = TensorDataset(data.images, data.labels)
    for source in (data, streamed):
        shuffled = [labels for _, labels in batches(source, 8, generator=torch.Generator().manual_seed(0))]
        assert [len(labels) for labels in shuffled] == [8, 8, 5]
        assert torch.cat(shuffled).sort().values.equal(torch.arange(21))
        assert not torch.cat(shuffled).equal(torch.arange(21))
        in_order = torch.cat([labels for _, labels in batches(source, 8)])
        assert in_order.equal(torch.arange(21))


def test_a_last_batch_of_one_is_tested_but_not_trained_on():
    data = TensorImages(torch.zeros(9, 3, 2, 2, dtype=torch.uint8), torch.arange(9))
    streamed = TensorDataset(data.images, data.labels)
    for source in (data, streamed):
        assert [len(labels) for _, labels in batches(source, 8, generator=torch.Generator())] == [8]
        assert [len(labels) for _, labels in batches(source, 8)] == [8, 1]
    history = train(tiny_model(), two_colours(9), two_colours(9), TINY, progress=False)
    assert len(history) == TINY.epochs


def test_streamed_data_trains_like_data_in_memory():
    data = two_colours(24)
    results = []
    for source in (data, TensorDataset(data.images, data.labels)):
        history = train(tiny_model(), source, data, replace(TINY, batch_size=24, shift=0, flip=False), progress=False)
        results.append(history[-1].train_loss)
    assert results[0] == pytest.approx(results[1], rel=1e-4)  # one batch an epoch, so its order is without effect


def test_the_rate_follows_the_schedule():
    history = train(tiny_model(), two_colours(32), two_colours(8), replace(TINY, warmup_epochs=1), progress=False)
    # Eight steps, four of warm-up: step 3 is at 3/4 of the peak, step 7 three quarters down the cosine.
    assert history[0].learning_rate == pytest.approx(0.75 * TINY.peak_rate)
    assert history[1].learning_rate == pytest.approx(TINY.peak_rate * (1 - 0.5**0.5) / 2)


def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_rate():
    model = tiny_model()
    nn.init.constant_(model.fc.bias, float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in epoch 1, at step 4, with the learning rate at .*lower"
    ):
        train(model, two_colours(32), two_colours(8), TINY, progress=False)


def test_measuring_leaves_the_mode_and_the_statistics_alone():
    model = tiny_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = two_colours(9)
    evaluate(model, data)
    probabilities = predict(model, data.images, batch_size=4)
    assert model.training
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert probabilities.shape == (9, 2)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(9))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2), r"images \(=torch.float32, \(2, 3, 4, 4\)\) must be uint8"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), r"must be uint8 of shape \(N, 3, H, W\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3), r"labels \(=3\) must be as many as images \(=2\)"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0), r"labels \(=0\) .* at least one"),
    ],
)
def test_bad_images(images, labels, message):
    with pytest.raises(ValueError, match=message):
        TensorImages(images, labels)


def test_too_few_images():
    with pytest.raises(ValueError, match=r"train_data \(=1 images\) must have at least 2"):
        train(tiny_model(), two_colours(1), two_colours(4), TINY, progress=False)
