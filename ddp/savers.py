"""Processes that do nothing but save, until they are killed at whatever instruction; and what the disk then holds.

Two ways: `atomic`, as in checkpoints.py, and `in_place`, which writes the new state over the old one, as many a training script does.
"""

import itertools
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from parlab.ddp.checkpoints import complete, latest, load, write_shard

LENGTH = 1 << 18  # float32: 1 MiB
ACKNOWLEDGED = "acknowledged"


def state(step: int) -> dict[str, Tensor]:
    """Return what is saved after a step: it tells of which step it is."""
    return {"weights": torch.full((LENGTH,), float(step))}


def atomic(folder: Path, step: int) -> None:
    """Save so that the former state is whole until the new one is."""
    complete(folder, step, [write_shard(folder, step, 0, 0, state(step))])


def in_place(folder: Path, step: int) -> None:
    """Save over what was saved before."""
    torch.save(state(step), folder / "state")


def save_until_killed(save: Callable[[Path, int], None], folder: Path, seconds: float, rank: int = 0) -> NoReturn:
    """Save step after step; each save that returned is acknowledged in a file.

    The kernel ends the process so many seconds after the first. rank: for who starts several; each needs a folder of its own.
    """
    acknowledged = os.open(folder / ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # as SIGKILL does, it then ends the process between two instructions
    for step in itertools.count(1):
        save(folder, step)
        os.pwrite(acknowledged, f"{step:8d}".encode(), 0)
        if step == 1:
            signal.setitimer(signal.ITIMER_REAL, seconds)
    raise AssertionError("steps do not end")


class Left(NamedTuple):
    """What a killed process left: the last step that it knew to be saved, the step that can be loaded, and whether a save was cut short."""

    acknowledged: int
    loaded: int
    cut: bool


def left(folder: Path) -> Left:
    """Look at the disk after the kill. loaded: 0 where nothing is whole."""
    path = folder / ACKNOWLEDGED
    acknowledged = int(path.read_bytes() or 0) if path.exists() else 0
    if (folder / "state").exists():
        loaded = _whole(lambda: torch.load(folder / "state", weights_only=True))
        return Left(acknowledged, loaded, loaded == 0)
    found = latest(folder)
    loaded = _whole(lambda: load(folder, found, 0, LENGTH)) if found else 0
    newer = [other for other in folder.iterdir() if other.name != ACKNOWLEDGED and other.name[:8] > f"{loaded:08d}"]
    return Left(acknowledged, loaded, bool(newer))


def _whole(read: Callable[[], dict[str, Tensor]]) -> int:
    """Return the step of a state; 0 where it cannot be read, or is not all of one step."""
    try:
        weights = read()["weights"]
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return 0
    return int(weights[0]) if torch.equal(weights, weights[0].expand(LENGTH)) else 0
