"""The loop that trains every network of the book, whatever it is to learn.

Legend: B batch, H height, W width.
"""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset
from tqdm import tqdm

from resnest_edu.network.regularization import DropBlock
from resnest_edu.speed import accelerate as execute_per_split
from resnest_edu.training.augmentation import normalize
from resnest_edu.training.average import MovingAverage
from resnest_edu.training.batches import Plan, TensorImages, seed_of
from resnest_edu.training.classification import Classification
from resnest_edu.training.distributed import ALONE, Group
from resnest_edu.training.interruption import Interruption
from resnest_edu.training.recipe import BaseRecipe, Recipe, parameter_groups
from resnest_edu.training.run_state import Checkpoints
from resnest_edu.training.schedule import learning_rate, ramp
from resnest_edu.training.task import EpochMetrics, Task, best_of, half_precision, precision_on


def default_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU; of several processes those on a Mac share its CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    alone = "TORCHELASTIC_RUN_ID" not in os.environ  # gloo, by which processes talk there, has no way to MPS
    return torch.device("mps" if alone and torch.backends.mps.is_available() else "cpu")


def build_optimizer(model: nn.Module, recipe: BaseRecipe, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimizer; its rate is set before every step."""
    groups, fused = parameter_groups(model, recipe.weight_decay), device.type in ("cpu", "cuda")
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=(recipe.momentum, 0.999), fused=fused)
    momentum = recipe.momentum
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=momentum > 0, fused=fused)


class Run:
    """A training run between two steps: all that a step changes, to be saved and restored.

    Attributes:
        step: how many steps have been taken.
        history: the metrics of every finished epoch.
        best: the state of the network of the epoch that is best on the validation images, where there are some.
    """

    def __init__(self, model: nn.Module, recipe: BaseRecipe, task: Task, plan: Plan, device: torch.device) -> None:
        self.model, self.recipe, self.task, self.plan, self.device = model, recipe, task, plan, device
        self.optimizer = build_optimizer(model, recipe, device)
        self.average = MovingAverage(model, recipe.ema) if recipe.ema else None
        scales = precision_on(device, recipe.precision) == torch.float16  # or small gradients would be none
        self.scaler = torch.amp.GradScaler(device.type, enabled=scales)
        self.dropblocks = [module for module in model.modules() if isinstance(module, DropBlock)]
        self.warmup_steps = min(round(recipe.warmup_epochs * plan.epoch_steps), plan.steps - 1)
        self.generator = torch.Generator()
        self.step = 0
        self.sums = torch.zeros(2 + len(task.tallies), device=device)  # of the epoch so far: images, loss, tallies
        self.seconds = 0.0
        self.history: list[EpochMetrics] = []
        self.best: dict[str, Tensor] | None = None
        self._unchecked: list[Tensor] = []

    @property
    def measured(self) -> nn.Module:
        """The network whose accuracy counts: the average, where there is one."""
        return self.average.model if self.average else self.model

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "scaler": self.scaler.state_dict(),
            "best": self.best,
            "sums": self.sums,
            "seconds": self.seconds,
            "history": [asdict(metrics) for metrics in self.history],
        }

    def load(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average:
            self.average.model.load_state_dict(content["average"])
            self.average.updates = content["step"]  # it takes in every step
        if content.get("scaler"):  # a run may go on where it needs none, or have begun there
            self.scaler.load_state_dict(content["scaler"])
        self.best = content.get("best")
        self.step, self.seconds = content["step"], content["seconds"]
        # Of several processes all take the sums of process 0, which alone has saved: a share stands for the whole.
        self.sums = content["sums"].to(self.device)
        self.history = [self.task.metrics(**metrics) for metrics in content["history"]]

    def rate(self, step: int) -> float:
        peak, warmup, total = self.recipe.peak_rate, self.warmup_steps, self.plan.steps
        return learning_rate(step, peak=peak, warmup_steps=warmup, total_steps=total)

    @property
    def seen(self) -> int:
        """How many images the epoch's steps so far have had, of all processes."""
        return self.step % self.plan.epoch_steps * self.plan.batch_size

    @property
    def batch_size(self) -> int:
        """Images of the step that comes, of all processes."""
        return min(self.plan.batch_size, self.plan.images - self.seen)

    def take_step(self, network: Callable[..., Any], batch: Any) -> None:
        """One step of gradient descent. ``network`` is the model, or a compiled or distributed form of it.

        Every random number of the step follows from the seed, the step and the process alone.
        """
        place = self.plan.seed, self.step, self.plan.group.rank
        torch.manual_seed(seed_of("network", *place))
        self.generator.manual_seed(seed_of("batch", *place))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        for block in self.dropblocks:
            block.probability = ramp(self.step, end=self.recipe.dropblock, total_steps=self.plan.steps)

        images, losses = self.batch_size, []
        options: dict[str, Any] = {"count": images, "device": self.device, "generator": self.generator}
        for micro_batch, count, is_last in self.micro_batches(batch):
            # Processes exchange their gradients once a step.
            waits = not is_last and isinstance(network, DistributedDataParallel)
            with network.no_sync() if waits else nullcontext():  # type: ignore[attr-defined]
                loss, tallies = self.task.step(network, micro_batch, **options)
                # Gradients are averaged over the processes, and have to be summed.
                self.scaler.scale(loss * self.plan.group.size).backward()
            with torch.no_grad():
                self.sums += torch.stack([torch.full_like(loss, count), loss * images, *tallies])
            losses.append(loss.detach())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update()
        self._unchecked.append(sum(losses[1:], losses[0]))
        self.step += 1

    def micro_batches(self, batch: Any) -> Iterator[tuple[Any, int, bool]]:
        """The parts of this process's share of the step that comes, of two images at least; how many images are in
        each, and whether it is the last. All processes have as many parts."""
        group, images = self.plan.group, self.batch_size
        parts, share = min(self.recipe.accumulate, images // group.size // 2), group.share_of(images)
        if parts <= 1:
            yield batch, share, True
            return
        ends = [share * part // parts for part in range(parts + 1)]
        for start, end in pairwise(ends):
            yield tuple(one[start:end] for one in batch), end - start, end == share

    def require_finite(self, last_good: str, *, every: int = 1) -> None:
        """Raise FloatingPointError if the loss of a step since the last check was not a finite number.

        To look at a number on a GPU takes until it is there: hence only ``every`` so many steps.
        """
        if not self._unchecked or len(self._unchecked) < every:
            return
        losses = torch.stack(self._unchecked).tolist()
        first = self.step - len(losses)
        self._unchecked.clear()
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the training loss is {loss} at step {step} (epoch {step // self.plan.epoch_steps + 1}), with the "
                    f"learning rate at {self.rate(step):.4g}: lower base_rate (={self.recipe.base_rate}); {last_good}"
                )

    def require_finite_weights(self, last_good: str) -> None:
        """Raise FloatingPointError if the steps so far, whose losses were finite, have left weights that are not."""
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise FloatingPointError(
                f"a weight is not a finite number after step {self.step - 1}, with the learning rate at "
                f"{self.rate(self.step - 1):.4g}: lower base_rate (={self.recipe.base_rate}); {last_good}"
            )

    def measure(self, model: nn.Module, data: Any, workers: int) -> dict[str, float]:
        """The task's measure of a network, at the precision of the training."""
        with half_precision(self.device, self.recipe.precision):
            return self.task.measure(model, data, workers=workers, group=self.plan.group)

    def finish_epoch(self, data: Dataset, workers: int, started: float, *, is_val: bool) -> EpochMetrics:
        """Measure the network and note the epoch's metrics; keep the network if it is the best on validation images."""
        group = self.plan.group
        seen, *sums = group.sum(self.sums).tolist()
        train_seconds = self.seconds + time.perf_counter() - started
        group.copy_from_first(self.measured)
        measured: dict[str, Any] = self.measure(self.measured, data, workers)
        if is_val:
            val = {name.removeprefix("test_"): value for name, value in measured.items()}
            measured = {**dict.fromkeys(measured, math.nan), "val": val}
        training = dict(zip(("train_loss", *self.task.tallies), (one / seen for one in sums), strict=True))
        metrics = self.task.metrics(
            epoch=self.step // self.plan.epoch_steps,
            **training,
            **measured,
            learning_rate=self.rate(self.step - 1),
            images_per_second=seen / train_seconds,
            seconds=self.seconds + time.perf_counter() - started,
        )
        self.history.append(metrics)
        if is_val and best_of(self.history) is metrics:
            self.best = copy.deepcopy(self.measured.state_dict())
        self.sums, self.seconds = torch.zeros_like(self.sums), 0.0
        return metrics


def compile_ahead(model: nn.Module, images: Tensor, recipe: BaseRecipe) -> Callable[[Tensor], Tensor]:
    """The model compiled for batches like ``images``, on CUDA into graphs; its weights and statistics stay as they are.

    Gradients that are averaged over processes, or accumulated, stay out of the graphs.
    """
    stays = recipe.accumulate == 1 and not isinstance(model, DistributedDataParallel)
    graphs = "reduce-overhead" if images.is_cuda and stays else None
    compiled = torch.compile(model, mode=graphs, dynamic=False)
    buffers = [buffer.clone() for buffer in model.buffers()]
    inputs = normalize(torch.zeros_like(images)).contiguous(memory_format=torch.channels_last)
    for _ in range(3):  # to compile, to warm up, to record the graph
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with half_precision(images.device, recipe.precision):
            compiled(inputs).float().sum().backward()
        model.zero_grad()
    with torch.no_grad():
        for buffer, earlier in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(earlier)
    return compiled


def train(
    model: nn.Module,
    train_data: Dataset,
    test_data: Dataset | None,
    recipe: BaseRecipe,
    *,
    val_data: Dataset | None = None,
    task: Task | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    workers: int = 0,
    checkpoints: Checkpoints | None = None,
    accelerate: bool = False,
    compile: bool = False,
    group: Group = ALONE,
    progress: bool | None = None,
    after_epoch: Callable[[EpochMetrics], None] | None = None,
) -> list[EpochMetrics]:
    """Train ``model`` in place by the recipe and measure it after every epoch: on the test images, or on validation
    images where there are some.

    The rate warms up in a straight line and falls as a cosine does. The seed decides order, augmentation and dropping;
    the model's weights are the caller's to seed. The memory format is channels-last, the precision the recipe's; on
    CUDA data in memory is kept on the device. Where the recipe averages the weights, the model ends with the average;
    with validation images, as it was after the epoch that is best on them.

    PyTorch's threads stay as they are. Networks as small as those of the book train best with one,
    ``torch.set_num_threads(1)``, which is what the command line does: two wait for each other wherever something else
    runs.

    With ``checkpoints`` the run goes on from what its folder holds. On the CPU, with the same number of threads, it
    ends with the same bits as if it had never been interrupted; on CUDA so too if
    ``torch.use_deterministic_algorithms`` is on. Ctrl-C then saves before it stops.

    Args:
        model: maps (B, 3, H, W) to (B, classes), unless the task says otherwise.
        train_data: yields (uint8 image (3, H, W), label); see :class:`TensorImages` for data in memory.
        test_data: likewise; may be None if there is ``val_data``.
        val_data: likewise: what is measured after every epoch, instead of the test images. These are then measured at
            the end, with the network of the best epoch, and their numbers stand in that epoch's metrics.
        recipe: how to train; its ``model`` and ``image_size`` are not looked at.
        task: what to learn; if None, to classify, and the recipe is a :class:`Recipe`.
        seed: of the data order, the augmentation and the dropping.
        device: where to train; if None, CUDA where there is one, else Apple's MPS where there is one.
        workers: processes that read data which is not in memory.
        checkpoints: where to save the run, and to look for its beginning.
        accelerate: run split attention one split at a time (:func:`resnest_edu.speed.accelerate`), which is for the
            caller to measure: on some devices it is faster. The model stays so.
        compile: run a compiled form, on CUDA recorded as graphs: takes a minute at first, then a small network's steps
            take a fraction of their time.
        group: the processes that train together.
        progress: draw a progress bar; if None, only on a terminal.
        after_epoch: called with every epoch's metrics.

    Returns:
        The metrics of every epoch.

    Raises:
        ValueError: there are too few training images, nothing to measure on, or the task cannot be compiled.
        FloatingPointError: the loss stopped being a finite number; the message has the step, the rate and the last good
            checkpoint.
        KeyboardInterrupt: the run was interrupted, and saved if there are ``checkpoints``.
        OSError: a checkpoint could not be written.

    Example:
        >>> from dataclasses import replace
        >>> from resnest_edu.data import ShapesDataset
        >>> from resnest_edu.training import TensorImages, get_recipe, train
        >>> data = TensorImages(*ShapesDataset(32).tensors())
        >>> test_data = TensorImages(*ShapesDataset(16, split="test").tensors())
        >>> recipe = replace(get_recipe("shapes"), epochs=2, batch_size=16)
        >>> history = train(recipe.build(8), data, test_data, recipe)
        >>> [metrics.epoch for metrics in history], history[-1].score_name
        ([1, 2], 'test_accuracy')
    """
    if task is None:
        if not isinstance(recipe, Recipe):
            raise ValueError(f"task (=None) must be given with a recipe for {recipe.task}")
        task = Classification(recipe)
    if compile and not task.compiles:
        raise ValueError(f"compile (=True) must be False for {recipe.task}")
    if test_data is None and val_data is None:
        raise ValueError("test_data (=None) must be given, or val_data")
    plan = Plan(len(train_data), recipe.batch_size, recipe.epochs, seed, group)  # type: ignore[arg-type]
    device = torch.device(device or default_device())
    model.to(device).to(memory_format=torch.channels_last).train()
    if accelerate:
        execute_per_split(model)
    if device.type == "cuda":
        parts: Any = train_data, test_data, val_data
        train_data, test_data, val_data = (
            data.to(device) if isinstance(data, TensorImages) else data for data in parts
        )
    run = Run(model, recipe, task, plan, device)
    content = checkpoints.restore() if checkpoints else None
    if checkpoints and content:
        with checkpoints.readable_by_this_version():
            run.load(content)
    if run.history and (run.history[0].val is None) != (val_data is None):
        wanted = "given" if val_data is None else "None"
        raise ValueError(f"val_data must be {wanted}, as in the run that the checkpoint is of")
    group.require_same("step of the checkpoint", run.step, device)
    task.begin(model, train_data, device)
    if test_data is not None:
        task.check_test_data(test_data)
    if val_data is not None:
        task.check_test_data(val_data, "val_data")
    network = group.wrap(model, device)
    full: Callable[..., Any] = network
    if compile and run.step < plan.steps:
        image = train_data[0][0].to(device)
        count = max(2, group.share_of(recipe.batch_size) // recipe.accumulate)
        full = compile_ahead(network, image.expand(count, -1, -1, -1), recipe)

    def save() -> None:
        run.require_finite(describe())
        run.require_finite_weights(describe())
        if checkpoints and group.writes:
            checkpoints.save(model, run.state())

    def describe() -> str:
        return checkpoints.describe_last() if checkpoints else "no checkpoints were kept"

    bar = tqdm(
        total=recipe.epochs * plan.images,
        initial=run.step // plan.epoch_steps * plan.images + run.seen,
        unit="img",
        unit_scale=True,
        disable=(None if progress is None else not progress) if group.writes else True,
    )
    cuda_devices = [device] if device.type == "cuda" else []
    with bar, torch.random.fork_rng(cuda_devices), Interruption() as interruption:
        started = time.perf_counter()
        for batch in task.batches(train_data, plan, first=run.step, workers=workers, pin_memory=device.type == "cuda"):
            size = run.batch_size
            if compile and device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            run.take_step(full if size == recipe.batch_size else network, batch)
            run.require_finite(describe(), every=50 if device.type == "cuda" else 1)
            bar.update(size)
            if run.step % plan.epoch_steps == 0:
                run.require_finite(describe())
                measured: Any = test_data if val_data is None else val_data
                metrics = run.finish_epoch(measured, workers, started, is_val=val_data is not None)
                started = time.perf_counter()
                bar.set_postfix_str(f"epoch {metrics.epoch}/{recipe.epochs}, {metrics.describe()}")
                if checkpoints and group.writes:
                    if best_of(run.history) is metrics:
                        checkpoints.save_best(run.measured, metrics)
                    checkpoints.write_metrics([one.row() for one in run.history])
                if group.writes and after_epoch is not None:
                    after_epoch(metrics)
                save()
            elif interruption.requested or (checkpoints and checkpoints.due):
                run.seconds += time.perf_counter() - started
                started = time.perf_counter()
                save()
            if interruption.requested and run.step < plan.steps:
                raise KeyboardInterrupt(f"after step {run.step} of {plan.steps}; {describe()}")
        if run.average:
            model.load_state_dict(run.average.model.state_dict())
        if run.best is not None:
            model.load_state_dict(run.best)
        if run.best is not None and test_data is not None:
            best = best_of(run.history)
            tested: Any = run.measure(model, test_data, workers)
            best = run.history[best.epoch - 1] = replace(best, **tested)
            if checkpoints and group.writes:
                checkpoints.save_best(model, best)
                checkpoints.write_metrics([one.row() for one in run.history])
    return run.history
