"""ResNeSt (split-attention networks), taught by building it.

The public names, in the order of the book's chapters.
"""

from resnest_edu.bottleneck import Bottleneck
from resnest_edu.layouts import to_cardinality_major, to_radix_major
from resnest_edu.resnest import ResNeSt, Variant, create_model, list_models
from resnest_edu.selective_kernel import SelectiveKernel
from resnest_edu.split_attention import CardinalityMajorSplitAttention, RadixMajorSplitAttention
from resnest_edu.squeeze_excitation import SqueezeExcitation

__version__ = "0.1.0"

__all__ = [
    "Bottleneck",
    "CardinalityMajorSplitAttention",
    "RadixMajorSplitAttention",
    "ResNeSt",
    "SelectiveKernel",
    "SqueezeExcitation",
    "Variant",
    "create_model",
    "list_models",
    "to_cardinality_major",
    "to_radix_major",
]
