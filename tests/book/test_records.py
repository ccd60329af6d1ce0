import json
import subprocess

import pytest
import torch

from resnest_edu import provenance
from resnest_edu.book import records

CPU = torch.device("cpu")


def test_summary():
    summary = records.summarize([1.0, 2.0, 6.0])
    assert summary == {"mean": 3.0, "sd": pytest.approx(7**0.5), "n": 3}
    with pytest.raises(ValueError, match=r"values \(=\[1.0\]\) must be at least two"):
        records.summarize([1.0])


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_commit_is_that_of_the_repository_that_tracks_the_package(tmp_path, monkeypatch):
    package = tmp_path / "environment" / "package"
    package.mkdir(parents=True)
    (package / "results.py").touch()
    monkeypatch.setattr(provenance, "__file__", str(package / "results.py"))
    monkeypatch.delenv("RESNEST_EDU_COMMIT", raising=False)
    assert provenance._commit() is None  # no git
    monkeypatch.setenv("RESNEST_EDU_COMMIT", "0123456789ab")
    assert provenance._commit() == "0123456789ab"
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project's")
    assert provenance._commit() == "0123456789ab"  # the package lies inside, and is not tracked
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "now it is")
    commit = provenance._commit()
    assert len(commit) == 12 and commit != "0123456789ab"
    (package / "results.py").write_text("changed = True")
    assert provenance._commit() == f"{commit} with changes"


def test_record_and_read(tmp_path):
    version = torch.__version__.partition("+")[0]
    path, module = tmp_path / "results" / "x.json", "resnest_edu.book.experiments.shapes_seeds"
    assert not records.is_recorded(path, module)
    records.record(path, {"answer": 42}, module=module, command="python -m x", device=CPU)
    content = records.read(path)
    assert (content["answer"], content["command"]) == (42, "python -m x")
    assert content["device"].endswith(" cores") and content["threads"] == torch.get_num_threads()
    assert content["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert content["versions"]["torch"] == torch.__version__
    assert records.is_recorded(path, module)
    assert not records.is_recorded(path, "resnest_edu.network.resnest")  # other code
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]
    content.update(device="Some CPU, 2 cores", instructions="AVX2", threads=1)
    assert records.describe(content) == (
        f"Recorded on {content['date']} on Some CPU, 2 cores, AVX2, 1 thread a run, PyTorch {version}."
    )
    content.update(device="A GPU", driver="1.2")
    assert records.describe(content) == f"Recorded on {content['date']} on A GPU, PyTorch {version}."


def test_a_record_without_all_pieces_does_not_count(tmp_path):
    path, module = tmp_path / "x.json", "resnest_edu.arguments"
    assert records.recorded(path) is None
    for figures, complete in [
        ({"answer": 42}, True),
        ({"pieces": {"a": 1}, "missing": ["b"]}, False),
        ({"pieces": {"a": 1, "b": 2}, "missing": []}, False),
        ({"pieces": {"a": 1, "b": 2}, "missing": [], "summary": 3}, True),
        ({"pieces": {"a": 1}, "missing": ["b"], "summary": 3}, False),
    ]:
        records.record(path, figures, module=module, command="python -m x", device=CPU)
        assert records.is_complete(records.read(path)) == records.is_recorded(path, module) == complete
        assert records.recorded(path) == (records.read(path) if complete else None)


def test_files_that_are_no_records(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"json'\) must be a file: .* run the notebooks in a clone"):
        records.read(tmp_path / "missing.json")
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="must be a record in JSON"):
        records.read(path)
    path.write_text(json.dumps({"answer": 42}))
    with pytest.raises(ValueError, match=r"must be a record with its provenance; \['code', 'command'.*\] is missing"):
        records.read(path)
    assert not records.is_recorded(path, "resnest_edu.network.resnest")
