import json

import pytest
import torch

from resnest_edu import results

CPU = torch.device("cpu")


def test_summary():
    summary = results.summarize([1.0, 2.0, 6.0])
    assert summary == {"mean": 3.0, "sd": pytest.approx(7**0.5), "n": 3}
    with pytest.raises(ValueError, match=r"values \(=\[1.0\]\) must be at least two"):
        results.summarize([1.0])


@pytest.fixture
def code(monkeypatch):
    """A package of three modules whose sources the test may change."""
    sources = {
        "resnest_edu.alpha": "from resnest_edu.beta import value\n\ndef run():\n    return value\n",
        "resnest_edu.beta": "value = 1\n",
        "resnest_edu.gamma": "value = 2\n",
    }
    monkeypatch.setattr(results, "_source", sources.get)
    return sources


def test_fingerprint_follows_imports(code):
    before = results.fingerprint("resnest_edu.alpha")
    code["resnest_edu.gamma"] = "value = 3\n"
    assert results.fingerprint("resnest_edu.alpha") == before  # not imported
    code["resnest_edu.beta"] = "value = 3\n"
    assert results.fingerprint("resnest_edu.alpha") != before


def test_fingerprint_ignores_comments_and_docstrings_alone(code):
    before = results.fingerprint("resnest_edu.alpha")
    code["resnest_edu.alpha"] = (
        '"""Alpha."""\nfrom resnest_edu.beta import value\n\ndef run():\n    """Run."""\n    return value  # so\n'
    )
    assert results.fingerprint("resnest_edu.alpha") == before
    code["resnest_edu.alpha"] = code["resnest_edu.alpha"].replace("return value", "return -value")
    assert results.fingerprint("resnest_edu.alpha") != before


def test_fingerprint_of_a_real_experiment_covers_what_it_trains():
    parts = results.modules("resnest_edu.experiments.shapes_seeds")
    assert {
        "resnest_edu.experiments.shapes_seeds",
        "resnest_edu.training.loop",
        "resnest_edu.split_attention",
        "resnest_edu.data.silhouettes",
    } <= set(parts)
    assert "resnest_edu.figures" not in parts
    with pytest.raises(ValueError, match=r"module \(='resnest_edu.nothing'\) must be a module"):
        results.fingerprint("resnest_edu.nothing")


def test_record_and_read(tmp_path):
    path, module = tmp_path / "results" / "x.json", "resnest_edu.experiments.shapes_seeds"
    assert not results.is_recorded(path, module)
    results.record(path, {"answer": 42}, module=module, command="python -m x", device=CPU)
    content = results.read(path)
    assert (content["answer"], content["command"]) == (42, "python -m x")
    assert content["device"].startswith("CPU")
    assert content["versions"]["torch"] == torch.__version__
    assert results.is_recorded(path, module)
    assert not results.is_recorded(path, "resnest_edu.resnest")  # other code
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]
    assert results.describe(content) == (
        f"Recorded on {content['date']} on {content['device']} with PyTorch {torch.__version__}."
    )


@pytest.mark.parametrize(
    ("figures", "complete"),
    [
        ({"answer": 42}, True),
        ({"pieces": {"a": 1}, "missing": ["b"]}, False),
        ({"pieces": {"a": 1, "b": 2}, "missing": []}, False),
        ({"pieces": {"a": 1, "b": 2}, "missing": [], "summary": 3}, True),
        ({"pieces": {"a": 1}, "missing": ["b"], "summary": 3}, False),
    ],
)
def test_a_record_without_all_pieces_does_not_count(tmp_path, figures, complete):
    path, module = tmp_path / "x.json", "resnest_edu.arguments"
    assert results.recorded(path) is None
    results.record(path, figures, module=module, command="python -m x", device=CPU)
    assert results.is_complete(results.read(path)) == results.is_recorded(path, module) == complete
    assert results.recorded(path) == (results.read(path) if complete else None)


def test_files_that_are_no_records(tmp_path):
    with pytest.raises(FileNotFoundError):
        results.read(tmp_path / "missing.json")
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="must be a record in JSON"):
        results.read(path)
    path.write_text(json.dumps({"answer": 42}))
    with pytest.raises(ValueError, match=r"must be a record with its provenance; \['code', 'command'.*\] is missing"):
        results.read(path)
    assert not results.is_recorded(path, "resnest_edu.resnest")
