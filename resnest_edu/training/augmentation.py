"""What happens to images between the data set and the network: to whole batches on the network's device where the data
fit in memory, or to one image at a time where they are read from disk.

Legend: B batch, H height, W width, S side of a square.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import torch
from PIL import Image
from torch import Tensor, nn

from resnest_edu.arguments import require_in_range, require_one_of, require_positive_int
from resnest_edu.data.image_files import square
from resnest_edu.network.preprocessing import MEAN, STD, centre, normalize  # noqa: F401  # where some were before
from resnest_edu.training.recipe import Policy, Recipe

if TYPE_CHECKING:  # the functions that use torchvision import it, since that takes seconds
    from torchvision.transforms import v2


def flip_and_shift(images: Tensor, *, flip: bool, shift: int, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2 and move it by up to ``shift`` pixels each way.

    What a shift uncovers repeats the border. Every image draws its own mirror and shift.

    Shape: (B, 3, H, W) -> (B, 3, H, W), any dtype.
    """
    batch, _, height, width = images.shape
    if not flip and not shift:
        return images

    def draw(low: int, high: int) -> Tensor:  # on the CPU, so that a seed means the same on every device
        return torch.randint(low, high + 1, (batch, 1), generator=generator).to(images.device)

    rows = torch.arange(height, device=images.device) + draw(-shift, shift)  # b h
    columns = torch.arange(width, device=images.device) + draw(-shift, shift)  # b w
    if flip:
        columns = torch.where(draw(0, 1) == 1, width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def apply_policy(
    images: Tensor,
    policy: Policy,
    *,
    generator: torch.Generator,
    group: int = 8,
) -> Tensor:
    """Distort a batch of small images by AutoAugment (arXiv:1805.09501, as learnt on
    CIFAR-10) or RandAugment (arXiv:1909.13719, two operations of magnitude 9 of 30),
    both torchvision's.

    torchvision draws once for a tensor, however many images it holds. One draw a batch would make every step's gradient
    that of one distortion; one draw an image would start a dozen tiny operations for each. So ``group`` images,
    neighbours in a shuffled batch, share a draw. The global generator is left as it was.

    Shape: uint8 (B, 3, H, W) -> the same.

    Raises:
        ValueError: the images are not such bytes, the policy is unknown, the group not a positive integer.
    """
    from torchvision.transforms import v2

    _require_images(images)
    require_positive_int(group=group)
    distort = _policy(policy, v2.AutoAugmentPolicy.CIFAR10)
    if not distort:
        return images
    start = int(torch.randint(2**63 - 1, (), generator=generator))
    with torch.random.fork_rng(devices=[]):  # torchvision draws on the CPU alone
        # Not torch.manual_seed, which would seed every GPU too.
        torch.default_generator.manual_seed(start)
        return torch.cat([distort[0](chunk) for chunk in images.split(group)])


def _require_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images (={images.dtype}, {tuple(images.shape)}) must be uint8 of shape (B, 3, H, W)")


def _policy(policy: Policy, learnt_on: v2.AutoAugmentPolicy) -> list[nn.Module]:
    """The policy's transform in a list, which is empty for ``"none"``."""
    from torchvision.transforms import InterpolationMode, v2

    require_one_of("policy", policy, get_args(Policy))
    # What a rotation or a shear uncovers becomes the mean colour, which the network sees as zero.
    settings: dict[str, Any] = {
        "interpolation": InterpolationMode.BILINEAR,
        "fill": [round(255 * mean) for mean in MEAN],
    }
    match policy:
        case "none":
            return []
        case "autoaugment":
            return [v2.AutoAugment(learnt_on, **settings)]
        case "randaugment":
            return [v2.RandAugment(**settings)]


class Lighting(nn.Module):
    """Move all of an image's colours together, as a change of the light would: add a random multiple of each principal
    component of ImageNet's colours (Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional
    Neural Networks, NIPS 2012, section 4.1). torchvision has no such transform.

    The multiples are normal with standard deviation ``deviation`` (at least 0; 0.1 in the paper, and ever since) times
    the component's eigenvalue, and drawn from the global generator, like torchvision's transforms.

    Shape: uint8 (3, H, W) -> uint8 (3, H, W).

    Raises:
        ValueError: the deviation or an image is not as above.
    """

    # For colours between 0 and 1. The paper does not print them; these are those of fb.resnet.torch, passed on ever
    # since.
    EIGENVALUES = (0.2175, 0.0188, 0.0045)
    EIGENVECTORS = (  # a column a component, its rows red, green, blue
        (-0.5675, 0.7192, 0.4009),
        (-0.5808, -0.0045, -0.8140),
        (-0.5836, -0.6948, 0.4203),
    )

    def __init__(self, deviation: float = 0.1) -> None:
        super().__init__()
        require_in_range("deviation", deviation, 0)
        self.deviation = deviation

    def forward(self, image: Tensor) -> Tensor:
        if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
            raise ValueError(f"image (={image.dtype}, {tuple(image.shape)}) must be uint8 of shape (3, H, W)")
        multiples = self.deviation * torch.randn(3) * torch.tensor(self.EIGENVALUES)
        shift = (torch.tensor(self.EIGENVECTORS) @ multiples).to(image.device)
        return (image + 255 * shift[:, None, None]).round().clamp(0, 255).to(torch.uint8)

    def extra_repr(self) -> str:
        return f"deviation={self.deviation}"


def train_transform(recipe: Recipe) -> Callable[[Image.Image], Tensor]:
    """What a training image goes through by the recipe, from PIL's RGB image of any
    size to uint8 (3, S, S) with S = ``image_size``: a random-size crop, mirror,
    AutoAugment (as learnt on ImageNet) or RandAugment, colour jitter of brightness,
    contrast and saturation, lighting.

    All but :class:`Lighting` are torchvision's, and all draw from the global generator, so that a DataLoader's workers
    each draw their own. Without a crop (0) the image is cut as for testing; what is 0, ``False`` or ``"none"`` is left
    out. Raises ValueError if the policy is unknown.
    """
    from torchvision.transforms import InterpolationMode, v2

    size, bicubic = recipe.image_size, InterpolationMode.BICUBIC
    steps: list[Any] = [partial(square, size=size)]
    if recipe.crop:
        area = (recipe.crop, 1)
        steps = [v2.RandomResizedCrop(size, scale=area, interpolation=bicubic)]
    if recipe.flip:
        steps.append(v2.RandomHorizontalFlip())
    steps += _policy(recipe.policy, v2.AutoAugmentPolicy.IMAGENET)
    if recipe.color_jitter:
        brightness = contrast = saturation = recipe.color_jitter
        steps.append(v2.ColorJitter(brightness, contrast, saturation))
    steps.append(v2.PILToTensor())
    if recipe.lighting:
        steps.append(Lighting(recipe.lighting))
    return v2.Compose(steps)


def test_transform(recipe: Recipe) -> Callable[[Image.Image], Tensor]:
    """What an image goes through to be measured in training, evaluated or predicted by the recipe, from PIL's RGB image
    of any size to uint8 (3, S, S) with S = ``image_size``.

    If the recipe crops, the shorter side is made S / 0.875, rounded, bilinearly, and from 320 pixels on S + 32,
    bicubically; then the centre is cropped. So does the MXNet code that trained the published weights. Without a crop
    training has seen whole images, so the shorter side is made S, bilinearly, and the centre cropped.
    """
    from torchvision.transforms import v2

    size = recipe.image_size
    return v2.Compose([*(centre(size) if recipe.crop else [partial(square, size=size)]), v2.PILToTensor()])


test_transform.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test's to pytest
