"""ResNeSt (split-attention networks), taught by building it.

The public names, in the order of the book's chapters.
"""

from resnest_edu.blocks.selective_kernel import SelectiveKernel
from resnest_edu.blocks.squeeze_excitation import SqueezeExcitation
from resnest_edu.network.bottleneck import Bottleneck
from resnest_edu.network.layouts import to_cardinality_major, to_radix_major
from resnest_edu.network.regularization import DropBlock, RectifiedConv2d, rectify
from resnest_edu.network.resnest import (
    Backbone,
    ResNeSt,
    Variant,
    create_model,
    list_models,
    resnest11_small,
    resnest14,
    resnest20_cifar,
    resnest26,
    resnest29_cifar,
    resnest50,
    resnest50_fast_1s1x64d,
    resnest50_fast_1s2x40d,
    resnest50_fast_1s4x24d,
    resnest50_fast_2s1x64d,
    resnest50_fast_2s2x40d,
    resnest50_fast_4s1x64d,
    resnest50_fast_4s2x40d,
    resnest101,
    resnest200,
    resnest269,
)
from resnest_edu.network.weights import PUBLISHED, PublishedFile, fetch, load, load_checkpoint, read_header, save
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
    "resnest11_small",
    "resnest14",
    "resnest20_cifar",
    "resnest26",
    "resnest29_cifar",
    "resnest50",
    "resnest50_fast_1s1x64d",
    "resnest50_fast_1s2x40d",
    "resnest50_fast_1s4x24d",
    "resnest50_fast_2s1x64d",
    "resnest50_fast_2s2x40d",
    "resnest50_fast_4s1x64d",
    "resnest50_fast_4s2x40d",
    "resnest101",
    "resnest200",
    "resnest269",
    "save",
    "to_cardinality_major",
    "to_radix_major",
]
