"""The network under a task: its stages by their strides, parts of it frozen, a feature pyramid on top.

Legend: B batch, C channels, H height, W width. A map named C_l or P_l stands at 1 / 2^l of the image's size
(arXiv:1612.03144); where dilation keeps a stage's size, the names count on nevertheless.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from resnest_edu.arguments import plain, require_one_of, require_positive_int
from resnest_edu.network.resnest import Backbone, Trunk, create_model
from resnest_edu.network.weights import load, read_header

Norm = Literal["trained", "frozen", "synchronized"]


class StageBackbone(nn.Module):
    """A backbone as tasks want it: stages named by their strides, and as much of it
    frozen as the task can spare.

    Few images fit into a step of detection, too few for batch norm to measure them.
    The norm can therefore be left as pretraining made it, or be measured over all
    processes. The first layers, which see edges and colours in any data, are often
    not trained any further.

    What is frozen gets no gradient and stays in evaluation mode, whatever ``train()``
    is called on it or on what contains it. It still has the class and the names it
    would have otherwise, so checkpoints load and
    :func:`~resnest_edu.speed.accelerate` works.

    Shape: (B, 3, H, W) -> {"C2": (B, C₂, H/4, W/4), "C3": …}, sizes rounded up. The
    first stage is named for its stride: C2 for 4, C1 for 2, C0 for 1.

    Args:
        body: the network; it is not copied.
        norm: ``"trained"`` with the rest; ``"frozen"``, where all batch norms keep
            statistics and weights; ``"synchronized"``, where they are
            ``SyncBatchNorm``, whose processes measure a batch together. PyTorch has
            that on accelerators only: of several processes on CPUs none can train
            so, while a single one, or any in evaluation mode, computes what ordinary
            batch norm does.
        frozen_stages: how many of stem, first stage, second stage, … keep their
            weights and statistics. Like frozen norms it is for pretrained weights: a
            fresh block's last norm is zero, so the block says nothing.

    Attributes:
        channels: how many channels a stage emits, by its name.
        strides: how many pixels of the image one position of a stage's output stands
            for, by its name.
        body: the network.

    Raises:
        ValueError: ``body`` is no backbone, ``norm`` is none of the three, or
            ``frozen_stages`` is not an integer from 0 to the number of parts.

    Example:
        >>> import torch
        >>> from resnest_edu import create_model
        >>> from resnest_edu.transfer import StageBackbone
        >>> body = create_model("resnest11_small", features_only=True)
        >>> backbone = StageBackbone(body, frozen_stages=2)  # stem and first stage
        >>> stages = backbone(torch.randn(2, 3, 64, 64))
        >>> {name: tuple(stage.shape) for name, stage in stages.items()}
        {'C2': (2, 64, 16, 16), 'C3': (2, 128, 8, 8), 'C4': (2, 256, 4, 4)}
        >>> body.conv1.training, body.layer2.training
        (False, True)
    """

    def __init__(
        self,
        body: Backbone,
        *,
        norm: Norm = "trained",
        frozen_stages: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(body, Backbone):
            made = "a Backbone; create_model(name, features_only=True) builds one"
            raise ValueError(f"body (a {type(body).__name__}) must be {made}")
        first = next(iter(body.strides.values())).bit_length() - 1
        layers = {f"C{first + i}": name for i, name in enumerate(body.strides)}
        require_one_of("norm", norm, get_args(Norm))
        parts = ["stem", *layers]
        if type(plain(frozen_stages)) is not int or not 0 <= frozen_stages <= len(parts):
            limit = f"{len(parts)}, the number of parts ({', '.join(parts)})"
            value = f"frozen_stages (={frozen_stages!r})"
            raise ValueError(f"{value} must be an integer from 0 to {limit}")
        self.body = body
        self.channels = {name: body.channels[layers[name]] for name in layers}
        self.strides = {name: body.strides[layers[name]] for name in layers}
        self.norm, self.frozen_stages = norm, frozen_stages
        if norm == "synchronized":
            nn.SyncBatchNorm.convert_sync_batchnorm(body)
        for part in self._frozen():
            part.requires_grad_(False)
        self.train(body.training)

    def _frozen(self) -> list[nn.Module]:
        body = self.body
        frozen: list[nn.Module] = []
        if self.frozen_stages > 0:
            frozen += [body.conv1, body.bn1]
            stages = [body.get_submodule(name) for name in body.channels]
            frozen += stages[: self.frozen_stages - 1]
        if self.norm == "frozen":
            norms = nn.BatchNorm2d | nn.SyncBatchNorm
            frozen += [part for part in body.modules() if isinstance(part, norms)]
        return frozen

    def train(self, mode: bool = True) -> "StageBackbone":
        """Training mode for all but what is frozen. A module's ``train()`` calls that
        of its children, so this is reached from wherever the backbone sits."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Shape: (B, 3, H, W) -> one (B, C, H', W') for each stage, by its name."""
        return dict(zip(self.strides, self.body(x).values(), strict=True))


