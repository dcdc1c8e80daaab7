"""Buckets: gradients of several parameters that lie beside each other in memory, so that one message carries all of them.

What sends a bucket is exchangeable: a `Send` begins to replace the bucket's gradients by their sum over the workers, and returns what to
call to wait for it. Here it is the library's all-reduce; elsewhere a slow link (link.py), less bytes
(gradient_compression.py), MPI (mpi_step.py), or nothing at all (exposed.py).
"""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor

MIB = 2**20


class Bucket:
    """Gradients of parameters that travel together: `flat` (n,) holds all of them, `views` its parts in the parameters' shapes."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        like = self.parameters[0]
        self.flat = torch.zeros(sum(p.numel() for p in self.parameters), dtype=like.dtype, device=like.device)
        parts = self.flat.split([p.numel() for p in self.parameters])
        self.views = [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]

    def claim(self, place: int) -> None:
        """Move the gradient of the parameter at a place to the bucket, which keeps it until gradients are set to None.

        Moved when complete, not added up in the bucket from the start: that would read and write the bucket twice as often.
        """
        parameter, view = self.parameters[place], self.views[place]
        if parameter.grad is None:
            raise ValueError(
                f"a parameter of shape {tuple(parameter.shape)} got no gradient: freeze what the loss ignores"
            )
        if parameter.grad is not view:  # it is already there when gradients of several parts of a batch add up
            view.copy_(parameter.grad)
            parameter.grad = view


Wait = Callable[[], object]  # returns when the bucket holds the sum; on a GPU, what is issued after it runs after that
Send = Callable[[Bucket], Wait]


def done() -> None:
    """Wait for what has ended."""


def all_reduce(group: dist.ProcessGroup) -> Send:
    """Return what sends by the library's all-reduce, while the program goes on."""

    def send(bucket: Bucket) -> Wait:
        work = dist.all_reduce(bucket.flat, group=group, async_op=True)
        assert work is not None
        wait: Wait = work.wait
        return wait

    return send


def cut(parameters: Iterable[Tensor], cap: float, first: float) -> Iterator[Bucket]:
    """Yield buckets over parameters in the order in which backward completes them: the last comes first.

    A bucket is closed as soon as it holds `cap` bytes, the first one `first` bytes: a small one is under way early.
    Source: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020, section 4.2.
    """
    held: list[Tensor] = []
    limit = first
    for parameter in reversed(list(parameters)):
        held.append(parameter)
        if sum(p.nbytes for p in held) >= limit:
            yield Bucket(held)
            held, limit = [], cap
    if held:
        yield Bucket(held)
