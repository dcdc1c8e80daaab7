"""What a step of Bucketed does when: the spans of the program and of each bucket, for a timeline."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp.buckets import Bucket, Wait
from parlab.ddp.data_parallel import Bucketed
from parlab.ddp.training import Recipe

Lane = tuple[str, list[tuple[float, float, str]]]


class Watched(Bucketed):
    """Bucketed, with notes of its last step. now: the clock for tensors in main memory, in seconds; on a GPU events tell the time.

    A bucket's span begins when it is handed over and ends when its sum is there; on a GPU it may wait for the one before it in between.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, group: dist.ProcessGroup, now: Callable[[], float], cap: float
    ) -> None:
        super().__init__(model, recipe, group, cap)
        self.now, self.unwatched = now, self.send
        self.send = self._watched
        self.on_gpu = self.trained[0].is_cuda
        self.side = torch.cuda.Stream() if self.on_gpu else None
        self.waiter = ThreadPoolExecutor(max_workers=len(self.buckets))

    def step(self, inputs: Tensor, targets: Tensor, parts: int = 1) -> Tensor:
        """Do a step as Bucketed does, and note when."""
        self.flights: list[tuple[Any, Any]] = []
        self.marks = [self._mark()]
        loss = super().step(inputs, targets, parts)
        self.marks.append(self._mark())
        return loss

    def accumulate(self, inputs: Tensor, targets: Tensor, of: int, last: bool) -> Tensor:
        """Do a part of the share as Bucketed does, and note when its forward ended."""
        self.last = last
        loss = self.recipe.loss(self.model, inputs, targets, of)
        self.marks.append(self._mark())
        loss.backward()
        self.marks.append(self._mark())
        return loss.detach()

    def sum_gradients(self) -> None:
        """Wait for the sums as Bucketed does, and note when they were there."""
        super().sum_gradients()
        self.marks.append(self._mark())

    def lanes(self) -> list[Lane]:
        """Return what the program did in the last step, then each bucket's flight; seconds from the step's begin. Waits for a GPU."""
        if self.on_gpu:
            torch.cuda.synchronize()
        marks = [self._seconds(mark) for mark in self.marks]
        names = [*["forward", "backward"] * ((len(marks) - 3) // 2), "wait", "update"]
        program = [(begin, end, name) for begin, end, name in zip(marks[:-1], marks[1:], names, strict=True)]
        flights = [(self._seconds(begin), self._seconds(end)) for begin, end in self.flights]
        return [
            ("step", program),
            *((f"bucket {i}", [(begin, end, f"all-reduce {i}")]) for i, (begin, end) in enumerate(sorted(flights))),
        ]

    def _watched(self, bucket: Bucket) -> Wait:
        begin, wait = self._mark(), self.unwatched(bucket)

        def wait_and_note() -> None:
            wait()
            self.flights.append((begin, self._mark()))

        if self.side is None:
            return self.waiter.submit(wait_and_note).result
        with torch.cuda.stream(self.side):
            wait_and_note()
        return wait

    def _mark(self) -> Any:
        if not self.on_gpu:
            return self.now()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, mark: Any) -> float:
        return float(self.marks[0].elapsed_time(mark) / 1e3 if self.on_gpu else mark - self.marks[0])