def create_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    output_stride: int = 32,
    norm: Norm = "trained",
    frozen_stages: int = 0,
    dropblock: float = 0.0,
    stochastic_depth: float = 0.0,
) -> StageBackbone:
    """Build the backbone of a family member.

    Args:
        name: one of :func:`resnest_edu.list_models`.
        weights: a checkpoint of the classifier with that name, whose head stays
            behind: a published file (see :func:`resnest_edu.fetch`) or one that
            training wrote. The weights are fresh where none is given.
        output_stride: 32, or for segmentation 16 or 8: by how much the stages shrink
            the image at most.
        norm: see :class:`StageBackbone`.
        frozen_stages: see there.
        dropblock: as in :class:`resnest_edu.ResNeSt`.
        stochastic_depth: see there.

    Raises:
        FileNotFoundError: there is no file ``weights``.
        ValueError: ``name`` is unknown, an argument is not as it must be, or the file
            is damaged or holds another network.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import create_backbone
        >>> backbone = create_backbone("resnest11_small", norm="frozen")
        >>> backbone.channels, backbone.strides
        ({'C2': 64, 'C3': 128, 'C4': 256}, {'C2': 4, 'C3': 8, 'C4': 16})
        >>> list(backbone(torch.randn(1, 3, 64, 64)))
        ['C2', 'C3', 'C4']
    """
    body = create_model(
        name,
        features_only=True,
        output_stride=output_stride,
        dropblock=dropblock,
        stochastic_depth=stochastic_depth,
    )
    backbone = StageBackbone(body, norm=norm, frozen_stages=frozen_stages)
    if weights is not None:
        load_backbone(backbone, name, weights)
    return backbone


def load_backbone(model: nn.Module, name: str, path: str | Path) -> None:
    """Put a classifier's weights into a backbone, into the one inside a detector or
    segmenter, or into another classifier, without the head; all of them or, if anything
    is wrong, none.

    Args:
        model: a :class:`StageBackbone`, a module that contains one, or a
            :class:`~resnest_edu.ResNeSt`, which keeps its own head.
        name: what family member it is.
        path: see ``weights`` of :func:`create_backbone`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds another network, or the model is none
            of those.
    """
    bodies = [part for part in model.modules() if isinstance(part, Trunk)]
    if len(bodies) != 1:
        holds = f"hold one ResNeSt, with or without its head, and holds {len(bodies)}"
        raise ValueError(f"model (a {type(model).__name__}) must {holds}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights (={str(path)!r}) must be a file")
    found = (read_header(path).get("recipe") or {}).get("model", name)
    if found != name:
        raise ValueError(f"weights (={str(path)!r}) must be those of {name}; they are of {found}")
    load(path, bodies[0], new_head=True)


class Pyramid(nn.Module):
    """A feature pyramid (arXiv:1612.03144) on a backbone: every level has the same
    number of channels and knows what the deeper ones have seen.

    The pyramid is torchvision's. ``out_channels`` and the maps in order are what its
    detectors ask of a backbone.

    Shape: (B, 3, H, W) -> {"P2": (B, out_channels, H/4, W/4), "P3": …}, sizes rounded
    up; the levels are named for the stages they come from.

    Args:
        backbone: what to build on; it is not copied.
        out_channels: of every level.
        levels: which of the backbone's stages to build on, by name and in order; all
            of them where it is not given.
        extra_level: add a level of half the size, every other position of the last
            one, for large objects.
        norm_layer: makes the norm after each of the pyramid's convolutions, from the
            number of channels, in place of a bias; say ``nn.BatchNorm2d``.

    Attributes:
        backbone: the backbone.
        fpn: torchvision's pyramid.
        out_channels: as given.
        extra_level: as given.
        levels: the names of the stages it is built on.
        strides: how many pixels of the image one position of a level stands for, by
            its name.

    Raises:
        ValueError: ``out_channels`` is not a positive integer, ``backbone`` does not
            name its stages by their strides, or ``levels`` are not names of its
            stages in their order.

    Example:
        >>> import torch
        >>> from resnest_edu.transfer import Pyramid, create_backbone
        >>> pyramid = Pyramid(create_backbone("resnest11_small"), out_channels=32)
        >>> levels = pyramid(torch.randn(2, 3, 64, 64))
        >>> {name: tuple(level.shape) for name, level in levels.items()}
        {'P2': (2, 32, 16, 16), 'P3': (2, 32, 8, 8), 'P4': (2, 32, 4, 4), 'P5': (2, 32, 2, 2)}
    """

    def __init__(
        self,
        backbone: StageBackbone,
        *,
        out_channels: int = 256,
        levels: tuple[str, ...] | None = None,
        extra_level: bool = True,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        require_positive_int(out_channels=out_channels)
        stages = list(backbone.channels)
        if not all(re.fullmatch(r"C\d+", name) for name in stages):
            kind = f"backbone (a {type(backbone).__name__})"
            raise ValueError(f"{kind} must be a StageBackbone, which can be made of it")
        chosen = stages if levels is None else list(levels)
        if not chosen or chosen != [name for name in stages if name in chosen]:
            some = f"some of {', '.join(stages)}, in this order"
            raise ValueError(f"levels (={levels!r}) must be {some}")
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(
            [backbone.channels[name] for name in chosen],
            out_channels,
            extra_blocks=LastLevelMaxPool() if extra_level else None,
            norm_layer=norm_layer,
        )
        self.out_channels, self.extra_level = out_channels, extra_level
        self.levels = tuple(chosen)
        self.strides = {f"P{name[1:]}": backbone.strides[name] for name in chosen}
        if extra_level:
            last = chosen[-1]
            self.strides[f"P{int(last[1:]) + 1}"] = 2 * backbone.strides[last]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Shape: (B, 3, H, W) -> one (B, out_channels, H', W') for each level, by its
        name."""
        features = self.backbone(x)
        maps = self.fpn({name: features[name] for name in self.levels})
        return OrderedDict(zip(self.strides, maps.values(), strict=True))
