import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from resnest_edu.book.experiments import segmentation_shapes as experiment
from resnest_edu.book.experiments._shapes import build
from resnest_edu.data import ShapesDataset
from resnest_edu.training import TensorImages
from tests.randomize import randomize


def test_a_seed(monkeypatch):
    scenes = {"train_scenes": 16, "test_scenes": 20, "epochs": 1, "warmup_epochs": 0.0}
    monkeypatch.setattr(experiment, "SEGMENT", replace(experiment.SEGMENT, **scenes))
    monkeypatch.setattr(experiment, "trained", lambda kind, seed, images, device: randomize(build(seed)))
    monkeypatch.setattr(experiment, "images_of", lambda seed: [None, TensorImages(*ShapesDataset(40).tensors())])
    found = experiment.run_seed(3)
    json.dumps(found)
    assert list(found["classifier"]) == list(experiment.SETTINGS)
    assert len({loss for loss, _ in found["classifier"].values()}) == 3
    assert len(found["class_iou"]) == 9
    of_wrong, of_all = zip(*found["bands"], strict=True)
    assert sum(of_wrong) == pytest.approx(1, abs=1e-3) and sum(of_all) == pytest.approx(1, abs=1e-3)
    assert set(found["written"]) == {"4", "8", "16", "32"}


def test_bands_around_one_pixel():
    maps = torch.zeros(1, 21, 21, dtype=torch.int64)
    maps[0, 10, 10] = 5
    sizes = [int(band.sum()) for band in experiment.bands(maps)]
    assert sizes == [9, 25 - 9, 81 - 25, 289 - 81, 441 - 289]


def test_what_fits_into_the_cells_is_read_as_it_was():
    maps = torch.zeros(1, 32, 32, dtype=torch.int64)
    maps[:, :, 16:] = 3
    read = experiment.written(maps, 4)
    assert all(guess.equal(maps) for guess in read.values())
    U = experiment.interpolation(4, 32)
    z = torch.randn(1, 2, 8, 8).double()
    torch.testing.assert_close(U @ z @ U.T, F.interpolate(z, size=(32, 32), mode="bilinear"))
