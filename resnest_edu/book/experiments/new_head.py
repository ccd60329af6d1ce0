"""Does a trunk that was trained on other classes help, when there are few images of one's own?

A publisher trains the small network on four of the eight shapes. We have 64 images of the four others, and use them in
four ways: a head on the frozen published trunk, or on an untrained one; all weights, from the published ones, or from
fresh ones. Each way is tried with three learning rates. A seed decides the publisher's training, our 64 images and
their order, and the fresh weights, head included, which are the same for all ways.
"""

import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn

from resnest_edu import ResNeSt, create_model, load_checkpoint
from resnest_edu.book.experiments.flipped_bits import logits, set_statistics
from resnest_edu.book.tiny_loop import fit
from resnest_edu.data import ShapesDataset
from resnest_edu.training.augmentation import normalize

NEEDS_CUDA = False
SEEDS = range(10)
KNOWN = 4
"""The publisher's classes are those below this number."""
TRAIN, TEST = 3200, 2000
FEW = 64
PUBLISHER_EPOCHS, EPOCHS = 3, 12
RATES = (0.05, 0.2, 0.8)

Pictures = tuple[Tensor, Tensor]


def run_seed(seed: int) -> dict[str, Any]:
    """The publisher's accuracy on the classes it knows, and ours on the others, by way and learning rate, in per
    cent."""
    (publisher, own), (publisher_test, own_test) = in_two(TRAIN, "train"), in_two(TEST, "test")
    torch.manual_seed(seed)
    published, untrained = fresh(), fresh()
    fit(published, *publisher, epochs=PUBLISHER_EPOCHS, peak=0.2, seed=seed)
    loaded = load_trunk(published, untrained)
    chosen = torch.randperm(len(own[0]))[:FEW]
    few = own[0][chosen], own[1][chosen]
    ways = {
        "all, from scratch": all_weights(untrained, few, own_test, seed),
        "all, loaded": all_weights(loaded, few, own_test, seed),
        "head, loaded trunk": head_only(loaded, few, own_test, seed),
    }
    # The control: only its weights are untrained; its norms know such images.
    set_statistics(untrained, publisher[0][:512])
    ways["head, fresh trunk"] = head_only(untrained, few, own_test, seed)
    return {"publisher": accuracy(published, *publisher_test), "ways": ways}


@cache
def in_two(count: int, split: Literal["train", "test"]) -> tuple[Pictures, Pictures]:
    """Images and labels of the first four classes, and of the last four."""
    images, labels = ShapesDataset(count, split=split).tensors()
    images = normalize(images).contiguous(memory_format=torch.channels_last)
    known = labels < KNOWN
    return (images[known], labels[known]), (images[~known], labels[~known] - KNOWN)


def fresh() -> ResNeSt:
    return create_model("resnest11_small", KNOWN).to(memory_format=torch.channels_last)


def load_trunk(published: ResNeSt, untrained: ResNeSt) -> ResNeSt:
    """The untrained network with the published trunk, by way of a file; its head stays as it is."""
    loaded = copy.deepcopy(untrained)
    with TemporaryDirectory() as folder:
        path = Path(folder, "published.pth")
        torch.save({"state_dict": published.state_dict()}, path)
        load_checkpoint(loaded, path, new_head=True)
    return loaded


@torch.no_grad()
def features(model: ResNeSt, images: Tensor) -> Tensor:
    """What the last layer reads: b c."""
    x = model.stem(images)
    for stage in model.channels:
        x = model.get_submodule(stage)(x)
    return x.mean(dim=(2, 3))


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    hits = logits(model.eval(), images).argmax(dim=1) == labels
    return round(100 * hits.float().mean().item(), 2)


def head_only(model: ResNeSt, few: Pictures, test: Pictures, seed: int) -> dict[str, float]:
    """Accuracy by learning rate. The frozen trunk gives the same features in every pass, so they are computed once."""
    model.eval()  # its batch norms keep their statistics
    few_features, test_features = features(model, few[0]), features(model, test[0])
    found = {}
    for rate in RATES:
        head = copy.deepcopy(model.fc)
        fit(head, few_features, few[1], epochs=EPOCHS, peak=rate, batch=16, seed=seed)
        found[str(rate)] = accuracy(head, test_features, test[1])
    return found


def all_weights(model: ResNeSt, few: Pictures, test: Pictures, seed: int) -> dict[str, float]:
    """Accuracy by learning rate, when everything is trained."""
    found = {}
    for rate in RATES:
        trained = copy.deepcopy(model)
        fit(trained, *few, epochs=EPOCHS, peak=rate, batch=16, seed=seed)
        found[str(rate)] = accuracy(trained, *test)
    return found
