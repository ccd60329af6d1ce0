import torch

from resnest_edu.book.experiments._seeds import run_seeds


def test_every_seed_runs_in_a_process_of_one_thread(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    found = dict(run_seeds("tests.book.experiments.squares", ["2", "3"], torch.device("cpu"), None))
    assert found == {"2": {"square": 4, "threads": 1}, "3": {"square": 9, "threads": 1}}
