"""Several runs side by side: one small network does not fill a GPU, nor one thread a processor.

Each run is the call of one function in a process of its own. The processes are spawned, for what CUDA has set up in a
process does not survive a fork.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection
from typing import TypeVar

import torch

from resnest_edu.arguments import require_positive_int

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def side_by_side(
    function: Callable[[Argument], Result], arguments: Iterable[Argument], *, processes: int
) -> Iterator[tuple[Argument, Result]]:
    """Call ``function`` on every argument, up to ``processes`` calls at a time; each yields when it is finished.

    An argument is taken only when a process is free for it, so whoever gives them may stop at any time. With one
    process the calls are made in this one. When an error is raised, here or in a call, or the caller takes no more
    results, all processes end at once; none outlives this one.

    Args:
        function: can be pickled, so it stands at the top of a module; on several processes so can its arguments and
            results.
        arguments: of the calls; may be endless.
        processes: how many. If there are several, each computes with one thread.

    Yields:
        An argument and what the function returned for it, in the order in which the calls are finished.

    Raises:
        ValueError: there is no process.
        RuntimeError: a process was killed.
        Exception: what a call raised, with its traceback as the cause.
    """
    require_positive_int(processes=processes)
    if processes == 1:
        return ((argument, function(argument)) for argument in arguments)
    return _spread(function, iter(arguments), processes)


def _spread(
    function: Callable[[Argument], Result], arguments: Iterator[Argument], processes: int
) -> Iterator[tuple[Argument, Result]]:
    context = multiprocessing.get_context("spawn")
    # Nothing is ever written into this pipe. Its end, closed on purpose or because this process has died, is the sign
    # for all others to go.
    waiting, held = context.Pipe(duplex=False)
    compilers = max(1, (os.cpu_count() or 1) // processes)
    executor = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(waiting, compilers))
    running: dict[Future[Result], Argument] = {}
    try:
        # An executor starts a process when it is given something to do, and watches over those that it had when it was
        # last given something. So all start before the first call: none can die unnoticed.
        for _ in range(processes):
            executor.submit(int)
        while True:
            for argument in islice(arguments, processes - len(running)):
                running[executor.submit(function, argument)] = argument
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda one: one.exception() is not None):  # what succeeded comes first
                yield running[future], future.result()
                del running[future]
    except BrokenProcessPool as error:
        names = ", ".join(repr(argument) for argument in running.values())
        raise RuntimeError(f"a process was killed, perhaps for want of memory, while these ran: {names}") from error
    finally:
        if running:
            held.close()
        executor.shutdown(cancel_futures=True)  # whoever has nothing to do ends in good order
        held.close()
        waiting.close()


def _start(waiting: Connection, compilers: int) -> None:
    """Prepare a new process: one thread, its share of the cores to compile with, and an end with the one that started
    it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    torch.set_num_threads(1)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(compilers))

    def follow() -> None:
        waiting.poll(None)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
