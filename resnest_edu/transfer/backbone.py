"""The network under a task: its stages by their strides, parts of it frozen, a feature pyramid on top.

Legend: B batch, C channels, H height, W width. A map named C_l stands at 1 / 2^l of the image's size
(arXiv:1612.03144); where dilation keeps a stage's size, the names count on nevertheless.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from resnest_edu.arguments import did_you_mean, plain, require_one_of, require_positive_int
from resnest_edu.network.published import PUBLISHED, fetch
from resnest_edu.network.resnest import Backbone, Trunk, create_model
from resnest_edu.network.weights import load, read_header

Norm = Literal["trained", "frozen", "synchronized"]


class StageBackbone(nn.Module):
    """A backbone as tasks want it: stages named by their strides, and as much of it frozen as the task can spare.

    Few images fit into a step of detection, too few for batch norm to measure them: the norm can be left as pretraining
    made it, or be measured over all processes. The first layers, which see edges and colours in any data, need little
    training. What is frozen gets no gradient and stays in evaluation mode, whatever ``train()`` is called on it or on
    what contains it; classes and names stay, so checkpoints load.

    Shape: (B, 3, H, W) -> {"C2": (B, C₂, H/4, W/4), "C3": …}, sizes rounded up; C2 has stride 4, C0 would have 1.

    Args:
        body: the network; it is not copied.
        norm: ``"trained"`` with the rest; ``"frozen"``, statistics and weights of all batch norms; ``"synchronized"``,
            ``SyncBatchNorm``, by which processes measure a batch together (on accelerators only: of several processes
            on CPUs none can train so, while one alone computes what batch norm does).
        frozen_stages: how many of stem, first stage, second stage, … keep weights and statistics. For pretrained
            weights: a fresh block's last norm is zero, so the block says nothing.

    Attributes:
        channels, strides: by a stage's name, its channels, and how many pixels of the image one position stands for.
        body: the network.

    Raises:
        ValueError: ``body`` is no backbone, ``norm`` is none of the three, or ``frozen_stages`` is out of range.
    """

    def __init__(self, body: Backbone, *, norm: Norm = "trained", frozen_stages: int = 0) -> None:
        super().__init__()
        if not isinstance(body, Backbone):
            made = "a Backbone; create_model(name, features_only=True) builds one"
            raise ValueError(f"body (a {type(body).__name__}) must be {made}")
        if body.out_indices != tuple(range(1, 1 + len(body.variant.blocks))):
            raise ValueError(f"body's out_indices (={body.out_indices}) must be None: all stages are wanted")
        first = next(iter(body.strides.values())).bit_length() - 1
        layers = {f"C{first + i}": name for i, name in enumerate(body.strides)}
        require_one_of("norm", norm, get_args(Norm))
        parts = ["stem", *layers]
        if type(plain(frozen_stages)) is not int or not 0 <= frozen_stages <= len(parts):
            limit = f"{len(parts)}, the number of parts ({', '.join(parts)})"
            raise ValueError(f"frozen_stages (={frozen_stages!r}) must be an integer from 0 to {limit}")
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
        """Training mode for all but what is frozen. A module's ``train()`` calls that of its children, so this is
        reached from wherever the backbone sits."""
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
        weights: a checkpoint of the classifier with that name, whose head stays behind: a published file or one that
            training wrote, or instead of a file the name, for what is published (see :func:`resnest_edu.fetch`).
            Without it the weights are fresh.
        output_stride: 32, or for segmentation 16 or 8: by how much the stages shrink the image at most.
        norm, frozen_stages: see :class:`StageBackbone`.
        dropblock, stochastic_depth: as in :class:`resnest_edu.ResNeSt`.

    Raises:
        OSError: there is no file ``weights``, or the published one cannot be downloaded.
        ValueError: ``name`` is unknown, an argument is not as it must be, or the file is damaged or of another network.

    Example:
        >>> from resnest_edu.transfer import create_backbone
        >>> backbone = create_backbone("resnest11_small", norm="frozen")
        >>> backbone.channels, backbone.strides
        ({'C2': 64, 'C3': 128, 'C4': 256}, {'C2': 4, 'C3': 8, 'C4': 16})
    """
    rates: dict[str, Any] = {"dropblock": dropblock, "stochastic_depth": stochastic_depth}
    body = create_model(name, features_only=True, output_stride=output_stride, **rates)
    backbone = StageBackbone(body, norm=norm, frozen_stages=frozen_stages)
    if weights is not None:
        load_backbone(backbone, name, weights)
    return backbone


