"""Weights to begin with, of a network whose classes or channels may be others: transfer learning."""

import math
from pathlib import Path

from torch import Tensor

from resnest_edu.network.published import PUBLISHED, fetch
from resnest_edu.network.resnest import Trunk
from resnest_edu.network.weights import about, bare, fill, read, require_own_file


def load_pretrained(model: Trunk, name: str, source: bool | str | Path) -> None:
    """Put the published weights of ``name`` into the model, or those of the file ``source``, made to fit as
    :func:`resnest_edu.create_model` says; all of them or, if anything is wrong, none."""
    if source is True and name not in PUBLISHED:
        raise ValueError(f"pretrained (=True) must be a file for {name}; published are only {', '.join(PUBLISHED)}")
    path = fetch(name) if isinstance(source, bool) else Path(source)
    with about(path, "must be a checkpoint for this model"):
        header, state = read(path)
        require_own_file(path.name, header, model)
        _, state = bare(state)
        left_out = tuple(f"{name}." for name in getattr(model, "left_out", ()))
        state = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}
        if (taps := state.get("conv1.0.weight")) is not None:
            state["conv1.0.weight"] = adapt_channels(taps, model.in_channels)
        heads = {one["fc.weight"].shape for one in (model.state_dict(), state) if "fc.weight" in one}
        fill(model, header, state, new_head=len(heads) == 2)


def adapt_channels(taps: Tensor, channels: int) -> Tensor:
    """The first convolution's weights for three channels, made for another number of them. Shape: (C, 3, k, k) ->
    (C, channels, k, k); others are left as they are."""
    if taps.ndim != 4 or taps.shape[1] != 3 or channels == 3:
        return taps
    repeated = taps.float().repeat(1, math.ceil(channels / 3), 1, 1)[:, :channels] * (3 / channels)
    return taps.float().sum(dim=1, keepdim=True) if channels == 1 else repeated
