"""What a trained network makes of images: classes, objects or maps, as tensors, in plain words, or drawn.

Legend: n objects, C classes, H height, W width of an image as it is in its file.
"""

import colorsys
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from resnest_edu.inference.trained_model import TrainedModel
from resnest_edu.training.augmentation import normalize, test_transform
from resnest_edu.training.evaluation import predict
from resnest_edu.training.recipe import Recipe
from resnest_edu.transfer.joint_augmentation import detection_transform, segmentation_transform


def predict_image(model: TrainedModel, image: Image.Image, *, threshold: float = 0.5) -> dict[str, Tensor]:
    """What a network makes of an image of any size, which comes to it as its recipe measures images.

    Args:
        model: see :func:`open_model`.
        image: in RGB, as :func:`resnest_edu.data.load_image` gives it.
        threshold: the least score of a detector's objects.

    Returns:
        On the CPU, of a classifier ``"probabilities"``, float32 (C,); of a detector ``"boxes"``, (n, 4) in pixels of
        the image, ``"labels"``, from 1 on, ``"scores"`` (n,), falling, and, if it finds them, ``"masks"``, bool (n, H,
        W); of a segmenter ``"map"``, int64 (H, W), the class of each pixel.

    Raises:
        ValueError: the image is not in RGB.

    Example:
        >>> from PIL import Image
        >>> from resnest_edu.inference import TrainedModel, predict_image
        >>> from resnest_edu.training import get_recipe
        >>> recipe = get_recipe("shapes")
        >>> model = TrainedModel(recipe.build(2).eval(), recipe, ("cat", "dog"))
        >>> predict_image(model, Image.new("RGB", (640, 480)))["probabilities"].shape
        torch.Size([2])
    """
    if image.mode != "RGB":
        raise ValueError(f"image (=mode {image.mode}) must be RGB, as resnest_edu.data.load_image reads it")
    recipe, device, sides = model.recipe, model.device, (image.height, image.width)
    with torch.inference_mode(), model.half_precision():
        if isinstance(recipe, Recipe):
            return {"probabilities": predict(model.network, test_transform(recipe)(image)[None])[0]}
        pixels = pil_to_tensor(image)
        if recipe.task == "segmentation":
            resized, _ = segmentation_transform(False, size=recipe.image_size)(pixels, torch.zeros(sides))
            logits = model.network(normalize(resized.to(device))[None])["out"]
            classes = logits.argmax(1, keepdim=True).to(torch.uint8)  # of which there are at most 255
            return {"map": F.interpolate(classes, sides, mode="nearest-exact")[0, 0].long().cpu()}
        resized, _ = detection_transform(False, size=recipe.image_size)(pixels, {"boxes": torch.zeros(0, 4)})
        [found] = model.network([normalize(resized.to(device))])
        found = {name: value[found["scores"] >= threshold].cpu() for name, value in found.items()}
        found["boxes"] *= torch.tensor([*image.size] * 2) / torch.tensor([*resized.shape[:0:-1]] * 2)
        if "masks" in found:  # one by one: in a photograph all together are large
            masks = [F.interpolate(mask[None].float(), sides, mode="bilinear")[0] > 0.5 for mask in found["masks"]]
            found["masks"] = torch.cat([torch.zeros(0, *sides, dtype=torch.bool), *masks])
        return found


def describe(model: TrainedModel, found: dict[str, Tensor], *, top: int = 5) -> list[dict[str, Any]]:
    """What was found in an image, as plain values for JSON, the most certain or the largest first.

    Args:
        model: which found it.
        found: see :func:`predict_image`.
        top: so many of a classifier's classes.

    Returns:
        Of a classifier ``class``, its name, and ``probability``; of a detector ``class``, ``score`` and ``box``, x1,
        y1, x2, y2 in pixels; of a segmenter ``class`` and ``share`` of the pixels, for each class that has any.
    """
    if "boxes" in found:
        objects = zip(*(found[name].tolist() for name in ("labels", "scores", "boxes")), strict=True)
        return [{"class": model.classes[one - 1], "score": score, "box": box} for one, score, box in objects]
    if "map" in found:
        shares = found["map"].flatten().bincount(minlength=len(model.classes)) / found["map"].numel()
        number, top = "share", int(shares.count_nonzero())
    else:
        number, shares = "probability", found["probabilities"]
    best = shares.topk(min(top, len(shares)))
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [{"class": model.classes[label], number: value} for label, value in rows]


def draw(model: TrainedModel, image: Image.Image, found: dict[str, Tensor]) -> Image.Image:
    """The image with a detector's boxes, names, scores and masks in it, or with a segmenter's map over it; a class has
    one colour everywhere.

    Args:
        model, found: as for :func:`describe`.
        image: what was looked at.
    """
    labels, masks = found["labels"].tolist() if "boxes" in found else [], found.get("masks")
    if "map" in found and (labels := [label for label in found["map"].unique().tolist() if label]):
        masks = torch.stack([found["map"] == label for label in labels])
    if not labels:  # or but the background
        return image
    pixels = pil_to_tensor(image)
    hues = [colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1) for label in labels]  # neighbours differ
    colours = [tuple(round(255 * part) for part in hue) for hue in hues]
    if masks is not None:
        pixels = draw_segmentation_masks(pixels, masks, alpha=0.5, colors=colours)
    if "boxes" in found:
        names = [f"{row['class']} {row['score']:.2f}" for row in describe(model, found)]
        pixels = draw_bounding_boxes(pixels, found["boxes"], names, colours, width=max(1, min(image.size) // 200))
    return to_pil_image(pixels)
