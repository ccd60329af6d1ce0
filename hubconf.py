"""The models by name, for ``torch.hub.load``.

    model = torch.hub.load("<folder of this repository>", "resnest50", source="local")

With ``pretrained=True`` the published weights are downloaded, checked and loaded.
"""

from collections.abc import Callable as _Callable
from typing import Any as _Any

import resnest_edu as _resnest_edu

dependencies = ["torch", "torchvision", "einops", "safetensors"]


def _entry_point(name: str) -> _Callable[..., _resnest_edu.ResNeSt]:
    def load(
        num_classes: int = 1000, *, pretrained: bool = False, new_head: bool = False, **options: _Any
    ) -> _resnest_edu.ResNeSt:
        model = _resnest_edu.create_model(name, num_classes, **options)
        if pretrained:
            _resnest_edu.load_checkpoint(model, _resnest_edu.fetch(name), new_head=new_head)
        return model

    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""The network {name}.

    Args:
        num_classes: outputs of the last layer.
        pretrained: download and load the published weights.
        new_head: with ``pretrained``, keep the fresh last layer: for another number of classes than 1000.
        options: those of ``resnest_edu.create_model``.
    """
    return load


globals().update({name: _entry_point(name) for name in _resnest_edu.list_models()})
