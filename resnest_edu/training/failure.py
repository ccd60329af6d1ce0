"""What has failed, in one line: the cause in its own words, without PyTorch's around them, and what helps.

Errors in what was asked for (:data:`FORESEEN`) are told by their words alone. Whatever else is raised may be a fault of
this package: its line begins with the kind of error and says how to see the traceback.
"""

import errno
import re

from resnest_edu.training.recipe import BaseRecipe

FORESEEN = (ValueError, OSError, FloatingPointError, ImportError)
ANEW = "--overwrite, or another --out, begins anew"
NO_MEMORY = re.compile("out of memory|allocate|not enough memory|bad_alloc|ALLOC_FAILED", re.IGNORECASE)
LOST_READER = re.compile(r"DataLoader worker .*(killed|exited)")
LOST_PROCESS = re.compile("Connection (closed|reset|refused)|remote process|ncclRemoteError")


def cause(error: BaseException) -> tuple[str, str]:
    """The kind of an error and what it says, in one line: of one in a process that reads data, which PyTorch gives as
    the text of a traceback, the last line."""
    kind, lines = type(error).__name__, str(error).strip().splitlines() or [""]
    if any(line.startswith("Original Traceback") for line in lines):
        last = [line for line in lines if not line.startswith((" ", "\t"))][-1]
        kind, _, text = last.partition(": ")
        return kind.rpartition(".")[2], text
    # One of ours is a line; PyTorch may print where in its own code it was raised.
    return kind, " ".join(lines) if isinstance(error, FORESEEN) else lines[0]


def explain_failure(error: BaseException, recipe: BaseRecipe | None, last_good: str, *, skips: bool) -> str:
    """One line for the command line.

    Args:
        error: what has ended the run.
        recipe: how the run trains, if that is known.
        last_good: which checkpoint there is.
        skips: whether broken images are left out already.
    """
    kind, text = cause(error)
    of_pytorch = isinstance(error, RuntimeError)  # words of ours may hold the names of people's files
    if of_pytorch and LOST_READER.search(text):
        return f"a process that reads images was lost, perhaps for memory: lower --workers; {last_good} ({text})"
    no_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if recipe is not None and (no_memory or (of_pytorch and NO_MEMORY.search(text))):
        place = f"at a batch of {recipe.batch_size}, {recipe.image_size} pixels"
        return f"out of memory {place}: lower --batch-size or --image-size, or --workers; {ANEW}; {last_good}"
    if not isinstance(error, FORESEEN):
        if of_pytorch and LOST_PROCESS.search(text):
            return f"another process of the run has ended, and what it printed says why; {last_good} ({text})"
        return f"{kind}: {text} (--traceback shows where)" if text else f"{kind} (--traceback shows where)"
    if isinstance(error, FloatingPointError):
        return f"{text}; {ANEW}"
    if "cannot read image" in text and recipe is not None and recipe.task == "classification" and not skips:
        return f"{text}; --skip-broken leaves such files out"
    return text or kind
