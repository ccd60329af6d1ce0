"""What the tests run under ``torchrun``, or alone: ``gradients FILE PARTS …``, ``train MARKER …``, or ``fail - …``."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from resnest_edu import cli as __main__
from resnest_edu.training import train
from resnest_edu.training.distributed import process_group
from resnest_edu.training.loop import Run
from tests.training.small_runs import RECIPE, images, small_model, values

PLAIN = replace(
    RECIPE, mixup=0.0, cutmix=0.0, dropout=0.0, dropblock=0.0, stochastic_depth=0.0, shift=0, flip=False, batch_size=10
)


def freeze_norms(model: nn.Module) -> None:
    """Batch norms that see only their running statistics: those of the batch differ from process to process."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]
            module.training = False


def gradients(path: str, *parts: str) -> None:
    """Save every step's gradients and the final weights, for each number of parts that a batch is taken in."""
    torch.set_num_threads(1)
    start, runs = Run.__init__, []
    with process_group("cpu") as group:
        for accumulate in parts:
            model, found = small_model(drops=False).double(), []
            freeze_norms(model)
            nn.init.ones_(model.layer1[0].bn3.weight)  # so that every weight has a gradient
            nn.init.ones_(model.layer2[0].bn3.weight)

            def watched(self, *arguments, model=model, found=found) -> None:
                start(self, *arguments)
                self.optimizer.register_step_pre_hook(
                    lambda *_: found.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())
                )

            # Four steps of ten images and a last one of nine, which two processes share five and four.
            model.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
            recipe, val_data = replace(PLAIN, accumulate=int(accumulate)), images(13, 2)
            with mock.patch.object(Run, "__init__", watched):
                history = train(
                    model, images(49, 0), images(17, 1), recipe, val_data=val_data, progress=False, group=group
                )
            losses = [(m.train_loss, m.train_accuracy, *m.val.values(), m.test_loss, m.test_accuracy) for m in history]
            runs.append({"gradients": found, "weights": values(model), "losses": losses, "size": group.size})
        if group.writes:
            torch.save(runs, path)


def fail(marker: str, *arguments: str) -> int:
    """The command line; process 1 cannot read an image at its second step."""
    step = Run.take_step

    def failing(self, *rest) -> None:
        if self.plan.group.rank == 1 and self.step == 1:
            raise ValueError("cannot read image a.png")
        step(self, *rest)

    Run.take_step = failing  # type: ignore[method-assign]
    return __main__.main(arguments)


def train_and_lose_a_worker(marker: str, *arguments: str) -> int:
    """The command line; process 1 dies at its seventh step, but only the first time."""
    torch.set_num_threads(1)
    step = Run.take_step

    def dangerous(self, *rest) -> None:
        if self.plan.group.rank == 1 and self.step == 7 and marker != "-" and not Path(marker).exists():
            Path(marker).write_text("it happened")
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, *rest)

    Run.take_step = dangerous  # type: ignore[method-assign]
    return __main__.main(arguments)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    sys.exit({"gradients": gradients, "train": train_and_lose_a_worker, "fail": fail}[what](*rest))
