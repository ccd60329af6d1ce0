"""Run a command while no other of these runs here: `python tools/alone.py COMMAND ...`.

Two installations into one environment, or two builds of one site, would spoil each other; the second one waits.
"""

import fcntl
import os
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "_build" / "lock"


def hold() -> None:
    """Wait for the lock, and hold it until this process and the commands that it starts have ended, however they do."""
    if "RESNEST_EDU_ALONE" in os.environ:  # a command that runs under this one need not wait for it
        return
    LOCK.parent.mkdir(exist_ok=True)
    file = os.open(LOCK, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another make is at work here; this one waits until it is done …", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    os.set_inheritable(file, True)
    os.environ["RESNEST_EDU_ALONE"] = str(os.getpid())


if __name__ == "__main__":
    hold()
    os.execvp(sys.argv[1], sys.argv[1:])
