"""Paths and devices may be strings, wherever they are asked for."""

from dataclasses import replace
from pathlib import Path

import pytest

from resnest_edu import create_model, fetch, load, load_checkpoint, read_header, save, training
from resnest_edu.data import cifar10, open_image_folder
from resnest_edu.data.image_files import load_image
from resnest_edu.training import Checkpoints, folder_data, get_recipe, save_checkpoint, train
from resnest_edu.transfer import create_backbone, folder_splits, open_detection_folder, open_segmentation_folder
from tests.training.small_runs import CLASSES, RECIPE, images, small_model
from tests.transfer.annotated_folders import write_voc
from tests.transfer.tiny_recipes import SEGMENTATION

NAME = "resnest11_small"


def test_paths_and_devices_may_be_strings(released: Path, colour_folder: Path, tmp_path: Path) -> None:
    colours, voc = str(colour_folder), str(write_voc(tmp_path / "voc"))
    recipe, model = get_recipe("shapes"), create_model(NAME, 2)
    file, checkpoint, run = (f"{tmp_path}/{name}" for name in ("a.safetensors", "a.pt", "run"))
    brief = replace(RECIPE, epochs=1)
    checkpoints = Checkpoints(run, brief, CLASSES)
    save(file, model), load(file), load_checkpoint(model, file), read_header(file)
    create_model(NAME, pretrained=file), create_backbone(NAME, weights=file), fetch(NAME, f"{tmp_path}/cache")
    save_checkpoint(checkpoint, model, recipe, CLASSES), training.load_checkpoint(checkpoint)
    train(small_model(), images(20, 0).to("cpu"), images(8, 1), brief, device="cpu", checkpoints=checkpoints)
    load_image(f"{colours}/red/0.png"), open_image_folder(colours, size=8), folder_data(colours, recipe)
    folder_splits(SEGMENTATION, voc), open_segmentation_folder(voc), open_detection_folder(voc, masks=False)
    with pytest.raises(ValueError, match="must contain"):
        cifar10(colours)
