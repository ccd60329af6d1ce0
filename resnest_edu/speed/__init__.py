"""The same networks, executed faster: parameters and results stay those of the reference."""

from resnest_edu.speed.fast import PerSplitBottleneck, accelerate, restore

__all__ = ["PerSplitBottleneck", "accelerate", "restore"]