def load_backbone(model: nn.Module, name: str, path: str | Path) -> None:
    """Put a classifier's weights, without the head, into the one network that ``model`` is or contains: a
    :class:`StageBackbone`, a detector, a segmenter, another classifier, which keeps its own head; all of them or, if
    anything is wrong, none. For ``name`` and ``path`` see :func:`create_backbone`.

    Raises:
        OSError: there is no such file, or the published one cannot be downloaded.
        ValueError: the file is damaged or holds another network, or the model is none of those.
    """
    bodies = [part for part in model.modules() if isinstance(part, Trunk)]
    if len(bodies) != 1:
        holds = f"hold one ResNeSt, with or without its head, and holds {len(bodies)}"
        raise ValueError(f"model (a {type(model).__name__}) must {holds}")
    path, found = Path(path), str(path)
    if path.is_file():
        found = (read_header(path).get("recipe") or {}).get("model", name)
    elif found not in PUBLISHED:
        hint = did_you_mean(found, PUBLISHED)
        raise FileNotFoundError(f"weights (={found!r}) must be a file, or the name of a published network{hint}")
    if found != name:
        raise ValueError(f"weights (={str(path)!r}) must be those of {name}; they are of {found}")
    load(path if path.is_file() else fetch(name), bodies[0], new_head=True)


class Pyramid(nn.Module):
    """A feature pyramid (arXiv:1612.03144) on a backbone: every level has the same number of channels and knows what
    the deeper ones have seen. It is torchvision's, with ``out_channels`` and ordered maps, as its detectors want a
    backbone.

    Shape: (B, 3, H, W) -> {"0": (B, out_channels, H/4, W/4), "1": …, "pool": the extra level}, sizes rounded up; named
    as torchvision names them: ``FasterRCNN(pyramid, num_classes=…)`` finds them.

    Args:
        backbone: what to build on; it is not copied.
        out_channels: of every level.
        levels: the stages to build on, by name and in order; if None, all.
        extra_level: add a level of half the size, every other position of the last one, for large objects.
        norm_layer: makes the norm after each convolution, from its channels, in place of a bias; say
            ``nn.BatchNorm2d``.

    Attributes:
        backbone, out_channels, extra_level, levels: as given.
        fpn: torchvision's pyramid.
        strides: how many pixels of the image one position of a level stands for, by its name.

    Raises:
        ValueError: ``out_channels`` is not a positive integer, ``backbone`` does not name its stages by their strides,
            or ``levels`` are not names of its stages in their order.
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
            raise ValueError(f"backbone (a {type(backbone).__name__}) must be a StageBackbone, which can be made of it")
        chosen = stages if levels is None else list(levels)
        if not chosen or chosen != [name for name in stages if name in chosen]:
            raise ValueError(f"levels (={levels!r}) must be some of {', '.join(stages)}, in this order")
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(
            [backbone.channels[name] for name in chosen],
            out_channels,
            extra_blocks=LastLevelMaxPool() if extra_level else None,
            norm_layer=norm_layer,
        )
        self.out_channels, self.extra_level = out_channels, extra_level
        self.levels = tuple(chosen)
        self.strides = {str(i): backbone.strides[name] for i, name in enumerate(chosen)}
        if extra_level:
            self.strides["pool"] = 2 * backbone.strides[chosen[-1]]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Shape: (B, 3, H, W) -> one (B, out_channels, H', W') for each level, by its name."""
        features = self.backbone(x)
        maps = self.fpn({name: features[name] for name in self.levels})
        return OrderedDict(zip(self.strides, maps.values(), strict=True))
