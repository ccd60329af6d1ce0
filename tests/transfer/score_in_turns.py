"""One of two processes that score seven images in turns: ``python score_in_turns.py STORE`` is process 1."""

import datetime
import sys

import torch
import torch.distributed as dist

from resnest_edu.training.distributed import Group
from resnest_edu.transfer import DetectionScore, SegmentationScore
from tests.transfer.guesses import guesses, maps

IMAGES = 7  # so that one process has one more than the other


def scores(rank: int, store: str) -> list[dict[str, float]]:
    """What process ``rank`` says of all images."""
    group, patience = Group(rank, 2, rank), datetime.timedelta(seconds=90)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=patience)
    try:
        detection, segmentation = DetectionScore(masks=True, group=group), SegmentationScore(4, group=group)
        for index in group.share(torch.arange(IMAGES)).tolist():
            predictions, targets = guesses(index)
            detection.update([predictions], [targets])
            segmentation.update(*maps(index))
        lonely = DetectionScore(group=group)  # process 1 sees nothing at all
        if rank == 0:
            lonely.update(*([one] for one in guesses(0)))
        return [detection.compute(), segmentation.compute(), lonely.compute()]
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(scores(1, sys.argv[1]), sys.argv[1] + ".pt")
