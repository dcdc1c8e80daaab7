"""Pipeline parallel training by torch.distributed.pipelining: the same stages, its schedules in place of ours."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B

from parlab.ddp.boundaries import forms
from parlab.ddp.schedules import Operation
from parlab.ddp.stages import Span, Stage, Stages

SCHEDULES = {"GPipe": ScheduleGPipe, "1F1B": Schedule1F1B, "interleaved": ScheduleInterleaved1F1B}
Schedule = ScheduleGPipe | Schedule1F1B | ScheduleInterleaved1F1B


class TorchPipeline(Stages):
    """A Trainer. schedule: GPipe, 1F1B (at least as many micro-batches as workers), or interleaved with several chunks.

    The rest: see Stages. ValueError as there, and for micro-batches of unequal size, which torch does not know.
    """

    def prepare(self, schedule: str) -> None:
        """Find torch's schedule of that name."""
        if schedule not in SCHEDULES:
            raise ValueError(f"torch has no {schedule} schedule: ask for {', '.join(SCHEDULES)}")
        self.kind = SCHEDULES[schedule]
        self.made: dict[tuple[torch.Size, int], Schedule] = {}

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step; return the mean loss on the worker that has the last stage, 0 on the others."""
        of, even = targets.numel(), self.micro_batches * (self.data.size() if self.data else 1)
        if len(inputs) % even:
            less = max(even, len(inputs) - len(inputs) % even)
            told = f"{len(inputs)} rows are not {even} micro-batches of one size"
            raise ValueError(f"{told}: hand in {less} or {less + even} rows")
        inputs, targets = self.share(inputs, targets)
        if (inputs.shape, of) not in self.made:
            if self.device.type == "cuda":  # torch learns the forms by itself, but does not rehearse
                forms(self, *(x.tensor_split(self.micro_batches) for x in (inputs, targets)))
            self.made[inputs.shape, of] = self._make(of)
        schedule = self.made[inputs.shape, of]
        self.optimizer.zero_grad()
        losses: list[Tensor] = []
        first, last = 0 in self.stages, self.count - 1 in self.stages
        # The targets go to the last layer, by their name, which makes the loss; for torch the loss is a function of its output.
        given: Any = {"targets": targets, "target": targets, "losses": losses} if last else {}
        schedule.step(*([inputs] if first else []), **given)
        self.update()
        return torch.stack(losses).sum().detach() if last else torch.zeros((), device=self.device)

    def _make(self, of: int) -> Schedule:
        """Return a schedule for batches of one shape: what messages look like is asked for in the first step alone."""
        stages = [Watched(stage, s, self.count, self.group, self.device, self.span) for s, stage in self.stages.items()]
        some: Any = stages if self.kind is ScheduleInterleaved1F1B else stages[0]
        made: Schedule = self.kind(some, self.micro_batches, lambda sums, _: sums.sum() / of, scale_grads=False)
        return made


class Wrapped(nn.Module):
    """A stage as torch wants it: keywords go to all stages of a worker, and outputs of micro-batches are joined along a dimension."""

    def __init__(self, stage: Stage, last: bool) -> None:
        super().__init__()
        self.stage, self.last = stage, last

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return what the next stage is given, or from the last one the summed loss, as (1,)."""
        y: Tensor = self.stage(x, targets).reshape(1) if self.last else self.stage(x)
        return y


class Watched(PipelineStage):
    """A stage whose computations enter a span."""

    def __init__(
        self, stage: Stage, s: int, count: int, group: dist.ProcessGroup, device: torch.device, span: Span
    ) -> None:
        super().__init__(Wrapped(stage, s == count - 1), s, count, device, group=group)
        self.span, self.chunk = span, s // group.size()

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **how: Any) -> Any:
        """Be called by torch's schedule for a forward pass."""
        with self.span(Operation("F", fwd_chunk_id, self.chunk)):
            return super().forward_one_chunk(fwd_chunk_id, *args, **how)

    def backward_one_chunk(self, bwd_chunk_id: int, *args: Any, **how: Any) -> Any:
        """Be called by torch's schedule for a backward pass."""
        with self.span(Operation("B", bwd_chunk_id, self.chunk)):
            return super().backward_one_chunk(bwd_chunk_id, *args, **how)
