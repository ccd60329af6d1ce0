"""The ResNeSt family: one table of variants, stem and stages, network.

Legend: B batch, C channels, H height, W width. Parameter names, order and shapes are those of the published
checkpoints, which is why the stages are called ``layer1`` … and the head ``fc``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import filter as matching
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from torch import Tensor, nn

from resnest_edu.arguments import did_you_mean, plain, require_int, require_one_of, require_probability
from resnest_edu.network.bottleneck import EXPANSION, Bottleneck
from resnest_edu.network.published import PUBLISHED


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
        stem_stride: by how much the stem shrinks the image: 4 with the published stem's strided convolution and
            max-pool, 2 without the max-pool, 1 with neither.
        pool_first: average-pool before the 3×3 convolution of a down-sampling block instead of after it: the paper's
            "fast" setting, cheaper and less accurate.

    Example:
        >>> import torch
        >>> from resnest_edu import ResNeSt, Variant
        >>> tiny = Variant(blocks=(1, 2), planes=(16, 32), stem_width=8, stem_stride=1)
        >>> ResNeSt(tiny, num_classes=10)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    blocks: tuple[int, ...]
    planes: tuple[int, ...] = (64, 128, 256, 512)
    radix: int = 2
    cardinality: int = 1
    base_width: int = 64
    stem_width: int = 32
    stem_stride: int = 4
    pool_first: bool = False


VARIANTS: dict[str, Variant] = {
    # The small one that the book trains from scratch, on images of 32 pixels.
    "resnest11_small": Variant((1, 1, 1), planes=(16, 32, 64), stem_width=16, pool_first=True),
    # For the 32 pixels of CIFAR, of which the stem keeps 16: one to compare blocks on, a larger one to be accurate.
    "resnest20_cifar": Variant((2, 2, 2), planes=(32, 64, 128), stem_stride=2, pool_first=True),
    "resnest29_cifar": Variant((3, 3, 3), planes=(64, 128, 256), stem_stride=2),
    # The published networks; the two smaller ones, 14 and 26, are GluonCV's, and timm carries them.
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


def _strides_and_dilations(stages: int, stem_stride: int, output_stride: int) -> list[tuple[int, int]]:
    """Each stage's stride and dilation: the stem has shrunk the image by ``stem_stride``, and ``output_stride`` is the
    limit.
    """
    plan = [(1, 1)]
    total_stride, dilation = stem_stride, 1
    for _ in range(1, stages):
        if total_stride < output_stride:
            total_stride *= 2
            plan.append((2, 1))
        else:
            dilation *= 2
            plan.append((1, dilation))
    return plan


class Trunk(nn.Module):
    """Stem and stages, what :class:`ResNeSt` and :class:`Backbone` share. Build one of those instead.

    A deep stem (three 3×3 convolutions and a max-pool) shrinks the image by 4, or less if the variant's ``stem_stride``
    is; each stage but the first halves the size again, until ``output_stride`` is reached. Later stages then keep the
    size, and their convolutions spread out instead: dilation 2 in the first such stage, 4 in the next, and half of that
    in each one's first block, as in the released PyTorch code.

    Args:
        variant: the row of the table to build.
        block: the class of the blocks, :class:`~resnest_edu.Bottleneck` or one derived from it.
        in_channels: of the images; 3 for red, green and blue.
        output_stride: 32, or for dense prediction 16 or 8: by how much the stages shrink the image at most.
        dropblock: probability of :class:`~resnest_edu.DropBlock` in the last two stages.
        stochastic_depth: probability that training skips the last block's branch for an image; earlier blocks' is less,
            in proportion to their place (Huang et al., arXiv:1603.09382).

    Attributes:
        channels: how many channels each stage emits, by its name: ``layer1``, ``layer2``, ….
        strides: how many pixels of the image one position of a stage's output stands for, by its name.
        variant, in_channels, output_stride: as given.

    Raises:
        ValueError: ``output_stride`` is none of the three, ``in_channels`` not a positive integer, a probability not in
            [0, 1), or the variant's numbers do not fit together.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        block: type[Bottleneck] = Bottleneck,
        in_channels: int = 3,
        output_stride: int = 32,
        dropblock: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        stages = len(variant.blocks)
        if not variant.blocks or stages != len(variant.planes):
            what = f"blocks (={variant.blocks}) and planes (={variant.planes})"
            raise ValueError(f"{what} must name the same stages, at least one")
        if any(count < 1 for count in variant.blocks):
            raise ValueError(f"blocks (={variant.blocks}) must be integers of at least 1")
        stem_width, stem_stride = variant.stem_width, variant.stem_stride
        if stem_stride not in (1, 2, 4):
            raise ValueError(f"stem_stride (={stem_stride!r}) must be 1, 2 or 4")
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride (={output_stride!r}) must be 8, 16 or 32")
        require_int(1, in_channels=in_channels)
        require_probability(dropblock=dropblock, stochastic_depth=stochastic_depth)
        self.variant, self.in_channels, self.output_stride = variant, in_channels, output_stride
        channels = 2 * stem_width
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, stem_width, 3, min(stem_stride, 2), padding=1, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
            nn.Conv2d(stem_width, stem_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
            nn.Conv2d(stem_width, channels, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(channels)
        # A layer, because torchvision's IntermediateLayerGetter runs layer by layer.
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_stride == 4 else nn.Identity()
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}
        total_stride, built = stem_stride, 0
        plan = _strides_and_dilations(stages, stem_stride, output_stride)
        for i, (stride, dilation) in enumerate(plan):
            total_stride *= stride
            stage = nn.Sequential()
            for j in range(variant.blocks[i]):
                first = j == 0
                built += 1
                stage.append(
                    block(
                        channels,
                        variant.planes[i],
                        stride=stride if first else 1,
                        radix=variant.radix,
                        cardinality=variant.cardinality,
                        base_width=variant.base_width,
                        pool_first=variant.pool_first,
                        dilation=max(1, dilation // 2) if first else dilation,
                        always_pool=first and i > 0,
                        dropblock=dropblock if i >= stages - 2 else 0.0,
                        stochastic_depth=stochastic_depth * built / sum(variant.blocks),
                    )
                )
                channels = EXPANSION * variant.planes[i]
            name = f"layer{i + 1}"
            self.add_module(name, stage)
            self.channels[name] = channels
            self.strides[name] = total_stride
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # Only now: set any earlier, a loop over all batch norms would undo it, as it
        # does in the released code.
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def stem(self, x: Tensor) -> Tensor:
        """Shape: (B, 3, H, W) -> (B, C, H/4, W/4), if the stem's stride is 4."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))


class ResNeSt(Trunk):
    """Split-attention network for image classification (arXiv:2004.08955): stem, stages, the mean over all positions, a
    dense layer.

    Shape: (B, 3, H, W) -> (B, num_classes) logits.

    Args:
        variant: the row of the table to build.
        num_classes: outputs of the last layer; 0 leaves it out, and the output is what it would read, the mean over all
            positions (B, C).
        dropout: probability of dropout before the last layer; 0.2 in the released recipe of 200 and 269.
        options: ``block``, ``in_channels``, ``output_stride``, ``dropblock``, ``stochastic_depth`` of
            :class:`~resnest_edu.network.resnest.Trunk`.

    Raises:
        ValueError: ``num_classes`` is not an integer of at least 0, ``dropout`` is not in [0, 1), or as there.

    Example:
        >>> import torch
        >>> from resnest_edu import ResNeSt, Variant
        >>> variant = Variant(blocks=(1, 1, 1), planes=(16, 32, 64))
        >>> model = ResNeSt(variant, num_classes=10)
        >>> model(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(self, variant: Variant, num_classes: int = 1000, *, dropout: float = 0.0, **options: Any) -> None:
        require_int(0, num_classes=num_classes)
        require_probability(dropout=dropout)
        super().__init__(variant, **options)
        self.dropout = nn.Dropout(dropout)
        channels = EXPANSION * variant.planes[-1]
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """What the last stage emits. Shape: (B, 3, H, W) -> (B, C, H/32, W/32), or as ``output_stride`` says."""
        x = self.stem(x)
        for name in self.channels:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, 3, H, W) -> (B, num_classes)."""
        return self.fc(self.dropout(self.forward_features(x).mean(dim=(2, 3))))


class Backbone(Trunk):
    """The same network without its head, for detection and segmentation: what every stage emits, by its name.

    Its state dict is that of :class:`ResNeSt` without ``fc``, and without stages behind the last that is asked for.

    Shape: (B, 3, H, W) -> {"layer1": (B, C₁, H/4, W/4), "layer2": …}; the attributes ``channels`` and ``strides`` hold
    the numbers (4 is the stem's stride). ``list(backbone(x).values())`` is the list that timm's networks return, and
    ``feature_info.channels()`` and ``feature_info.reduction()`` are its numbers as timm has them.

    Args:
        variant: the row of the table to build.
        out_indices: what to return, counted as in timm and in its order: 0 is the stem before its max-pool, by the name
            of ``stem`` (stride 2), 1 the first stage. If None, all stages and not the stem.
        options: as in :class:`~resnest_edu.network.resnest.Trunk`.

    Raises:
        ValueError: ``out_indices`` are not such numbers, in rising order, or as there.

    Example:
        >>> import torch
        >>> from resnest_edu import Backbone, Variant
        >>> backbone = Backbone(Variant(blocks=(1, 1), planes=(16, 32)))
        >>> features = backbone(torch.randn(2, 3, 64, 64))
        >>> {name: tuple(feature.shape) for name, feature in features.items()}
        {'layer1': (2, 64, 16, 16), 'layer2': (2, 128, 8, 8)}
    """

    def __init__(self, variant: Variant, *, out_indices: Sequence[int] | None = None, **options: Any) -> None:
        super().__init__(variant, **options)
        names, every = ["stem", *self.channels], range(len(self.channels) + 1)
        chosen = list(every[1:] if out_indices is None else map(plain, out_indices))
        if not chosen or chosen != [i for i in every if i in chosen]:
            raise ValueError(f"out_indices (={out_indices!r}) must be some of {', '.join(map(str, every))}, rising")
        self.out_indices, self.left_out = tuple(chosen), tuple(names[chosen[-1] + 1 :])
        for name in self.left_out:
            delattr(self, name)
        channels = {"stem": 2 * variant.stem_width, **self.channels}
        strides = {"stem": min(variant.stem_stride, 2), **self.strides}
        self.channels, self.strides = ({names[i]: of[names[i]] for i in chosen} for of in (channels, strides))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Shape: (B, 3, H, W) -> one (B, C, H', W') for each stage."""
        features = {"stem": self.relu(self.bn1(self.conv1(x)))}
        x = self.maxpool(features["stem"])
        for i in range(self.out_indices[-1]):
            x = features[f"layer{i + 1}"] = self.get_submodule(f"layer{i + 1}")(x)
        return {name: features[name] for name in self.channels}

    @property
    def feature_info(self) -> SimpleNamespace:
        """``channels()`` and ``reduction()``: the lists that timm's networks tell of their features."""
        numbers = {"channels": self.channels, "reduction": self.strides}
        return SimpleNamespace(**{name: partial(list, of.values()) for name, of in numbers.items()})


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """The names that :func:`create_model` knows, smallest first within each part of the family.

    Args:
        pattern: which of them, with the wildcards of file names.
        pretrained: only those that have published weights.

    Example:
        >>> from resnest_edu import list_models
        >>> list_models("resnest??", pretrained=True), len(list_models("*50*"))
        (['resnest14', 'resnest26', 'resnest50'], 8)
    """
    return [name for name in matching(VARIANTS, pattern) if not pretrained or name in PUBLISHED]


class ModelOptions(TypedDict, total=False):
    """What :func:`resnest_edu.create_model` takes besides name, number of classes and ``features_only``."""

    pretrained: bool | str | Path
    block: type[Bottleneck]
    in_channels: int
    output_stride: int
    dropblock: float
    stochastic_depth: float
    dropout: float
    out_indices: Sequence[int] | None


# What torchvision and timm call them, where the name alone would not tell.
ELSEWHERE = {"weights": "pretrained", "checkpoint_path": "pretrained", "drop_path_rate": "stochastic_depth"}


@overload
def create_model(
    name: str, num_classes: int = ..., *, features_only: Literal[True], **options: Unpack[ModelOptions]
) -> Backbone: ...
@overload
def create_model(name: str, num_classes: int = ..., **options: Unpack[ModelOptions]) -> ResNeSt: ...
def create_model(
    name: str,
    num_classes: int = 1000,
    *,
    features_only: bool = False,
    pretrained: bool | str | Path = False,
    **options: Any,
) -> ResNeSt | Backbone:
    """Build a family member, with fresh weights or with those of a file.

    Args:
        name: one of :func:`list_models`.
        num_classes: outputs of the last layer; 0 for none, and pooled features (B, C).
        pretrained: True for the published weights (see :func:`fetch`), or the path of a file that :func:`load` reads.
            If the file is for another number of classes, the last layer stays fresh. If it is for three channels and
            ``in_channels`` is another number, the first convolution gets, as in timm, the sum of its taps over the
            three where it is 1, so that a grey image gives what three equal channels gave; else the taps over and over,
            times 3 / ``in_channels``, so that sums keep their size.
        features_only: build a :class:`Backbone`, which has no last layer and returns what every stage emits.
        options: those of :class:`ResNeSt` (``dropout``), or of :class:`Backbone` (``out_indices``), and of both:
            ``block``, ``in_channels``, ``output_stride``, ``dropblock``, ``stochastic_depth``.

    Raises:
        ValueError: ``name`` is unknown, an argument is not as it must be, a backbone is asked for with a number of
            classes, nothing is published under ``name``, or the file does not fit.
        TypeError: an option is unknown.
        OSError: the file is missing, or cannot be downloaded.

    Example:
        >>> import torch
        >>> from resnest_edu import create_model
        >>> x = torch.randn(2, 3, 32, 32)
        >>> create_model("resnest11_small", num_classes=10, dropout=0.2)(x).shape
        torch.Size([2, 10])
        >>> create_model("resnest11_small", features_only=True)(x)["layer3"].shape
        torch.Size([2, 256, 2, 2])
    """
    require_one_of("name", name, VARIANTS)
    known = sorted(ModelOptions.__optional_keys__ - {"dropout" if features_only else "out_indices"})
    for option in options.keys() - known:
        hint = did_you_mean(ELSEWHERE.get(option, option), known)
        raise TypeError(f"option (={option!r}) must be one of {', '.join(known)}{hint}")
    if features_only and num_classes not in (0, 1000):
        raise ValueError(f"num_classes (={num_classes!r}) must not go with features_only: a backbone has no last layer")
    row = VARIANTS[name]
    model = Backbone(row, **options) if features_only else ResNeSt(row, num_classes, **options)
    if pretrained is not False:
        from resnest_edu.network.pretrained import load_pretrained  # which imports this module

        load_pretrained(model, name, pretrained)
    return model


def _builder(name: str) -> Callable[..., ResNeSt]:
    def build(num_classes: int = 1000, **options: Unpack[ModelOptions]) -> ResNeSt:
        return create_model(name, num_classes, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"``create_model({name!r}, num_classes, **options)``: see :func:`create_model`."
    return build


# ``resnest50(…)`` and the like: a function for each row.
globals().update({name: _builder(name) for name in VARIANTS})
if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., ResNeSt]: ...
