import json

import pytest
import torch

from resnest_edu.book.experiments import speed_stages

FORMS = [f"{form}, {memory}" for memory in ("contiguous", "channels-last") for form in ("reference", "per split")]


def test_four_forms_are_timed_in_every_stage(monkeypatch):
    monkeypatch.setattr(speed_stages, "STAGES", {1: (8, 6), 2: (16, 3)})
    monkeypatch.setattr(speed_stages, "ROUNDS", 3)
    found = speed_stages.run(torch.device("cuda"))  # a GPU changes nothing
    json.dumps(found)
    assert "cores" in found["device"]
    assert list(found["stages"]) == ["1", "2"]
    for forms in found["stages"].values():
        assert list(forms) == FORMS
        assert all(0 < low <= median <= high for low, median, high in forms.values())


def test_all_forms_take_the_same_step():
    results = [step() for step in speed_stages.steps(8, 6).values()]
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("memory", speed_stages.FORMATS)
def test_form_and_format_are_those_named(memory, monkeypatch):
    accelerated = []
    monkeypatch.setattr(speed_stages, "accelerate", accelerated.append)
    step = speed_stages.steps(8, 6)[f"reference, {memory}"]
    block, images, _ = step.args
    layout = speed_stages.FORMATS[memory]
    assert images.is_contiguous(memory_format=layout)
    assert block.conv1.weight.is_contiguous(memory_format=layout)
    assert len(accelerated) == 2 and block not in accelerated
