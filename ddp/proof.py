"""A mode is held against the single process, and what it sends is counted: once, apart from what is timed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp import wire
from parlab.ddp.buckets import MIB
from parlab.ddp.data_parallel import Replica
from parlab.ddp.training import Recipe, Single, differs, nbytes

STEPS, RECIPE = 2, Recipe(rate=0.01)  # the library's wrapper has its buckets from the second step on


class Subject(Protocol):
    """What is trained; equal ones give equal networks and batches."""

    def __hash__(self) -> int:
        """Be a key."""

    def network(self) -> nn.Module:
        """Return the network with its first weights, not compiled."""

    def few(self, step: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return a batch of so many rows, and no longer than it must be."""


def first_loss(subject: Subject, rows: int) -> float:
    """Return the loss of the network with its first weights on the first batch."""
    return alone(subject, rows)[0]


@cache
def alone(subject: Subject, rows: int) -> tuple[float, dict[str, Tensor]]:
    """Return the first loss of the single process, in float32, and its weights after the last step."""
    single = Single(subject.network(), RECIPE)
    losses = [single.step(*subject.few(step, rows)).item() for step in range(STEPS)]
    return losses[0], single.weights()


@dataclass
class Proof:
    """A fresh trainer of a mode does steps on batches that do not divide, beside the single process; parts: see Replica.step.

    found: what it did in the last step: "calls" of all-reduces, and its bytes by the program's count ("called / law") and by the kernel's
    ("sent / law"), over the law's "MiB", 2 (p - 1) / p of the gradients. The kernel sees what goes over gloo.
    """

    mode: Callable[..., Replica]
    group: dist.ProcessGroup
    subject: Subject
    parts: int = 1
    found: dict[str, float] = field(default_factory=dict)

    def check(self) -> str | None:
        """Say which weights are not the single process', or None; asked again, the same."""
        return self._wrong

    @cached_property
    def _wrong(self) -> str | None:
        rows = self.group.size() * self.parts + 1
        trainer = self.mode(self.subject.network(), RECIPE, self.group)
        for step in range(STEPS):
            self._arrive()
            before = wire.sent()
            with wire.Calls() as calls:
                trainer.step(*self.subject.few(step, rows), parts=self.parts)
            self._arrive()
        if law := wire.ring_all_reduce(self.group.size(), nbytes(trainer.trained)):
            called = calls.bytes.get("all-reduce", 0.0)
            self.found.update({"calls": calls.calls["all-reduce"], "MiB": law / MIB, "called / law": called / law})
            if not trainer.trained[0].is_cuda:
                self.found["sent / law"] = (wire.sent() - before) / law
        return differs(trainer.weights(), alone(self.subject, rows)[1])

    def _arrive(self) -> None:
        dist.all_reduce(torch.zeros(1), group=self.group)
