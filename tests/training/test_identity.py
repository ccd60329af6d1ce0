import torch
from torch.utils.data import Subset, TensorDataset

from resnest_edu.data import open_image_folder
from resnest_edu.training import TensorImages
from resnest_edu.training.identity import digest


def test_every_byte_label_and_place_counts():
    images, labels = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), torch.tensor([0, 1])
    found = {digest(TensorImages(images, labels))}
    assert digest(TensorImages(images.clone(), labels.clone())) in found
    other = images.clone()
    other[1, 2, 1, 1] += 1
    found |= {digest(TensorImages(other, labels)), digest(TensorImages(images, labels.flip(0)))}
    found |= {digest(TensorImages(images.flip(0), labels)), digest(TensorImages(images[:1], labels[:1]))}
    assert len(found) == 5


def test_files_count_by_name_and_label_and_by_what_is_held_out(colour_folder):
    first = open_image_folder(colour_folder, size=8)
    assert digest(first.train) == digest(open_image_folder(colour_folder, size=8).train)
    found = {digest(first.train), digest(first.test), digest(open_image_folder(colour_folder, size=8, seed=1).train)}
    (colour_folder / "red" / "0.png").rename(colour_folder / "red" / "00.png")
    found |= {digest(open_image_folder(colour_folder, size=8).train)}
    assert len(found) == 4
    renamed = open_image_folder(colour_folder, size=8)
    colour_folder.rename(colour_folder.with_name("elsewhere"))
    moved = open_image_folder(colour_folder.with_name("elsewhere"), size=8)
    assert digest(moved.train) == digest(renamed.train)


def test_of_other_data_the_number_counts():
    data = TensorDataset(torch.arange(4))
    assert digest(data) != digest(Subset(data, [0, 1]))
    assert digest(data) == digest(TensorDataset(torch.arange(1, 5)))
