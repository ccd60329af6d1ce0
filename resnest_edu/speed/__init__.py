"""The same networks, executed faster: parameters and results stay those of the reference."""

from resnest_edu.speed.per_split import PerSplitBottleneck, accelerate, restore
from resnest_edu.speed.tail_kernels import attend, kernels_apply, pool_splits, weigh_splits

__all__ = ["PerSplitBottleneck", "accelerate", "attend", "kernels_apply", "pool_splits", "restore", "weigh_splits"]
