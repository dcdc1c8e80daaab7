"""A training of which one worker kills itself: what its workers are told, and what they do."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp import checkpoints, corpus, elastic, elastic_by_torchft, models
from parlab.ddp.sharded import ZeRO1
from parlab.ddp.training import Recipe

SHAPES = {"smoke": models.TINY, "quick": models.Shape(width=192, depth=4, heads=4), "full": models.SMALL}
RECIPE = Recipe("adamw", rate=1e-3, clip=1.0)
ROWS, STEPS, EVERY = 8, 15, 5  # of a batch, of the training, from one checkpoint to the next
KILL = 1, "step 8"  # the worker, and the point at which it dies in its first life
KILLED = "killed"

Reached = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """Where its checkpoints are, how large its network is, by the name of a budget, and whether a worker is to die."""

    folder: str
    budget: str
    kill: bool

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return Path(self.folder) / "checkpoints"

    def run(self, group: dist.ProcessGroup, life: int, reached: Reached) -> ZeRO1:
        """Train to the end, as one of the workers in one of its lives; return the trainer. reached: see elastic.train."""
        told = self.mortal(group.rank(), life, reached)
        told("joined")
        trainer = ZeRO1(models.gpt(SHAPES[self.budget]), RECIPE, group)
        told("ready")
        elastic.train(trainer, self.batch, STEPS, self.checkpoints, EVERY, told)
        return trainer

    def run_by_torchft(self, worker: int, life: int, reached: Reached, address: str) -> None:
        """Train as one of the workers whose peers go on without them; worker 0 saves the network at the end. address: of the lighthouse."""
        model = models.gpt(SHAPES[self.budget])
        told = self.mortal(worker, life, reached)
        elastic_by_torchft.train(model, RECIPE, self.batch, STEPS, worker, address, told)
        if worker == 0:
            torch.save(torch.cat([w.detach().flatten() for w in model.parameters()]), Path(self.folder) / "weights")

    def mortal(self, worker: int, life: int, reached: Reached) -> Reached:
        """Return what to call with each point: it passes them on, and dies where this worker is to die."""

        def told(point: str) -> None:
            reached(point)
            if self.kill and life == 0 and (worker, point) == KILL:
                reached(KILLED)
                os.kill(os.getpid(), signal.SIGKILL)

        return told

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of a step."""
        shape = SHAPES[self.budget]
        return corpus.passages(step, ROWS, shape.context, shape.vocabulary)

    def state(self) -> dict[str, Tensor]:
        """Return all of the last checkpoint; RuntimeError where the training did not end."""
        found = checkpoints.latest(self.checkpoints)
        if found is None or found.step != STEPS:
            raise RuntimeError(f"the training in {self.folder} did not end: its last checkpoint is {found}")
        return checkpoints.load(self.checkpoints, found, 0, found.length)

    def loss(self, weights: Tensor) -> float:
        """Return the loss of a batch that no step saw, with these weights: all of them, one after the other."""
        model = models.gpt(SHAPES[self.budget])
        torch.nn.utils.vector_to_parameters(weights, model.parameters())
        inputs, targets = self.batch(0)
        with torch.no_grad():
            return float(RECIPE.loss(model, inputs, targets, targets.numel()))
