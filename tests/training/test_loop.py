import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from resnest_edu.network.regularization import DropBlock
from resnest_edu.network.resnest import ResNeSt, Variant
from resnest_edu.network.weights import read_header
from resnest_edu.training import RECIPES, Checkpoints, TensorImages, evaluate, train
from resnest_edu.training.batches import Plan
from resnest_edu.training.classification import Classification, prepare, smoothed_loss
from resnest_edu.training.loop import Run, build_optimizer, compile_ahead, default_device
from resnest_edu.training.mixing import smooth

TINY = replace(RECIPES["shapes"], epochs=2, batch_size=8, image_size=8)


def two_colours(count: int, seed: int = 0) -> TensorImages:
    """Noise that is a little redder for label 1: learnable at a glance."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 200, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 1, 0] += 50
    return TensorImages(images, labels)


def tiny_model(seed: int = 0, **options) -> ResNeSt:
    torch.manual_seed(seed)
    return ResNeSt(Variant((1,), (16,), stem_width=8), 2, **options)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


def trained(recipe, model=None, images=32, data=None, **options):
    """A small run: the model, and the metrics of its epochs."""
    model = model or tiny_model()
    test_data = options.pop("test_data", two_colours(8))
    history = train(model, data or two_colours(images), test_data, recipe, progress=False, **options)
    return model, history


def test_learns_and_reports():
    seen, test_data = [], two_colours(64, seed=1)
    model, history = trained(replace(TINY, epochs=6), images=96, test_data=test_data, after_epoch=seen.append)
    assert history[-1].test_accuracy > 0.9 > history[0].train_accuracy
    assert seen == history
    assert [metrics.epoch for metrics in history] == [1, 2, 3, 4, 5, 6]
    assert evaluate(model, test_data) == (pytest.approx(history[-1].test_loss), history[-1].test_accuracy)


def test_the_seed_decides_the_run_and_the_callers_random_numbers_stay():
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(5)
        model = tiny_model(dropout=0.3, dropblock=0.1, stochastic_depth=0.2)
        torch.manual_seed(len(losses))
        expected = torch.random.get_rng_state()
        recipe = replace(TINY, mixup=0.2, dropblock=0.1, policy="randaugment")
        history = train(model, two_colours(40), two_colours(8), recipe, seed=seed, progress=False)
        assert torch.random.get_rng_state().equal(expected)
        losses.append([metrics.train_loss for metrics in history])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_streamed_data_trains_like_data_in_memory():
    data, recipe = two_colours(24), replace(TINY, shift=1)
    streamed = TensorDataset(data.images, data.labels)
    assert weights(trained(recipe, data=data)[0]).equal(weights(trained(recipe, data=streamed)[0]))


def test_the_rate_follows_the_schedule():
    history = trained(replace(TINY, warmup_epochs=1))[1]
    # Eight steps, four of warm-up: step 3 is at 3/4 of the peak, step 7 three quarters down the cosine.
    assert history[0].learning_rate == pytest.approx(0.75 * TINY.peak_rate)
    assert history[1].learning_rate == pytest.approx(TINY.peak_rate * (1 - 0.5**0.5) / 2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_step_is_that_of_the_equations(optimizer):
    """On one batch, without chance: Nesterov's first step, and algorithm 2 of arXiv:1711.05101, where decay is apart
    from the gradient, whose sign is the first step."""
    recipe = replace(TINY, epochs=1, warmup_epochs=0, flip=False, shift=0, weight_decay=0.1, optimizer=optimizer)
    data, reference, rate = two_colours(8), tiny_model(), recipe.peak_rate
    model = trained(recipe, data=data)[0]
    inputs, labels = prepare(data.images, data.labels, recipe, None, torch.Generator())
    F.cross_entropy(reference.train()(inputs), labels, label_smoothing=recipe.label_smoothing).backward()
    moved = 0
    for (name, after), before in zip(model.named_parameters(), reference.parameters(), strict=True):
        decay = 0.1 if before.ndim > 1 else 0.0  # here every batch norm and every bias is a vector
        value, gradient = before.detach(), before.grad
        if optimizer == "sgd":
            clear, step = gradient.isfinite(), (gradient + decay * value) * (1 + recipe.momentum)
        else:
            clear = gradient.abs() > 1e-4  # far above Adam's epsilon, and above what rounding may turn round
            step = decay * value + gradient.sign()
        expected = value - rate * step
        torch.testing.assert_close(after.detach()[clear], expected[clear], rtol=1e-3, atol=1e-4, msg=name)
        moved += int(clear.sum())
    assert moved > 100


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimizer_is_the_recipes(optimizer):
    recipe, model = replace(TINY, optimizer=optimizer, momentum=0.8, weight_decay=0.3), tiny_model()
    built = build_optimizer(model, recipe, torch.device("cpu"))
    assert type(built) is {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    assert [group["weight_decay"] for group in built.param_groups] == [0.3, 0.0]
    for group in built.param_groups:
        assert group["lr"] == 0 and group["fused"]
        if optimizer == "sgd":
            assert (group["momentum"], group["nesterov"]) == (0.8, True)
        else:
            assert group["betas"] == (0.8, 0.999)
    assert {id(p) for group in built.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
    build_optimizer(model, replace(recipe, momentum=0.0), torch.device("cpu"))  # Nesterov's needs some


@pytest.mark.parametrize("smoothing", ["all", "others"])
@pytest.mark.parametrize("soft", [False, True])
def test_both_smoothings(smoothing, soft):
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    recipe = replace(TINY, smoothing=smoothing, label_smoothing=0.3)
    targets = smooth(labels, 5, 0.3, definition=smoothing).double()
    expected = -(targets * logits.log_softmax(1)).sum() / 9
    given = F.one_hot(labels, 5).float() if soft else labels
    torch.testing.assert_close(smoothed_loss(logits, given, recipe, 9).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mixing", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixed_batches(mixing):
    recipe = replace(TINY, **mixing)
    data = two_colours(16)
    mixed = 0
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        inputs, targets = prepare(data.images, data.labels, recipe, 2, generator)
        assert inputs.shape == (16, 3, 8, 8)
        torch.testing.assert_close(targets.sum(1), torch.ones(16))
        mixed += not (targets.max(1).values == 1).all()
    assert mixed > 3
    assert math.isfinite(trained(recipe, data=data)[1][-1].train_loss)


def test_dropblock_grows_with_the_step():
    seen = []
    model = tiny_model(dropblock=0.3)
    model.register_forward_pre_hook(
        lambda module, inputs: (
            seen.append({m.probability for m in module.modules() if isinstance(m, DropBlock)})
            if module.training
            else None
        )
    )
    trained(replace(TINY, dropblock=0.2), model, images=16)
    assert [next(iter(rates)) for rates in seen] == pytest.approx([0, 0.05, 0.1, 0.15])


def test_the_average_is_measured_and_kept():
    recipe, test_data = replace(TINY, ema=0.5), two_colours(32, seed=1)
    model, history = trained(recipe, test_data=test_data)
    assert not weights(model).equal(weights(trained(replace(recipe, ema=0.0), test_data=test_data)[0]))
    assert evaluate(model, test_data)[0] == pytest.approx(history[-1].test_loss)


class BreaksAt(ResNeSt):
    """Its last bias stops being a number at the given training step."""

    step, steps_seen = 8, 0

    def forward(self, x):
        if self.training:
            if self.steps_seen == self.step:
                nn.init.constant_(self.fc.bias, float("nan"))
            self.steps_seen += 1
        return super().forward(x)


def test_a_loss_that_is_not_finite_stops_the_run_with_step_rate_and_checkpoint(tmp_path):
    recipe = replace(TINY, epochs=3)
    message = (
        r"loss is nan at step 8 \(epoch 3\), with the learning rate at 0.0\d+: lower base_rate \(=3.0\); "
        r"the last good one is checkpoint.pt at step 8"
    )
    for checkpoints, words in (
        (Checkpoints(tmp_path, recipe, ("a", "b")), message),
        (None, "no checkpoints were kept"),
    ):
        model = BreaksAt(Variant((1,), (16,), stem_width=8), 2)
        with pytest.raises(FloatingPointError, match=words):
            trained(recipe, model, checkpoints=checkpoints)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = tiny_model()

    def poison(metrics):
        if metrics.epoch == 2:
            nn.init.constant_(model.fc.bias, float("inf"))

    checkpoints = Checkpoints(tmp_path, TINY, ("a", "b"))
    with pytest.raises(FloatingPointError, match=r"not a finite number after step 7, .*checkpoint.pt at step 4"):
        trained(TINY, model, checkpoints=checkpoints, after_epoch=poison)
    assert checkpoints.restore()["step"] == 4


def test_several_losses_are_looked_at_together():
    run = Run(tiny_model(), TINY, Classification(TINY), Plan(32, 8, 2, 0), torch.device("cpu"))
    network = tiny_model()
    data = two_colours(8)
    for step in range(4):
        if step == 2:
            nn.init.constant_(network.fc.bias, float("nan"))
        run.take_step(network, (data.images, data.labels))
        if step < 3:
            run.require_finite("", every=4)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 2 \(epoch 1\)"):
        run.require_finite("", every=4)


def test_a_score_that_is_not_a_number_is_null_in_json_and_the_network_is_kept(tmp_path):
    """As of a detector, measured on images without an object."""

    class Unmeasurable(Classification):
        def measure(self, *given, **options):
            return super().measure(*given, **options) | {"test_accuracy": next(scores)}

    scores = iter([math.nan, math.nan, 0.5, math.nan])
    recipe = replace(TINY, epochs=4)
    checkpoints, kept = Checkpoints(tmp_path, recipe, ("a", "b"), 0), []
    save_best = checkpoints.save_best

    def note(model, metrics):
        save_best(model, metrics)
        kept.append(read_header(tmp_path / "best.safetensors")["score"])

    checkpoints.save_best = note
    history = trained(recipe, images=16, task=Unmeasurable(recipe), checkpoints=checkpoints)[1]
    assert kept == [{"test_accuracy": None, "epoch": 1}, {"test_accuracy": 0.5, "epoch": 3}]

    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [row["test_accuracy"] for row in rows] == [None, None, 0.5, None]
    assert [metrics.describe() for metrics in history[1:3]] == [
        "test accuracy undefined on these images",
        "test accuracy 50.00 %",
    ]


class ChosenBy(Classification):
    """On the eight validation images, scores that are given."""

    def __init__(self, recipe, *scores):
        super().__init__(recipe)
        self.scores, self.measured, self.states = iter(scores), [], []

    def measure(self, model, data, **options):
        self.measured.append(len(data))
        self.states.append(weights(model))
        chosen = {"test_accuracy": next(self.scores)} if len(data) == 8 else {}
        return super().measure(model, data, **options) | chosen


@pytest.mark.parametrize(("optimizer", "precision"), [("adamw", "float32"), ("sgd", "float16")])
def test_validation_images_choose_and_the_test_is_measured_once_at_the_end(optimizer, precision, tmp_path):
    """In a run that is interrupted, too."""
    recipe = replace(TINY, epochs=4, ema=0.5, base_rate=0.1, optimizer=optimizer, precision=precision)
    scores = 0.1, 0.7, 0.7, 0.2
    options = {"test_data": two_colours(40, seed=1), "val_data": two_colours(8), "images": 16}
    task = ChosenBy(recipe, *scores)
    model, history = trained(recipe, task=task, **options)
    assert task.measured == [8, 8, 8, 8, 40]
    assert weights(model).equal(task.states[1]) and not weights(model).equal(task.states[3])
    assert [(one.score, one.val["accuracy"]) for one in history] == [(score, score) for score in scores]
    assert [math.isnan(one.test_accuracy) for one in history] == [True, False, True, True]
    assert history[1].describe() == f"val accuracy 70.00 %, test accuracy {100 * history[1].test_accuracy:.2f} %"
    assert history[0].describe() == "val accuracy 10.00 %"

    def stop(metrics):
        if metrics.epoch == 3:
            raise InterruptedError

    checkpoints = Checkpoints(tmp_path, recipe, ("a", "b"), minutes=60)
    with pytest.raises(InterruptedError):
        trained(recipe, task=ChosenBy(recipe, *scores), after_epoch=stop, checkpoints=checkpoints, **options)
    for left in (scores[2:], ()):  # it goes on; it is asked again
        again = trained(recipe, tiny_model(seed=9), task=ChosenBy(recipe, *left), checkpoints=checkpoints, **options)
        assert weights(again[0]).equal(weights(model)) and again[1][1].test_loss == history[1].test_loss
        assert [one.train_loss for one in again[1]] == [one.train_loss for one in history]
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [row["val_accuracy"] for row in rows] == list(scores)
        assert [row["test_accuracy"] for row in rows] == [None, history[1].test_accuracy, None, None]
        header = read_header(tmp_path / "best.safetensors")["score"]
        assert header == {"val_accuracy": 0.7, "epoch": 2, "test_accuracy": history[1].test_accuracy}
    with pytest.raises(ValueError, match="val_data must be given, as in the run"):
        trained(recipe, checkpoints=checkpoints)
    assert math.isnan(trained(recipe, **options | {"test_data": None})[1][0].test_accuracy)
    with pytest.raises(ValueError, match=r"test_data \(=None\) must be given, or val_data"):
        trained(recipe, test_data=None, after_epoch=pytest.fail)


def test_the_precision_is_the_recipes_in_training_and_in_measuring(tmp_path):
    """Of a CPU: by default single."""
    found = {}
    for precision in ("auto", "float32", "bfloat16", "float16"):
        recipe, model, seen = replace(TINY, precision=precision), tiny_model(), set()
        model.fc.register_forward_hook(
            lambda module, _, out, seen=seen: seen.add((module.training, str(out.dtype)[6:]))
        )
        checkpoints = Checkpoints(tmp_path / precision, recipe, ("a", "b"))
        task = Classification(recipe, classes=2)
        found[precision] = weights(trained(recipe, model, task=task, checkpoints=checkpoints)[0])
        used = "float32" if precision == "auto" else precision
        assert seen == {(True, used), (False, used)}
        assert bool(checkpoints.restore()["scaler"]) == (used == "float16")
    assert found["auto"].equal(found["float32"]) and not found["float16"].equal(found["float32"])
    for half, off in (("bfloat16", 0.3), ("float16", 0.1)):
        assert 0 < (found[half] - found["float32"]).abs().max() < off


def test_the_device_is_the_fastest_that_there_is(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: found == "cuda")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: found != "cpu")
    for found in ("cuda", "mps", "cpu"):
        assert default_device().type == found
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    found = "mps"
    assert default_device().type == "cpu"


def test_no_more_images_are_measured_together_than_a_step_has():
    seen = []
    model, data = tiny_model(), two_colours(40)
    model.register_forward_pre_hook(lambda module, given: seen.append((module.training, len(given[0]))))
    mixing = replace(TINY, epochs=1, mixup=0.2)
    train(model, data, data, mixing, task=Classification(mixing, classes=2), progress=False)
    assert max(count for _, count in seen) == 8
    assert seen[0] == (True, 8)  # nothing is asked of the network before the first step
    seen.clear()
    train(model, data, data, mixing, progress=False)
    assert seen[0] == (False, 1)


def test_ctrl_c_saves_between_two_steps_and_the_run_goes_on(tmp_path):
    recipe = replace(TINY, shift=1, mixup=0.3, ema=0.9)
    undisturbed, history = trained(recipe)

    class PressesCtrlC(TensorDataset):
        def __getitem__(self, index):
            if index == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__getitem__(index)

    data, handler = PressesCtrlC(*vars(two_colours(32)).values()), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"after step \d of 8; the last good one is checkpoint.pt at step \d"):
        trained(recipe, data=data, checkpoints=Checkpoints(tmp_path, recipe, ("a", "b")))
    assert signal.getsignal(signal.SIGINT) is handler
    resumed, again = trained(recipe, tiny_model(seed=9), checkpoints=Checkpoints(tmp_path, recipe, ("a", "b")))
    assert weights(resumed).equal(weights(undisturbed))
    assert [m.train_loss for m in again] == [m.train_loss for m in history]


@pytest.mark.slow
def test_compiling_ahead_leaves_weights_and_statistics_alone():
    model = tiny_model().train()
    before = weights(model)
    compiled = compile_ahead(model, two_colours(8).images, TINY)
    assert weights(model).equal(before)
    assert all(parameter.grad is None for parameter in model.parameters())
    inputs = torch.randn(8, 3, 8, 8)
    torch.testing.assert_close(compiled(inputs), tiny_model().train()(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_run_agrees_with_an_eager_one():
    recipe, found = replace(TINY, batch_size=12), []
    for compiled in (False, True):
        # 32 images: the last batch of an epoch has 8, and runs uncompiled
        model, history = trained(recipe, test_data=two_colours(16), compile=compiled)
        assert math.isfinite(history[-1].train_loss)
        found.append(weights(model))
    torch.testing.assert_close(found[1], found[0], rtol=1e-2, atol=1e-3)


def test_too_few_images():
    with pytest.raises(ValueError, match=r"images \(=1\) must be at least 2"):
        trained(TINY, images=1)
