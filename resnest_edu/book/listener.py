"""What a network does: every operation as it is dispatched, with its multiply-adds and the bytes that it reads and
writes (a *profiler* that counts instead of timing). On the *meta* device, where tensors have no data, it takes no time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

KINDS = ("1×1 and dense", "3×3 convolution", "grouped 3×3", "norm, ReLU, add", "pool", "attention tail")


@dataclass(frozen=True)
class Operation:
    """One operation of a network.

    Attributes:
        name: PyTorch's.
        kind: one of ``KINDS``.
        work: multiply-adds.
        reads: bytes of the tensors that go in; views are counted at the size they have in memory.
        writes: bytes of the tensors that come out.
        numbers: in the largest of them.
    """

    name: str
    kind: str
    work: int
    reads: int
    writes: int
    numbers: int

    @property
    def moved(self) -> int:
        """Bytes, read and written."""
        return self.reads + self.writes

    @property
    def operations(self) -> int:
        """Two for each multiply-add; where nothing is multiplied, one for each number. One or three: it does not
        matter, far below the ridge."""
        return 2 * self.work or self.numbers


class Listener(TorchDispatchMode):
    """While it is open, what PyTorch is asked for is noted in ``heard``.

    Example:
        >>> import torch
        >>> from resnest_edu.book.listener import Listener
        >>> with Listener() as listener:
        ...     _ = torch.ones(2, 3, device="meta") @ torch.ones(3, 4, device="meta")
        >>> [(heard.name, heard.work, heard.moved) for heard in listener.heard if heard.work]
        [('mm', 24, 104)]
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Operation] = []

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function._overloadpacket.__name__
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        silent = function.is_view or name.startswith(("empty", "detach"))
        if outputs and not silent:
            noted = Operation(
                name,
                kind=_kind_of(name, args, outputs[0]),
                work=_work(function, args, kwargs, result),
                reads=sum(map(bytes_of, inputs)) + _read_again(name, args),
                writes=sum(map(bytes_of, outputs)),
                numbers=max(tensor.numel() for tensor in inputs + outputs),
            )
            self.heard.append(noted)
        return result


def total(operations: Iterable[Operation], quantity: str, kind: str | None = None) -> float:
    """The sum of a quantity over the operations of one kind, or of all."""
    return sum(getattr(one, quantity) for one in operations if kind in (None, one.kind))


def bytes_of(tensor: Tensor) -> int:
    """What it takes in memory; a tensor that is broadcast takes no more than what it is broadcast from."""
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if torch.is_tensor(leaf)]


def _work(function: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Multiply-adds, by PyTorch's own rules; but those take no notice of groups where a convolution is differentiated:
    as much work again for the gradient of the input, and for that of the weights."""
    packet = function._overloadpacket
    if packet.__name__ == "convolution_backward":
        gradient, _, weight = args[:3]
        return sum(args[-1][:2]) * gradient.numel() * weight[0].numel()
    count = flop_registry.get(packet)
    return count(*args, **(kwargs or {}), out_val=result) // 2 if count else 0


def _read_again(name: str, args: Any) -> int:
    """In training a batch norm has to finish its statistics before it can use them: it reads its input twice, and
    backward its input and its gradient twice."""
    if name == "native_batch_norm" and args[5]:
        return bytes_of(args[0])
    return bytes_of(args[0]) + bytes_of(args[1]) if name == "native_batch_norm_backward" else 0


def _kind_of(name: str, args: Any, result: Tensor) -> str:
    """Maps of one pixel belong to the attention, but for the mean at the end of a network, of 2048 channels."""
    one_pixel = result.shape[-2:] == (1, 1) and result.shape[1] < 2048
    if name in ("sum", "mul", "lerp", "_softmax") or one_pixel:
        return "attention tail"
    if name == "convolution" and args[1].shape[-1] == 3:
        return "3×3 convolution" if args[-1] == 1 else "grouped 3×3"
    if name in ("convolution", "addmm"):
        return "1×1 and dense"
    return "pool" if "pool" in name or name == "mean" else "norm, ReLU, add"
