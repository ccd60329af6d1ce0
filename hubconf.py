"""The models by name, for ``torch.hub.load``.

model = torch.hub.load("<folder of this repository>", "resnest50", source="local", pretrained=True)
"""

from collections.abc import Callable as _Callable
from functools import wraps as _wraps
from typing import Any as _Any

import resnest_edu as _resnest_edu

dependencies = ["torch", "torchvision", "einops", "safetensors"]


def _entry_point(create: _Callable[..., _resnest_edu.ResNeSt]) -> _Callable[..., _resnest_edu.ResNeSt]:
    @_wraps(create)
    def load(*arguments: _Any, new_head: bool = False, **options: _Any) -> _resnest_edu.ResNeSt:
        model = create(*arguments, **options)
        if new_head:  # even for as many classes as the file's
            model.fc.reset_parameters()
        return model

    return load


globals().update({name: _entry_point(getattr(_resnest_edu, name)) for name in _resnest_edu.list_models()})
