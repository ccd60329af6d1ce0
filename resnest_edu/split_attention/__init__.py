"""Split attention, in the two layouts that its channels can have: both compute the same function."""

from resnest_edu.split_attention.cardinality_major import CardinalGroup, CardinalityMajorSplitAttention, Split
from resnest_edu.split_attention.hyperparameters import SplitAttention, attention_width
from resnest_edu.split_attention.radix_major import RadixMajorSplitAttention
from resnest_edu.split_attention.recorded_attention import record_attention

__all__ = [
    "CardinalGroup",
    "CardinalityMajorSplitAttention",
    "RadixMajorSplitAttention",
    "Split",
    "SplitAttention",
    "attention_width",
    "record_attention",
]
