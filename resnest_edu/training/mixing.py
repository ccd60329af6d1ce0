"""Targets that are not one class: label smoothing, mixup, CutMix.

Legend: B batch, C channels, H height, W width, n classes, ε share of a target that is smoothed away, λ share of an
image that is its own.

In mixup and CutMix the partner of an image is its mirror image in the batch: the first meets the last, and so on. The
loop shuffles, so this is as random as a permutation; it draws nothing, and no image meets itself but the middle one
of an odd batch.
"""

from typing import get_args

import numpy as np
import torch
from torch import Tensor

from resnest_edu.arguments import require_in_range, require_one_of, require_positive_int
from resnest_edu.training.recipe import MixPer, Smoothing


def smooth(
    labels: Tensor,
    classes: int,
    epsilon: float,
    *,
    definition: Smoothing = "all",
) -> Tensor:
    """Class numbers to smoothed targets: each row a distribution over the classes.

    ``"all"`` spreads ε over all n classes (arXiv:1512.00567; PyTorch, and the code released with ResNeSt), ``"others"``
    takes it from the true class and spreads it over the rest (the text of the ResNeSt paper, arXiv:2004.08955).

    Shape: int64 (B,) -> float32 (B, n).

    Raises:
        ValueError: labels are no such tensor, classes not at least 2, ε not in [0, 1], the definition unknown.

    Example:
        >>> import torch
        >>> from resnest_edu.training.mixing import smooth
        >>> smooth(torch.tensor([1]), 4, 0.2)
        tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
        >>> smooth(torch.tensor([1]), 5, 0.2, definition="others")
        tensor([[0.0500, 0.8000, 0.0500, 0.0500, 0.0500]])
    """
    _require_labels(labels)
    _require_classes(classes)
    require_in_range("epsilon", epsilon, 0, 1)
    require_one_of("definition", definition, get_args(Smoothing))
    if definition == "all":
        off = epsilon / classes
        on = 1 - epsilon + off
    else:
        off = epsilon / (classes - 1)
        on = 1 - epsilon
    targets = torch.full((len(labels), classes), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], on)


def equivalent_epsilon(epsilon: float, classes: int) -> float:
    """The ε that makes ``"all"`` the same targets as ``epsilon`` makes ``"others"``: ε · n / (n - 1).

    So ``F.cross_entropy(label_smoothing=…)``, which knows only ``"all"``, serves for both.

    Raises:
        ValueError: ``classes`` is below 2, or ``epsilon`` not in [0, (n - 1) / n]: beyond that the true class would be
            the least likely, and no ε of ``"all"`` gives that.
    """
    _require_classes(classes)
    require_in_range("epsilon", epsilon, 0, (classes - 1) / classes)
    return epsilon * classes / (classes - 1)


def mixup(
    images: Tensor,
    targets: Tensor,
    alpha: float,
    *,
    per: MixPer = "batch",
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Blend each image with another of the batch, and their targets likewise: λ of
    its own, 1 - λ of the other's, with λ ~ Beta(α, α) (mixup, Zhang et al.,
    arXiv:1710.09412).

    Shape: images (B, C, H, W), targets (B, n) -> the same.

    Args:
        images: bytes or floating point; bytes come back as float32, on their old scale.
        targets: distributions over the classes, floating point, such as :func:`smooth` gives.
        alpha: α, greater than 0. A small one draws λ near 0 or 1, a large one near 1/2.
        per: draw one λ a ``"batch"`` (the code released with ResNeSt) or one for each ``"example"`` (its paper).
        generator: of the CPU, so that a seed means the same on every device.

    Raises:
        ValueError: an argument is not as above.
    """
    _require_batch(images, targets)
    require_in_range("alpha", alpha, 0, open_low=True)
    require_one_of("per", per, get_args(MixPer))
    images = images if images.is_floating_point() else images.float()
    count = 1 if per == "batch" else len(images)
    own = _beta(alpha, count, generator)
    return _blend(images, own.to(images).view(-1, 1, 1, 1)), _blend(targets, own.to(targets).view(-1, 1))


def cutmix(
    images: Tensor,
    targets: Tensor,
    alpha: float,
    *,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Paste a box of another image of the batch into each image, and mix their
    targets by area (CutMix, Yun et al., arXiv:1905.04899). One box a batch; see
    :func:`cutmix_box`.

    Shape: images (B, C, H, W), targets (B, n) -> the same.

    Args:
        images: bytes or floating point; the type stays, for nothing is computed.
        targets: as for :func:`mixup`.
        alpha: α, greater than 0; the share that an image keeps is drawn from Beta(α, α), and then corrected to what the
            box leaves of it. The paper uses 1, which makes every share equally likely.
        generator: as for :func:`mixup`.

    Raises:
        ValueError: an argument is not as above.
    """
    _require_batch(images, targets)
    require_in_range("alpha", alpha, 0, open_low=True)
    height, width = images.shape[2:]
    own = _beta(alpha, 1, generator).item()
    top, bottom, left, right = cutmix_box(height, width, own, generator=generator)
    inside = (..., slice(top, bottom), slice(left, right))
    mixed = images.clone()
    mixed[inside] = images.flip(0)[inside]
    own = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, _blend(targets, own)


def cutmix_box(height: int, width: int, own: float, *, generator: torch.Generator) -> tuple[int, int, int, int]:
    """A box of the image's proportions that leaves about ``own``, in [0, 1], of its area: (top, bottom, left, right),
    in pixels (CutMix, arXiv:1905.04899).

    Its centre is any pixel with the same chance, so it may reach over the border, and is cut off there: what it covers
    is then less than 1 - ``own``. Raises ValueError if a side is not a positive integer or ``own`` not such a share.
    """
    require_positive_int(height=height, width=width)
    require_in_range("own", own, 0, 1)
    side = (1 - own) ** 0.5  # of the box, over that of the image
    ends = []
    for length in (height, width):
        box = round(length * side)
        start = int(torch.randint(length, (), generator=generator)) - box // 2
        ends += [max(start, 0), min(start + box, length)]
    return ends[0], ends[1], ends[2], ends[3]


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draws from Beta(α, α), float64 (count,), on the CPU.

    torch's own distributions take no generator, NumPy's do; so ours only says where NumPy's starts.
    """
    start = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(start).beta(alpha, alpha, count))


def _blend(x: Tensor, own: Tensor | float) -> Tensor:
    return own * x + (1 - own) * x.flip(0)


def _require_batch(images: Tensor, targets: Tensor) -> None:
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(
            f"images (={images.dtype}, {tuple(images.shape)}) must be bytes or floating point of shape (B, C, H, W)"
        )
    if targets.ndim != 2 or len(targets) != len(images) or not targets.is_floating_point():
        raise ValueError(
            f"targets (={targets.dtype}, {tuple(targets.shape)}) must be floating point of shape (B, classes) with "
            f"B = {len(images)}"
        )


def _require_labels(labels: Tensor) -> None:
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(f"labels (={labels.dtype}, {tuple(labels.shape)}) must be int64 of shape (B,)")


def _require_classes(classes: int) -> None:
    require_positive_int(classes=classes)
    if classes < 2:
        raise ValueError(f"classes (={classes}) must be at least 2")
