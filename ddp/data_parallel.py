"""Data parallel: each worker has the whole network and a share of the batch; before the update the gradients are summed over the workers.

    Naive      one all-reduce for each parameter, after backward
    Flat       one all-reduce of all gradients, after backward
    Bucketed   an all-reduce for each bucket as soon as backward has completed it, while backward goes on
    TorchDDP   the library's DistributedDataParallel, which Bucketed must equal

The loss of a share is its part of the mean over the whole batch, so that gradients are summed and shares need not be equal.
Source: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
"""

from contextlib import nullcontext
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from parlab.ddp.buckets import MIB, Bucket, Send, Wait, all_reduce, cut
from parlab.ddp.training import Held, Recipe, copies, held, norm, share


class Replica:
    """What the modes have in common: a whole network, a share of the batch, and the same update on every worker."""

    def __init__(self, model: nn.Module, recipe: Recipe, group: dist.ProcessGroup) -> None:
        self.model, self.recipe, self.group = model, recipe, group
        self.rank, self.size = group.rank(), group.size()
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = recipe.optimizer_for(self.trained)

    def step(self, inputs: Tensor, targets: Tensor, parts: int = 1) -> Tensor:
        """Do one step on a global batch; return this worker's part of its mean loss.

        parts: so many slices of the share run one after the other, their gradients add up, and are summed over the workers once.
        Raises ValueError on all workers where the batch has no row for each part of each share.
        """
        if len(inputs) < self.size * parts:
            told = f"{len(inputs)} rows cannot be cut into {self.size} shares of {parts} parts"
            raise ValueError(f"{told}: hand in {self.size * parts} rows or more")
        self.optimizer.zero_grad()
        slices = zip(*(share(x, self.rank, self.size).tensor_split(parts) for x in (inputs, targets)), strict=True)
        losses = [
            self.accumulate(x, y, of=targets.numel(), last=part == parts) for part, (x, y) in enumerate(slices, start=1)
        ]
        self.sum_gradients()
        gradients = [p.grad for p in self.trained if p.grad is not None]
        self.recipe.cut(gradients, lambda: norm(gradients))
        self.optimizer.step()
        return torch.stack(losses).sum()

    def accumulate(self, inputs: Tensor, targets: Tensor, of: int, last: bool) -> Tensor:
        """Add the gradients of a part of the share; return its part of the loss. last: no further part follows."""
        loss = self.recipe.loss(self.model, inputs, targets, of)
        loss.backward()
        return loss.detach()

    def sum_gradients(self) -> None:
        """Let every gradient be the sum over the workers."""

    def weights(self) -> dict[str, Tensor]:
        """Return copies of all weights by name."""
        return copies(self.model.named_parameters())

    def held(self) -> Held:
        """Return what each worker holds: as much as a single process, and the buckets are the gradients themselves."""
        return held(self.trained, self.optimizer)


class Naive(Replica):
    """Backward, then as many messages as there are parameters: simple, and each of them pays the latency."""

    def sum_gradients(self) -> None:
        """Sum one gradient after the other."""
        for parameter in self.trained:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad, group=self.group)


class Flat(Replica):
    """Backward, then one message: the latency is paid once, but nothing hides it. send: see buckets.py."""

    def __init__(self, model: nn.Module, recipe: Recipe, group: dist.ProcessGroup, send: Send | None = None) -> None:
        super().__init__(model, recipe, group)
        self.bucket = Bucket(self.trained)
        self.send = send or all_reduce(group)

    def sum_gradients(self) -> None:
        """Move all gradients into the one bucket and sum it."""
        for place in range(len(self.trained)):
            self.bucket.claim(place)
        self.send(self.bucket)()


class Bucketed(Replica):
    """A message for each bucket, under way while backward computes the gradients of the layers before it.

    All workers must send buckets in the same order, whatever order they fill in: a full bucket waits for those before it.
    The parameters' hooks stay with the model: one model for one object of this class. cap, first: see buckets.cut; send: see buckets.py.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        group: dist.ProcessGroup,
        cap: float = 25 * MIB,
        first: float = MIB,
        send: Send | None = None,
    ) -> None:
        super().__init__(model, recipe, group)
        self.buckets = list(cut(self.trained, cap, first))
        self.send = send or all_reduce(group)
        self.last = True
        self._arm()
        for number, bucket in enumerate(self.buckets):
            for place, parameter in enumerate(bucket.parameters):
                # Its argument is the parameter, not the gradient: who sums it sums the weights.
                parameter.register_post_accumulate_grad_hook(partial(self._complete, number, place))

    def accumulate(self, inputs: Tensor, targets: Tensor, of: int, last: bool) -> Tensor:
        """Add the gradients of a part of the share; with the last part buckets are sent as they fill."""
        self.last = last
        return super().accumulate(inputs, targets, of, last)

    def sum_gradients(self) -> None:
        """Wait for the sums that are under way, and be ready for the next step."""
        if len(self.sent) < len(self.buckets):
            left = sum(self.missing)
            raise ValueError(f"{left} trained parameters got no gradient: freeze what the loss ignores")
        for wait in self.sent:
            wait()
        self._arm()

    def _arm(self) -> None:
        self.missing = [len(bucket.parameters) for bucket in self.buckets]
        self.sent: list[Wait] = []

    def _complete(self, number: int, place: int, parameter: Tensor) -> None:
        """Be called by backward when a parameter's gradient is complete."""
        self.buckets[number].claim(place)
        if self.last:
            self.missing[number] -= 1
            while len(self.sent) < len(self.buckets) and not self.missing[len(self.sent)]:
                self.sent.append(self.send(self.buckets[len(self.sent)]))


class TorchDDP(Replica):
    """The library's wrapper, set to need as few copies as ours.

    cap: bytes of a bucket, None: 25 MiB after a first one of 1 MiB. each: sum the gradients after each part of a share, as happens to
    who accumulates without `no_sync`.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        group: dist.ProcessGroup,
        cap: float | None = None,
        each: bool = False,
    ) -> None:
        super().__init__(model, recipe, group)
        self.each = each
        self.wrapped = DistributedDataParallel(
            model,
            process_group=group,
            bucket_cap_mb=None if cap is None else cap / MIB,
            gradient_as_bucket_view=True,
        )

    def accumulate(self, inputs: Tensor, targets: Tensor, of: int, last: bool) -> Tensor:
        """Add the gradients of a part of the share, averaged by the library; so the loss is taken as often as there are workers."""
        with nullcontext() if last or self.each else self.wrapped.no_sync():
            loss = self.recipe.loss(self.wrapped, inputs, targets, of)
            (loss * self.size).backward()
        return loss.detach()
