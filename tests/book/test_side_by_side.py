"""Calls side by side: every result comes once, and no process stays behind, however it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from resnest_edu.book.side_by_side import side_by_side

ROOT = Path(__file__).resolve().parents[2]
# `eval` can be pickled, so a call is written as an expression.
SLOW = "__import__('time').sleep(600)"  # whoever waits for it has not ended it


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    assert multiprocessing.active_children() == []


def test_results_come_as_they_are_finished(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    threads = "__import__('torch').get_num_threads(), __import__('os').environ['TORCHINDUCTOR_COMPILE_THREADS']"
    calls = ["__import__('time').sleep(1) or 1", "2", threads, "__import__('os').getpid()"]
    results = list(side_by_side(eval, calls, processes=2))
    order = [argument for argument, _ in results]
    assert order.index("2") < order.index(calls[0])
    found = dict(results)
    assert [found[call] for call in calls[:3]] == [1, 2, (1, "3")]  # two processes share seven cores to compile
    assert found[calls[3]] != os.getpid()
    assert dict(side_by_side(eval, calls[3:], processes=1)) == {calls[3]: os.getpid()}  # one process is this one
    with pytest.raises(ValueError, match=r"processes \(=0\) must be an integer of at least 1"):
        side_by_side(eval, [], processes=0)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_argument_is_taken_when_a_process_is_free_for_it(processes):
    taken = []
    # From the fourth on, calls take long.
    arguments = (str(taken.append(number) or number) if number < 3 else SLOW for number in count())
    results = side_by_side(eval, arguments, processes=processes)
    for finished in range(1, 4):
        next(results)
        assert len(taken) <= finished + processes - 1
    start = time.monotonic()
    results.close()  # whoever takes no more results ends all
    assert time.monotonic() - start < 500


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_has_its_traceback_and_ends_the_others(processes):
    start = time.monotonic()
    results = side_by_side(eval, ["1", "1 / 0", SLOW], processes=processes)
    assert next(results) == ("1", 1)
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        list(results)
    if processes == 2:
        assert 'File "<string>", line 1' in str(caught.value.__cause__)
    assert time.monotonic() - start < 500


def test_a_killed_process_ends_the_others():
    start = time.monotonic()
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    with pytest.raises(RuntimeError, match=r"a process was killed, perhaps .*, while these ran: .*getpid"):
        list(side_by_side(eval, [kill, SLOW], processes=2))
    assert time.monotonic() - start < 500


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_one_that_is_interrupted_or_killed(end, tmp_path):
    marks = [tmp_path / "working", tmp_path / "idle"]
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom resnest_edu.book.side_by_side import side_by_side\n"
        "if __name__ == '__main__':\n    list(side_by_side(eval, sys.argv[1:], processes=2))\n"
    )
    calls = [f"open({str(mark)!r}, 'w').write(str(__import__('os').getpid()))" for mark in marks]
    calls[0] += f" and {SLOW}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script), *calls], env=environment, start_new_session=True, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 300
    while not all(mark.exists() and mark.read_text() for mark in marks):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    if end == signal.SIGINT:
        os.killpg(parent.pid, end)  # as a terminal does
    else:
        parent.kill()
    errors = parent.communicate(timeout=300)[1].decode()
    assert parent.returncode != 0
    if end == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1 and "Process" not in errors
    deadline, processes = time.monotonic() + 300, [int(mark.read_text()) for mark in marks]
    while any(map(is_running, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, processes))
