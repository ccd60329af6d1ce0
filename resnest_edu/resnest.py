"""The ResNeSt family: stem, stages, network, and one table of variants.

Legend: B batch, C channels, H height, W width. Parameter names, order and shapes are those of the published
checkpoints, which is why the stages are called ``layer1`` … and the head ``fc``.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from resnest_edu.arguments import require_positive_int
from resnest_edu.bottleneck import EXPANSION, Bottleneck


@dataclass(frozen=True)
class Variant:
    """One member of the family.

    Attributes:
        blocks: bottlenecks in each stage.
        planes: the stages' nominal widths; a stage emits 4 times as many channels.
        radix: R, splits a cardinal group.
        cardinality: K, cardinal groups.
        base_width: channels of one cardinal group where ``planes`` is 64 (the "d" of 2s1x64d).
        stem_width: channels of the stem's first two convolutions; the third emits twice as many.
        pool_first: average-pool before the 3×3 convolution of a down-sampling block instead of after it: the
            paper's "fast" setting, cheaper and less accurate.
    """

    blocks: tuple[int, ...]
    planes: tuple[int, ...] = (64, 128, 256, 512)
    radix: int = 2
    cardinality: int = 1
    base_width: int = 64
    stem_width: int = 32
    pool_first: bool = False


VARIANTS: dict[str, Variant] = {
    # The small one that the book trains from scratch, on images of 32 pixels.
    "resnest11_small": Variant((1, 1, 1), planes=(16, 32, 64), stem_width=16, pool_first=True),
    # The published networks, and timm's two smaller ones (14 and 26).
    "resnest14": Variant((1, 1, 1, 1)),
    "resnest26": Variant((2, 2, 2, 2)),
    "resnest50": Variant((3, 4, 6, 3)),
    "resnest101": Variant((3, 4, 23, 3), stem_width=64),
    "resnest200": Variant((3, 24, 36, 3), stem_width=64),
    "resnest269": Variant((3, 30, 48, 8), stem_width=64),
    # The paper's ablation (table 2): {radix}s{cardinality}x{base_width}d.
    "resnest50_fast_1s1x64d": Variant((3, 4, 6, 3), radix=1, pool_first=True),
    "resnest50_fast_2s1x64d": Variant((3, 4, 6, 3), radix=2, pool_first=True),
    "resnest50_fast_4s1x64d": Variant((3, 4, 6, 3), radix=4, pool_first=True),
    "resnest50_fast_1s2x40d": Variant((3, 4, 6, 3), radix=1, cardinality=2, base_width=40, pool_first=True),
    "resnest50_fast_2s2x40d": Variant((3, 4, 6, 3), radix=2, cardinality=2, base_width=40, pool_first=True),
    "resnest50_fast_4s2x40d": Variant((3, 4, 6, 3), radix=4, cardinality=2, base_width=40, pool_first=True),
    "resnest50_fast_1s4x24d": Variant((3, 4, 6, 3), radix=1, cardinality=4, base_width=24, pool_first=True),
}


class ResNeSt(nn.Module):
    """Split-attention network for image classification (arXiv:2004.08955).

    A deep stem (three 3×3 convolutions and a max-pool, which shrink the image by 4), stages of bottlenecks, each but
    the first of which halves the size again, the mean over all positions, and a dense layer.

    Shape: (B, 3, H, W) -> (B, num_classes) logits.

    Args:
        variant: the row of the table to build.
        num_classes: outputs of the last layer.

    Raises:
        ValueError: ``num_classes`` is not a positive integer, or the variant's numbers do not fit together.
    """

    def __init__(self, variant: Variant, num_classes: int = 1000) -> None:
        super().__init__()
        require_positive_int(num_classes=num_classes)
        if not variant.blocks or len(variant.blocks) != len(variant.planes):
            raise ValueError(
                f"blocks (={variant.blocks}) and planes (={variant.planes}) must name the same stages, at least one"
            )
        if any(count < 1 for count in variant.blocks):
            raise ValueError(f"blocks (={variant.blocks}) must be integers of at least 1")
        stem_width = variant.stem_width
        channels = 2 * stem_width
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem_width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
            nn.Conv2d(stem_width, stem_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
            nn.Conv2d(stem_width, channels, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage_names = tuple(f"layer{i + 1}" for i in range(len(variant.blocks)))
        for i, name in enumerate(self.stage_names):
            stage = nn.Sequential()
            for j in range(variant.blocks[i]):
                block = Bottleneck(
                    channels,
                    variant.planes[i],
                    stride=2 if i > 0 and j == 0 else 1,
                    radix=variant.radix,
                    cardinality=variant.cardinality,
                    base_width=variant.base_width,
                    pool_first=variant.pool_first,
                )
                stage.append(block)
                channels = EXPANSION * variant.planes[i]
            self.add_module(name, stage)
        self.fc = nn.Linear(channels, num_classes)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # Only now: set any earlier, a loop over all batch norms would undo it, as it does in the released code.
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, 3, H, W) -> (B, num_classes)."""
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean(dim=(2, 3)))


def list_models() -> list[str]:
    """The names that :func:`create_model` knows, smallest first within each part of the family."""
    return list(VARIANTS)


def create_model(name: str, num_classes: int = 1000) -> ResNeSt:
    """Build a family member with fresh weights.

    Args:
        name: one of :func:`list_models`.
        num_classes: outputs of the last layer.

    Raises:
        ValueError: ``name`` is unknown or ``num_classes`` is not a positive integer.
    """
    if name not in VARIANTS:
        raise ValueError(f"name (={name!r}) must be one of {', '.join(VARIANTS)}")
    return ResNeSt(VARIANTS[name], num_classes)
