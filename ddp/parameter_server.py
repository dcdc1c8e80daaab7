"""A parameter server: one process holds the weights, the others compute gradients, and nobody averages anything.

Process 0 of the group is the server, which computes no gradient. A message to a worker is the weights with their version before them, a
message to the server a gradient with the version that it was computed from: so how stale it is is measured, not assumed.

    bound 0           synchronous: the gradients of a round are added up, and all workers wait for the next weights
    bound 1, 2, ...   a gradient is applied when it comes; who is further ahead of the slowest worker than that waits (pace.py)
    bound infinity    asynchronous: nobody waits

Source: Li et al., Scaling Distributed Machine Learning with the Parameter Server, 2014. Messages come from any worker, which NCCL cannot.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp.pace import Pace
from parlab.ddp.training import Held, Recipe, copies, held, norm, share

STOP = -1  # in the version's place

Batches = Callable[[int], tuple[Tensor, Tensor]]  # the global batch of step k; a worker takes its share


@dataclass(frozen=True)
class Arrival:
    """What the server knows of a gradient: whose it is, the version it was computed from, the version it was applied to, when it came."""

    worker: int
    version: int
    met: int
    at: float

    @property
    def staleness(self) -> int:
        """Return how many updates it missed."""
        return self.met - self.version


class Keeper:
    """The weights, their version and their optimizer, as the server has them."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.recipe, self.version = recipe, 0
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = recipe.optimizer_for(self.trained)
        for p in self.trained:
            p.grad = torch.zeros_like(p)

    def add(self, gradient: Tensor, complete: bool) -> None:
        """Add a flat gradient to what has come; update the weights where that completes it."""
        gradients = [p.grad for p in self.trained if p.grad is not None]
        for mine, part in zip(gradients, _parts(gradient, gradients), strict=True):
            mine.add_(part)
        if complete:
            self.recipe.cut(gradients, lambda: norm(gradients))
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=False)
            self.version += 1


class ParameterServer:
    """A server (rank 0 of the group) and its workers (the others).

    clock: what the server stamps arrivals with, and the workers the begin and end of their work. Where bound is not 0 every gradient is
    an update of its own, so the recipe must be plain SGD without clipping (ValueError): then as many gradients move the weights as far.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        group: dist.ProcessGroup,
        bound: float = 0,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.group, self.rank, self.workers = group, dist.get_rank(group), dist.get_world_size(group) - 1
        if self.workers < 1:
            raise ValueError("a server and its workers are 2 processes at least, this is 1")
        if bound and (recipe.optimizer != "sgd" or recipe.clip is not None):
            raise ValueError("only plain SGD without clipping can apply a part of a gradient: take it, or bound 0")
        self.model, self.recipe, self.bound, self.clock = model, recipe, bound, clock
        self.keeper = Keeper(model, recipe)
        self.message = torch.empty(1 + sum(p.numel() for p in self.keeper.trained))
        self.arrivals: list[Arrival] = []
        self.spans: list[tuple[float, float]] = []
        self.loss = torch.zeros(())

    def run(self, gradients: int, batches: Batches) -> None:
        """Have the server take that many gradients, each worker computing its share of batches(0), batches(1) ... at its own pace.

        Then `arrivals` tells the server which came when, and `spans` each worker from when to when it computed. ValueError where a
        synchronous server would be left in the middle of a round.
        """
        if self.bound == 0 and gradients % self.workers:
            raise ValueError(f"{gradients} gradients are no whole rounds of {self.workers} workers")
        if self.rank == 0:
            self._serve(gradients)
        else:
            self._work(batches)

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one round of a synchronous server (training.Trainer); the server's part of the loss is 0."""
        if self.bound:
            raise ValueError("workers that do not wait for each other have no common step: call run, or take bound 0")
        share(
            inputs, 0, self.workers
        )  # a batch that is too small is refused by the server too, which would wait for ever
        self.run(self.workers, lambda _: (inputs, targets))
        return self.loss

    def weights(self) -> dict[str, Tensor]:
        """Return the server's weights, on every process."""
        if self.rank == 0:
            pack(self.message[1:], self.keeper.trained)
        dist.broadcast(self.message, group_src=0, group=self.group)
        unpack(self.message[1:], self.keeper.trained)
        return copies(self.model.named_parameters())

    def held(self) -> Held:
        """Return the bytes of weights, gradients and optimizer; only the server has the last."""
        return held(self.keeper.trained, self.keeper.optimizer)

    def _serve(self, gradients: int) -> None:
        pace, keeper, self.arrivals = Pace(self.workers, self.bound), self.keeper, []
        self._send(pace.computing, keeper.version)
        while len(self.arrivals) < gradients:
            worker = self._receive()
            self.arrivals.append(Arrival(worker, int(self.message[0]), keeper.version, self.clock()))
            free = pace.sent_by(worker)
            keeper.add(self.message[1:], complete=self.bound > 0 or pace.level)
            if len(self.arrivals) < gradients:
                self._send(free, keeper.version)
        for _ in pace.computing - set(free):  # what they still compute comes too late
            self._receive()
        self._send(range(self.workers), STOP)

    def _send(self, workers: Iterable[int], version: int) -> None:
        self.message[0] = version  # a float holds it exactly up to 2**24
        pack(self.message[1:], self.keeper.trained)
        for worker in workers:
            dist.send(self.message, group_dst=1 + worker, group=self.group)

    def _receive(self) -> int:
        return dist.get_group_rank(self.group, dist.recv(self.message, group=self.group)) - 1

    def _work(self, batches: Batches) -> None:
        self.spans = []
        while True:
            dist.recv(self.message, group_src=0, group=self.group)
            if self.message[0] == STOP:
                return
            begin = self.clock()
            unpack(self.message[1:], self.keeper.trained)
            batch = batches(len(self.spans))
            self.loss = put_gradient(self.message[1:], self.model, self.recipe, batch, self.rank - 1, self.workers)
            self.spans.append((begin, self.clock()))
            dist.send(self.message, group_dst=0, group=self.group)


def put_gradient(
    flat: Tensor, model: nn.Module, recipe: Recipe, batch: tuple[Tensor, Tensor], worker: int, workers: int
) -> Tensor:
    """Write to `flat` the gradient of a worker's part of a global batch's mean loss; return the part."""
    inputs, targets = (share(half, worker, workers) for half in batch)
    loss = recipe.loss(model, inputs, targets, batch[1].numel())
    pack(flat, torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))
    return loss.detach()


def pack(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy tensors one after the other into a flat one."""
    for part, tensor in zip(_parts(flat, tensors), tensors, strict=True):
        part.copy_(tensor.detach())


def unpack(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy a flat tensor into others."""
    for part, tensor in zip(_parts(flat, tensors), tensors, strict=True):
        tensor.detach().copy_(part)


def _parts(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
