"""What ``predict`` and ``evaluate`` have in common as commands: the model, the device, one line for whatever fails."""

import argparse
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from resnest_edu.arguments import first_line
from resnest_edu.inference.trained_model import TrainedModel, open_model
from resnest_edu.training.failure import explain_failure
from resnest_edu.training.loop import default_device

SMALL_IMAGES = 64
"""Up to this many pixels one thread is nearly as fast as two; as in training, on which the last digits depend."""


def build_parser(name: str, description: str, example: str, more: str) -> argparse.ArgumentParser:
    """With the options of both."""
    parser = argparse.ArgumentParser(
        prog=f"python -m resnest_edu.training {name}",
        allow_abbrev=False,
        description=description,
        epilog=f"Example: {example}. {more}",
    )
    parser.add_argument(
        "source",
        metavar="MODEL",
        help="the folder of a run, of which the best network is taken; one of its files; a file of published weights; "
        "or the name of a model that has some, such as resnest50",
    )
    parser.add_argument("--model", metavar="NAME", help="of a file of published weights that bears another name")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="print JSON, with all digits")
    parser.add_argument("--traceback", action="store_true", help="print where an error comes from, before its line")
    return parser


def open_for(arguments: argparse.Namespace) -> TrainedModel:
    """The model on the device asked for, and the threads that fit it."""
    try:
        device = torch.device(arguments.device) if arguments.device else default_device()
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device (={arguments.device!r}) must be a device of this machine: {first_line(error)}"
        ) from error
    model = open_model(arguments.source, arguments.model, device=device)
    if device.type == "cpu" and model.recipe.image_size <= SMALL_IMAGES:
        torch.set_num_threads(1)
    return model


def require_for(model: TrainedModel, arguments: argparse.Namespace, **tasks: list[str]) -> None:
    """Raise ValueError if an option is given that the model's task does not have."""
    for name, fitting in tasks.items():
        if getattr(arguments, name) and model.recipe.task not in fitting:
            raise ValueError(f"--{name.replace('_', '-')} must not be given for {model.recipe.task}")


def run_command(parser: argparse.ArgumentParser, run: Callable[[Any], int], argv: Sequence[str]) -> int:
    """The exit status: of ``run``; 130 for Ctrl-C, and 2, after one line, for whatever else ends it early."""
    arguments, threads = parser.parse_args(argv), torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
            return run(arguments)
    except Exception as error:
        if arguments.traceback:
            traceback.print_exc()
        print(f"error: {explain_failure(error, None, '', skips=True)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        torch.set_num_threads(threads)  # of whoever calls this from Python
