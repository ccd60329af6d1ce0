"""Random truths and imperfect predictions of them."""

import torch
from torch import Tensor

CLASSES, SIDE = 3, 200


def filled(boxes: Tensor) -> Tensor:
    """Masks of the boxes' pixels, uint8 (n, S, S)."""
    masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks


def guesses(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a poor detector finds in an image, and what is there: of all sizes, some of it a crowd."""
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=chance)

    objects = int(draw() * 8)
    start = draw(objects, 2) * 60
    boxes = torch.cat([start, start + 4 + draw(objects, 2) ** 2 * 130], 1).round()
    labels = 1 + (draw(objects) * CLASSES).long()
    crowd = draw(objects) < 0.2
    moved = boxes.repeat(2, 1) + (draw(2 * objects, 4) - 0.5) * 8
    strays = draw(3, 2) * 100
    found = torch.cat([moved, torch.cat([strays, strays + 20], 1)])
    found[:, 2:] = found[:, 2:].maximum(found[:, :2] + 2)
    guessed = torch.cat([labels.repeat(2), torch.tensor([1, 2, 3])])
    wrong = draw(len(guessed)) < 0.1
    guessed[wrong] = 1 + guessed[wrong] % CLASSES
    predictions = {
        "boxes": found,
        "labels": guessed,
        "scores": draw(len(guessed)),
        "masks": filled(found.clamp(0, SIDE))[:, None] * 0.9,
    }
    return predictions, {"boxes": boxes, "labels": labels, "masks": filled(boxes), "crowd": crowd}


def maps(seed: int) -> tuple[Tensor, Tensor]:
    """A map that is right for half of the pixels, and the truth, of four classes, some of it ignored."""
    chance = torch.Generator().manual_seed(seed)
    truth = torch.randint(4, (1, 20, 20), generator=chance)
    guess = torch.where(torch.rand(truth.shape, generator=chance) < 0.5, truth, 3 - truth)
    truth[torch.rand(truth.shape, generator=chance) < 0.1] = 255
    return guess, truth
