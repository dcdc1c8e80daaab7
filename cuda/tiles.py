"""The heat equation on a grid in the host's memory, streamed through a GPU that has room for a few tiles of it. Needs CuPy.

    visit      bring a tile's rows and its ghost rows, sweep them `steps` times, take its own rows back      (tile_plan.py)
    pass       a visit of every tile: it reads one array of the host and writes the other, so ghost rows are of the time before the pass
    run        an even number of passes, which ends in the array in which it began

Visits go to the streams in turn; each stream has a slot of its own, memory for a tile on the GPU. With three streams one tile comes in
while another is swept and a third goes out. A visit waits for the visits of the last pass that touched rows which it reads or writes: those
of its own tile and of the tiles near it, and for nobody else.
"""

from functools import partial

import cupy as cp
import numpy as np

from parlab.cuda.buffers import Host, copy_in, copy_out, pinned
from parlab.cuda.heat import ROWS, Slab, padded
from parlab.cuda.streams import Do, Run, event, fork, join, several
from parlab.cuda.tile_plan import Tile, height, tiles


class Slot(Slab):
    """Memory of the GPU for a tile with its ghost rows; rows and columns are counted from the first brought."""

    def visit(self, tile: Tile, old: Host, new: Host) -> list[Do]:
        """Return what brings the tile's rows from `old`, sweeps them, and takes its own to `new`: both (rows + 2, pitch), pinned."""
        brought, last = tile.bottom - tile.top, tile.bottom - tile.top - 1
        own = slice(tile.first - tile.top, tile.stop - tile.top)
        sweeps = [self._sweep(k % 2, begin, end, last) for k, (begin, end) in enumerate(tile.sweeps)]
        back = partial(copy_out, new[tile.first : tile.stop], self.u[len(sweeps) % 2, own])
        return [partial(copy_in, self.u[0, :brought], old[tile.top : tile.bottom]), *sweeps, back]

    def _sweep(self, old: int, begin: int, end: int, last: int) -> Do:
        """Sweep rows begin to end - 1. The outermost rows are read where they were brought: no step writes them.

        They are ghost rows, which only the first step reads, or the boundary of the grid, which does not change.
        """
        arrays = [self.row(1 - old, 0), self.row(old, 0), self.row(0, 0), self.row(0, last)]
        return self._launched("sweep", end - begin, ROWS, arrays, (begin, end, last - 1, self.columns, self.pitch))


class Tiled:
    """A grid of rows x columns points in pinned memory of the host, and slots for its tiles on the GPU.

    host: float64, shape (2, rows + 2, pitch): the boundary and the padding are zeros. budget: bytes of the GPU's memory that the slots
    may take together. ValueError where they are too few.
    """

    def __init__(self, rows: int, columns: int, budget: int, steps: int, slots: int) -> None:
        pitch = padded(columns)
        self.rows, self.columns, self.steps = rows, columns, steps
        self.tiles = tiles(rows, height(budget, pitch, steps, slots), steps)
        largest = max(tile.bottom - tile.top for tile in self.tiles)
        self.slots = [Slot(0, 0, largest - 2, rows, columns) for _ in range(slots)]
        for slot in self.slots:
            slot.u.fill(0)  # the boundary to the west and to the east, which nobody else writes
        cp.cuda.runtime.deviceSynchronize()
        self.host = pinned(2 * (rows + 2) * pitch, np.float64).reshape(2, rows + 2, pitch)
        self.host.fill(0)

    def points(self) -> Host:
        """Return the values after a run, shape (rows, columns): a view, to read or to assign to."""
        return self.host[0, 1:-1, 1 : self.columns + 1]

    @property
    def nbytes(self) -> int:
        """Bytes that the slots take on the GPU."""
        return sum(slot.u.nbytes for slot in self.slots)

    def run(self, passes: int) -> Run:
        """Return a run of so many passes, an even number: steps x passes time steps. It begins and ends on streams.main()."""
        if passes < 2 or passes % 2:
            raise ValueError(f"an even number of passes ends where it began, not {passes}")
        streams = several(len(self.slots))
        done = [[event() for _ in self.tiles] for _ in (0, 1)]  # of this pass and of the last one
        visits = []
        for k in range(passes * len(self.tiles)):
            which, i = divmod(k, len(self.tiles))
            tile, old, lane = self.tiles[i], which % 2, k % len(streams)
            operations = self.slots[lane].visit(tile, self.host[old], self.host[1 - old])
            awaited = [done[1 - old][near] for near in tile.near] if which else []
            visits.append((streams[lane], awaited, operations, done[old][i]))

        def run() -> None:
            fork(streams)
            for stream, awaited, operations, ended in visits:
                for each in awaited:
                    stream.wait_event(each)
                for do in operations:
                    do(stream)
                stream.record(ended)
            join(streams)

        return run
