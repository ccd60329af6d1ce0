from collections.abc import Callable

import pytest
from torch import nn


def _randomize(module: nn.Module) -> nn.Module:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if name.endswith("running_var") else tensor.normal_(0, 0.5)
        else:
            tensor.random_(1, 100)  # batches seen
    return module


@pytest.fixture(scope="session")
def randomize() -> Callable[[nn.Module], nn.Module]:
    """Random weights and statistics: nothing constant anywhere, since constant attention would hide a wrong layout."""
    return _randomize
