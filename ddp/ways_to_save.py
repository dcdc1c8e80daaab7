"""One state of training, saved in every way there is, so that their costs can be compared. Each way has a place of its own in a folder."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp import checkpoints, checkpoints_by_torch, elastic
from parlab.ddp.sharded import ZeRO1

STEP = 1  # whichever; each save is written over the one before it


class Ways:
    """What the workers of a trainer can do with their slices, all of them together. nbytes: of all workers' slices."""

    def __init__(self, trainer: ZeRO1, folder: Path, batch: tuple[Tensor, Tensor]) -> None:
        self.trainer, self.folder, self.batch, self.group = trainer, folder, batch, trainer.group
        self.length = trainer.units[0].whole.numel()
        self.nbytes = 4 * self.length * len(self.slices)
        self.raw = os.urandom(self.nbytes // self.group.size())
        for name in ("at once", "background"):
            (folder / name).mkdir(exist_ok=True)
        self.background = checkpoints.Background(folder / "background", self.group)

    @property
    def slices(self) -> dict[str, Tensor]:
        """Return this worker's slices as they are now."""
        return elastic.slices(self.trainer)[1]

    def step(self) -> None:
        """Train one step: what saving is held against."""
        self.trainer.step(*self.batch)

    def at_once(self) -> None:
        """Save, and go on when all is complete."""
        checkpoints.save(self.folder / "at once", STEP, *elastic.slices(self.trainer), self.group)

    def begin(self) -> None:
        """Begin to save in the background."""
        self.background.save(STEP, *elastic.slices(self.trainer))

    def beside(self) -> None:
        """Train one step while that goes on, and complete it."""
        self.begin()
        self.step()
        self.background.finish()

    def in_place(self) -> None:
        """Write over the last state: a kill meanwhile loses both."""
        torch.save(self.slices, self.folder / f"in place {self.group.rank()}")

    def by_torch(self) -> None:
        """Let torch.distributed.checkpoint do it."""
        checkpoints_by_torch.save(self.folder / "by torch", self.slices, self.length, self.group)

    def raw_bytes(self) -> None:
        """Bring as many bytes to the disk, and do nothing else: what bounds every save."""
        with (self.folder / f"raw {self.group.rank()}").open("wb", buffering=0) as file:
            file.write(self.raw)
            os.fsync(file.fileno())

    def load(self) -> None:
        """Load what was saved at once."""
        elastic.resume(self.trainer, self.folder / "at once")

    def wrong(self, name: str) -> str | None:
        """Say which vectors of the trainer are not those that were saved "at once", in the "background", "in place" or "by torch"."""
        dist.barrier(self.group)
        saved, now = self.saved(name), self.slices
        bad = [vector for vector in now if not torch.equal(saved[vector], now[vector])]
        return f"{', '.join(bad)} not as saved" if bad else None

    def saved(self, name: str) -> dict[str, Tensor]:
        """Return this worker's slices as they were saved."""
        first, slices = elastic.slices(self.trainer)
        if name == "in place":
            found: dict[str, Tensor] = torch.load(self.folder / f"{name} {self.group.rank()}")
            return found
        if name == "by torch":
            return checkpoints_by_torch.load(self.folder / name, slices, self.length, self.group)
        checkpoint = checkpoints.latest(self.folder / name)
        assert checkpoint
        return checkpoints.load(self.folder / name, checkpoint, first, first + len(slices["weights"]))
