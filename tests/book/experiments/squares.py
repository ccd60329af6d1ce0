"""What the test of the seeds' processes runs in them."""

import torch


def run_seed(seed):
    return {"square": seed**2, "threads": torch.get_num_threads()}
