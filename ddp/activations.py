"""What autograd keeps for the backward pass, counted in bytes: the memory that a schedule, a batch or recomputation decides about."""

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts, while it is entered, the bytes of tensors that forward passes keep for backward passes, and the most at any time.

    A tensor that several operations keep counts once; weights do not count. It is exact: no allocator has a say.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__(self._keep, self._give)
        self.weights = {w.untyped_storage().data_ptr() for w in weights}
        self.holders: Counter[tuple[int, int]] = Counter()  # by tensor: how many operations keep it
        self.now = self.peak = 0

    def __enter__(self) -> "Kept":  # type: ignore[override]
        super().__enter__()
        return self

    def _keep(self, tensor: Tensor) -> Any:
        if tensor.untyped_storage().data_ptr() in self.weights:
            return tensor
        name = tensor.data_ptr(), tensor.nbytes
        self.holders[name] += 1
        if self.holders[name] == 1:
            self.now += tensor.nbytes
            self.peak = max(self.peak, self.now)
        kept = _Kept(tensor)
        weakref.finalize(kept, self._free, name)
        return kept

    def _give(self, kept: Any) -> Tensor:
        found: Tensor = kept.tensor if isinstance(kept, _Kept) else kept
        return found

    def _free(self, name: tuple[int, int]) -> None:
        self.holders[name] -= 1
        if self.holders[name] == 0:
            del self.holders[name]
            self.now -= name[1]


class _Kept:
    """A tensor in the hands of autograd: gone when the backward pass has been there."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
