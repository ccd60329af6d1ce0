"""What does a trained network keep at a finer stride, where does its segmenter err, and what can a coarse map say?

From each seed a small classifier of drawn shapes, by the recipe ``shapes``: at its own output stride, 16, and with the
same weights at 8, with the dilation that the released rule gives and with the one that its weights were trained for.
Then the segmenter that it becomes by the recipe ``segment-shapes``: how good it is, class by class, and how far its
wrong pixels lie from a boundary. And without a network, the truth of the same held-out scenes, written into maps of
four strides.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from resnest_edu.book.experiments._shapes import images_of, trained
from resnest_edu.data import SHAPE_CLASSES
from resnest_edu.network.resnest import create_model
from resnest_edu.training import evaluate, train
from resnest_edu.training.augmentation import normalize
from resnest_edu.transfer import (
    TRANSFER_RECIPES,
    Segmentation,
    SegmentationRecipe,
    SegmentationScore,
    evaluate_segmenter,
    scene_splits,
)

NEEDS_CUDA = False
SEEDS = range(10)
SEGMENT = TRANSFER_RECIPES["segment-shapes"]
SETTINGS: dict[str, tuple[int, int | None]] = {"16": (16, None), "8, by the rule": (8, None), "8, by hand": (8, 2)}
"""Output stride, and the dilation of the last stage where it is set by hand."""
DISTANCES = (1, 2, 4, 8)
"""Pixels to the nearest one of another class, at most; a last band has those farther away."""
STRIDES = (4, 8, 16, 32)


def run_seed(seed: int) -> dict[str, Any]:
    """Of the classifier, loss and accuracy in every setting; of the segmenter, its scores and errors; of the truth, the
    mean IoU that is left of it."""
    assert isinstance(SEGMENT, SegmentationRecipe)
    cpu = torch.device("cpu")
    images = images_of(seed)
    classifier = trained("attention", seed, images, cpu)
    torch.manual_seed(seed)
    scenes = scene_splits(SEGMENT, seed)
    test: Any = scenes.test
    segmenter = segmenter_on(classifier)
    options: dict[str, Any] = {"task": Segmentation(SEGMENT), "seed": seed, "device": cpu, "progress": False}
    train(segmenter, scenes.train, test, SEGMENT, **options)
    score = evaluate_segmenter(segmenter, test, len(scenes.classes))
    truth = test.maps.long()
    guess = predict(segmenter, test.images)
    wrong = guess != truth
    return {
        "classifier": {
            name: [round(value, 4) for value in evaluate(finer(classifier, *setting), images[1])]
            for name, setting in SETTINGS.items()
        },
        **{name: round(value, 4) for name, value in score.compute().items()},
        "class_iou": [round(value, 4) for value in score.class_iou()],
        "object_or_background": round((wrong & ((guess == 0) != (truth == 0))).sum().item() / wrong.sum().item(), 4),
        "bands": [
            [round(value, 5) for value in (band[wrong].float().mean().item(), band.float().mean().item())]
            for band in bands(truth)
        ],
        "written": {str(stride): mean_ious(written(truth, stride), truth) for stride in STRIDES},
    }


def finer(classifier: nn.Module, output_stride: int, dilation: int | None = None) -> nn.Module:
    """The trained classifier at another output stride, and with another dilation in its last stage."""
    network = create_model(SEGMENT.model, len(SHAPE_CLASSES), output_stride=output_stride)
    network.load_state_dict(classifier.state_dict())
    if dilation:
        conv: Any = network.get_submodule("layer3.0.conv2.conv")
        conv.dilation = conv.padding = (dilation, dilation)
    return network.eval()


def segmenter_on(classifier: nn.Module) -> nn.Module:
    """The recipe's segmenter, its backbone the classifier without its head."""
    assert isinstance(SEGMENT, SegmentationRecipe)
    backbone = SEGMENT.backbone(SEGMENT.output_stride)
    weights = {name: value for name, value in classifier.state_dict().items() if not name.startswith("fc.")}
    backbone.body.load_state_dict(weights)
    return SEGMENT.build_on(backbone, 1 + len(SHAPE_CLASSES))


@torch.inference_mode()
def predict(segmenter: nn.Module, images: Tensor) -> Tensor:
    """The class of every pixel. Shape: uint8 (N, 3, H, W) -> (N, H, W)."""
    segmenter.eval()
    return torch.cat([segmenter(normalize(some))["out"].argmax(1) for some in images.split(20)])


def near_boundary(maps: Tensor, distance: int) -> Tensor:
    """Pixels with another class at most so far away, in rows and columns. Shape: (N, H, W) -> (N, H, W)."""
    x = maps[:, None].float()
    window: Any = {"kernel_size": 2 * distance + 1, "stride": 1, "padding": distance}
    return (F.max_pool2d(x, **window) != -F.max_pool2d(-x, **window))[:, 0]


def bands(maps: Tensor) -> list[Tensor]:
    """Every pixel is in one: those at the distances 1, 2, 3 to 4, 5 to 8 and more than 8."""
    reached = torch.zeros_like(maps, dtype=torch.bool)
    found = []
    for inside in [near_boundary(maps, distance) for distance in DISTANCES] + [~reached]:
        found.append(inside & ~reached)
        reached = reached | inside
    return found


def interpolation(stride: int, size: int) -> Tensor:
    """U, which makes ``size`` values of size/stride values on a line."""
    unit = torch.eye(size // stride).double()
    line = F.interpolate(unit[None], size=size, mode="linear")[0]
    return rearrange(line, "cells pixels -> pixels cells")


def written(maps: Tensor, stride: int) -> dict[str, Tensor]:
    """The truth in a map of this stride, two ways, and read again. Shape: (N, H, W) -> (N, H, W)."""
    one_hot = rearrange(F.one_hot(maps, 1 + len(SHAPE_CLASSES)).double(), "n h w c -> n c h w")
    U = interpolation(stride, maps.shape[-1])
    best = torch.linalg.pinv(U)
    scores = {"cells' means": F.avg_pool2d(one_hot, stride), "least squares": best @ one_hot @ best.T}
    return {way: (U @ z @ U.T).argmax(1) for way, z in scores.items()}


def mean_ious(guesses: dict[str, Tensor], truth: Tensor) -> dict[str, float]:
    """Mean IoU of each of several maps, over one table."""
    found = {}
    for name, guess in guesses.items():
        score = SegmentationScore(1 + len(SHAPE_CLASSES))
        score.update(guess, truth)
        found[name] = round(score.compute()["mean_iou"], 4)
    return found
