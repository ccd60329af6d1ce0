import json

import pytest
import torch
from torchvision.ops import box_iou

from resnest_edu.book.experiments import cascade_boxes as experiment


@pytest.fixture
def objects():
    return experiment.visible_boxes(0)[:50]


def test_a_seed(monkeypatch):
    monkeypatch.setattr(experiment, "SCENES", 20)
    found = experiment.run_seed(4)
    json.dumps(found)
    shares = [[positive for positive, _ in step.values()] for step in found["starvation"]]
    assert all(step == sorted(step, reverse=True) for step in shares)  # a higher threshold leaves fewer
    assert all(list(column) == sorted(column) for column in zip(*shares, strict=True))  # a better box passes more
    assert list(found["mismatch"]) == ["0.5", "0.7"]
    assert list(found["schemes"]) == list(experiment.SCHEMES)
    first, second = ({tuple(box) for box in experiment.visible_boxes(seed).tolist()} for seed in (0, 1))
    assert not first & second
    assert found["schemes"]["no head"] != found["schemes"]["one head, 0.5"]


def test_overlap_is_the_iou_with_the_own_object(objects):
    truth, boxes = experiment.proposals(objects, torch.Generator().manual_seed(0), each=1)
    torch.testing.assert_close(experiment.overlap(boxes, truth), box_iou(boxes, truth).diagonal())


def test_without_noise_a_head_corrects_everything(objects, monkeypatch):
    monkeypatch.setattr(experiment, "NOISE", 0.0)
    generator = torch.Generator().manual_seed(0)
    truth, boxes = experiment.proposals(objects, generator)
    head = experiment.fit(truth, boxes, 0.5, generator)
    assert head == pytest.approx(1)
    torch.testing.assert_close(experiment.apply(head, truth, boxes, generator), truth)
    ideal = experiment.apply(0.5, truth, boxes, generator)
    torch.testing.assert_close(experiment.halve(truth, boxes), ideal)


def test_none_is_the_head_before(objects, monkeypatch):
    fitted, used = [], []
    fit, apply = experiment.fit, experiment.apply
    monkeypatch.setattr(experiment, "fit", lambda *given: fitted.append(given[2]) or fit(*given))
    monkeypatch.setattr(experiment, "apply", lambda head, *given: used.append(head) or apply(head, *given))
    experiment.after(objects, (0.5, None, 0.7), 0)
    assert fitted == [0.5, 0.7]
    assert len(set(used[:4])) == 1 and used[4] == used[5] != used[0]
