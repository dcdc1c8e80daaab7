"""The same grid on one GPU, on two, streamed through one in tiles, and in tensors. Needs CuPy."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda import halves, heat, peers
from parlab.cuda.streams import captured, main
from parlab.cuda.tiles import Tiled
from parlab.experiments.heat_names import BLOCKED, GPU, ONE_BY_ONE, STREAMED, STREAMS, TORCH_GPU, TWO_GPUS
from parlab.experiments.heat_ways import Make, Racer
from parlab.measure import Clock, Gpus, clock_step
from parlab.openmp_like.plate import Grid

ROOM = 5  # grids that a GPU should have room for: by each way one, and copies on the way


class Resident:
    """A square grid that lies on the first GPU as a whole."""

    def __init__(self, side: int) -> None:
        self.slabs: tuple[heat.Slab, ...] = (heat.Slab(0, 1, side, side, side),)

    def load(self, start: Grid) -> None:
        """Start afresh from the values of all points."""
        main().synchronize()
        for slab in self.slabs:
            slab.take(start)

    def points(self) -> Grid:
        """Return the present values."""
        main().synchronize()
        return np.concatenate([slab.points() for slab in self.slabs])

    def run(self, steps: int) -> Callable[[], object]:
        """Return what does so many steps, an even number, by one call of the driver."""
        return captured(heat.serial(self.slabs[0], steps))


class Halved(Resident):
    """A square grid of which the upper half lies on the first GPU, the lower on the second."""

    def __init__(self, side: int) -> None:
        peers.let_reach(peers.reachable())
        self.slabs = self.pair = halves.cut(side, side)

    def run(self, steps: int) -> Callable[[], object]:
        """Return what does so many steps, an even number, by one call of the driver."""
        return captured(halves.overlapped(self.pair, steps, halves.by_link))


class Streamed:
    """A square grid in the host's memory, streamed through `budget` bytes of a GPU: so many steps a visit, in so many streams."""

    def __init__(self, side: int, budget: int, steps: int, streams: int) -> None:
        self.tiled = Tiled(side, side, budget, steps, streams)

    def load(self, start: Grid) -> None:
        """Start afresh from the values of all points."""
        main().synchronize()
        self.tiled.points()[:] = start

    def points(self) -> Grid:
        """Return the present values."""
        main().synchronize()
        return self.tiled.points()

    def run(self, steps: int) -> Callable[[], object]:
        """Return what does so many steps, two visits of each tile's or a multiple of that, by one call of the driver."""
        return captured(self.tiled.run(steps // self.tiled.steps))


def makes(side: int, count: int, budget: int, visit: int) -> dict[str, Make]:
    """Return what makes an empty grid for each way: with so many GPUs, and tiles where the grid is larger than the budget in bytes.

    Where it really does not fit, tiles alone are left.
    """
    found: dict[str, Make] = {}
    grid, free = 2 * 8 * (side + 2) ** 2, cp.cuda.Device(0).mem_info[0]
    if ROOM * grid < free:
        found[GPU] = partial(Resident, side)
        if count > 1:
            found[TWO_GPUS] = partial(Halved, side)
    if grid > budget:
        found[ONE_BY_ONE] = partial(Streamed, side, budget, 1, 1)
        found[STREAMED] = partial(Streamed, side, budget, 1, STREAMS)
        found[BLOCKED] = partial(Streamed, side, budget, visit, STREAMS)
    if find_spec("torch") and GPU in found:
        import torch

        from parlab.ddp.heat import Plate

        if torch.cuda.is_available():
            found[TORCH_GPU] = lambda: Plate(side, side, "cuda")
    return found


def racers(team: Gpus, made: Mapping[str, Make], steps: int) -> dict[str, Racer]:
    """Return the ways of `makes` with a grid each, that do so many steps in a run; tiles two visits."""
    found = {}
    for name, make in made.items():
        held: Any = make()
        if name == TORCH_GPU:
            clock = Clock("host, GPU awaited", _awaited, clock_step())
            found[name] = Racer(held, partial(held.advance, steps), steps, clock, roundings=1, wait=_finished)
            continue
        many = 2 * held.tiled.steps if isinstance(held, Streamed) else steps
        found[name] = Racer(held, held.run(many), many, team.events, wait=main().synchronize)
    return found


def _finished() -> None:
    import torch

    torch.cuda.synchronize()


def _awaited(run: Callable[[], object], batch: int) -> float:
    _finished()
    begin = time.perf_counter()
    for _ in range(batch):
        run()
    _finished()
    return time.perf_counter() - begin
