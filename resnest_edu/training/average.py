"""A moving average of the weights, which often does better than the weights themselves."""

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """The exponential moving average of a network's weights over its training.

    After step t, counted from 0, average ← d · average + (1 - d) · weights (as the teacher of arXiv:1703.01780), where
    d = min(decay, (1 + t) / (10 + t)): with the whole decay from the first step on, a short run would end with an
    average of mostly its initial weights. The formula is that of TensorFlow's ``ExponentialMovingAverage`` with
    ``num_updates``; timm's warm-up has another. The running statistics of batch norms are averaged alike, since they
    belong to the weights.

    Attributes:
        model: the averaged network; it starts as a copy of the one that is trained, on its device.
        updates: t, how many steps have been taken in; to be restored with the model by who goes on later.

    Example:
        >>> import torch
        >>> from resnest_edu.training import MovingAverage
        >>> layer = torch.nn.Linear(1, 1, bias=False)
        >>> average = MovingAverage(layer, decay=0.75)
        >>> average.update()  # after each step
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        # What hooks compute from parameters (a pruned weight, an older norm of weights) has to be copied without its
        # graph; the copy's hooks compute it anew.
        computed = (one for module in model.modules() for one in vars(module).values() if isinstance(one, Tensor))
        copies = {id(one): one.detach().clone() for one in computed}
        self.model = copy.deepcopy(model, copies).requires_grad_(False)
        self.decay, self.updates = decay, 0
        # Found once: to collect them takes longer than a step of a small network on
        # a GPU.
        states = self.model.state_dict(), model.state_dict()
        pairs = list(zip(*(state.values() for state in states), strict=True))
        self._means = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        means, values = zip(*self._means, strict=True)
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(means, values, 1 - decay)
        for count, value in self._counts:
            count.copy_(value)
