"""ResNeSt (split-attention networks), taught by building it: the public names, in the order of the book's chapters.

``blocks`` (SE, ResNeXt, SK), ``split_attention`` (two layouts) and ``network`` (the family, its weights) are what it is
about. ``data`` has images, ``speed`` the accelerated form and its benchmark, ``training`` recipes and the loop,
``transfer`` detection and segmentation, ``inference`` trained networks in use, ``cli`` the command, and ``book`` what
only the pages use.
"""

from typing import TYPE_CHECKING

from resnest_edu.blocks.selective_kernel import SelectiveKernel
from resnest_edu.blocks.squeeze_excitation import SqueezeExcitation
from resnest_edu.network import resnest as _resnest
from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.network.layouts import to_cardinality_major, to_radix_major
from resnest_edu.network.published import PUBLISHED, PublishedFile, fetch
from resnest_edu.network.regularization import DropBlock, RectifiedConv2d, rectify
from resnest_edu.network.resnest import Backbone, ResNeSt, Variant, create_model, list_models
from resnest_edu.network.weights import load, load_checkpoint, read_header, save
from resnest_edu.split_attention import CardinalityMajorSplitAttention, RadixMajorSplitAttention

__version__ = "0.1.0"

__all__ = [
    "PUBLISHED",
    "Backbone",
    "Bottleneck",
    "CardinalityMajorSplitAttention",
    "DropBlock",
    "PublishedFile",
    "RadixMajorSplitAttention",
    "RectifiedConv2d",
    "ResNeSt",
    "SelectiveKernel",
    "SqueezeExcitation",
    "Variant",
    "create_model",
    "fetch",
    "list_models",
    "load",
    "load_checkpoint",
    "read_header",
    "rectify",
    "save",
    "to_cardinality_major",
    "to_radix_major",
    *list_models(),
]

# ``resnest50`` and all other rows of the family's table; ``dir`` and completion see them.
globals().update({name: getattr(_resnest, name) for name in list_models()})

if TYPE_CHECKING:
    from collections.abc import Callable

    def __getattr__(name: str) -> Callable[..., ResNeSt]: ...
