"""What lies in book/results is what the pages need: whole, with its provenance, by an experiment that is there."""

import importlib.util
from pathlib import Path

from resnest_edu.book.records import is_complete, read

RESULTS = sorted((Path(__file__).parents[3] / "book" / "results").glob("*.json"))


def test_every_record_is_whole_and_names_its_experiment():
    assert RESULTS
    for path in RESULTS:
        record = read(path)
        assert is_complete(record), path.name
        assert importlib.util.find_spec(f"resnest_edu.book.experiments.{path.stem}"), path.name
        assert record["command"].startswith(f"python -m resnest_edu.experiments {path.stem}"), path.name
        assert record["commit"] and "with changes" not in record["commit"], path.name
