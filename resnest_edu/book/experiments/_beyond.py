"""A network beyond what it was trained on: objects of any size, and scenes that have lost their lightness or colour.

Legend: N scenes, C channels, S side of a picture in pixels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from resnest_edu.data import TEST_START, SceneConfig, draw_scenes
from resnest_edu.split_attention import record_attention
from resnest_edu.training import TensorImages, predict
from resnest_edu.training.augmentation import normalize

DIAMETERS = 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0
"""Of the object, as a share of the picture's side; in training it is 0.55 to 0.9."""
SCENES, ORDINARY = 200, 1000


def sized(diameter: float) -> TensorImages:
    """The very same scenes for every diameter, without clutter and occluders, with the object of this diameter."""
    config = SceneConfig(scale=(0.2, 0.2), enlarge=diameter / 0.2, clutter=0, occlusion=0)
    scenes = draw_scenes(TEST_START, SCENES, config=config)
    return TensorImages(torch.from_numpy(scenes.images), torch.from_numpy(scenes.labels))


def lightness_and_colour(images: Tensor) -> dict[str, Tensor]:
    """Pictures as they are, with their lightness alone, and with the same lightness everywhere, as far as bytes allow.

    Shape: uint8 (N, 3, S, S) -> the same, three times.
    """
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    lightness = (images * luma).sum(dim=1, keepdim=True)
    copies = {"lightness alone": lightness.expand(-1, 3, -1, -1), "colour alone": images - lightness + 255 / 2}
    return {"as they are": images} | {
        name: copied.clamp(0, 255).round().to(torch.uint8) for name, copied in copies.items()
    }


def weights_of_first(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The attention's weight of split 1 in every stage: uint8 (N, 3, S, S) -> (N, C) each."""
    return [attention[:, 0] for attention in record_attention(model, normalize(images)).values()]


def far_from_usual(weights: list[Tensor], usual: list[Tensor]) -> list[float]:
    """The mean distance of every stage's weights from each channel's usual one."""
    return [(a - mean).abs().mean().item() for a, mean in zip(weights, usual, strict=True)]


def beyond_training(model: nn.Module, test_data: TensorImages) -> dict[str, Any]:
    """Accuracies, as fractions, and how far the attention is from usual, by stage; both by diameter and on ordinary
    scenes. In ``said`` is how often the network gives its commonest answer where there is colour alone."""
    ordinary = TensorImages(test_data.images[:ORDINARY], test_data.labels[:ORDINARY])
    weights = weights_of_first(model, ordinary.images)
    usual = [a.mean(dim=0) for a in weights]
    tests = [sized(diameter) for diameter in DIAMETERS]
    answers = {name: predict(model, images).argmax(1) for name, images in lightness_and_colour(ordinary.images).items()}
    return {
        "ordinary distance": _rounded(far_from_usual(weights, usual)),
        "distance": [_rounded(far_from_usual(weights_of_first(model, test.images), usual)) for test in tests],
        "accuracy": _rounded((predict(model, test.images).argmax(1) == test.labels).float().mean() for test in tests),
        "colours": {name: round((said == ordinary.labels).float().mean().item(), 5) for name, said in answers.items()},
        "said": round(answers["colour alone"].bincount().max().item() / len(ordinary), 5),
    }


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]
