"""Many small pieces to the GPU: one by one, packed into one copy, or fetched by a kernel. Needs CuPy.

Each way is a function of the pieces that prepares everything (addresses, tables, buffers) and returns a run on main(). What was prepared
holds while the pieces stay where they are; what is in them may change from run to run.

Sources: CUDA C++ Best Practices Guide, Data Transfer Between Host and Device (pack); CUDA Runtime API, cudaMemcpyBatchAsync (CUDA 12.8).
"""

from collections.abc import Sequence
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import Host, address, pinned
from parlab.cuda.kernels import THREADS, kernel
from parlab.cuda.streams import Do, Run, captured, event, main
from parlab.cuda.transfers import MOST_BLOCKS, WIDE, alone, at_once, by_engine, differs, in_turn, wide_blocks

APART = 256  # bytes: pieces begin at multiples of it, as those that cudaMalloc hands out do


class Pieces:
    """Pieces of bytes in pinned memory of the host, and the places on the GPU where they belong: apart, in reverse order.

    host, device: the memory that holds them, uint8, with gaps. sources: NumPy arrays, places: CuPy arrays, one for each of `sizes` (bytes).
    """

    def __init__(self, sizes: Sequence[int], seed: int = 0) -> None:
        here, there = _slices(sizes, APART, gap=1), _slices(sizes[::-1], APART, gap=1)[::-1]
        self.sizes, self._there = sizes, there
        self.host: Host = pinned(here[-1].stop, np.uint8)
        self.host[:] = np.random.default_rng(seed).integers(0, 256, self.host.size, np.uint8)
        self.device = cp.zeros(there[0].stop, cp.uint8)
        self.sources = [self.host[part] for part in here]
        self.places = [self.device[part] for part in there]
        cp.cuda.runtime.deviceSynchronize()

    def changing(self) -> Host:
        """Return some bytes of every piece, to be changed between rounds."""
        return self.host[::APART]

    def wrong(self) -> str | None:
        """Say where a piece is not as it is on the host; None where nowhere. What lies between them must still be all of one value."""
        main().synchronize()
        expected = np.full(self.device.size, int(self.device[0]), np.uint8)
        for part, source in zip(self._there, self.sources, strict=True):
            expected[part] = source
        return differs(self.device, cp.asarray(expected))


def _slices(sizes: Sequence[int], unit: int, gap: int) -> list[slice]:
    """Place pieces one after the other, each at a multiple of `unit`, and so many bytes or more before it free."""
    placed, end = [], 0
    for size in sizes:
        start = -(-(end + gap) // unit) * unit
        end = start + size
        placed.append(slice(start, end))
    return placed


def one_by_one(pieces: Pieces) -> Run:
    """Do a copy for each piece."""
    return alone(in_turn(*_copies(pieces)))


def over_streams(pieces: Pieces, streams: int) -> Run:
    """Do a copy for each piece, to several streams in turn."""
    copies = _copies(pieces)
    return at_once(*(in_turn(*copies[i::streams]) for i in range(min(streams, len(copies)))))


def by_graph(pieces: Pieces) -> Run:
    """Replay the copies as a graph: issued once, launched by one call."""
    return captured(one_by_one(pieces))


def fetched(pieces: Pieces) -> Run:
    """Let one kernel fetch all pieces from the host's memory, by a table of addresses."""
    return alone(_by_table(pieces.places, pieces.sources))


class Packed:
    """The pieces packed by the host into one array, which is copied at once and unpacked on the GPU by a kernel."""

    def __init__(self, pieces: Pieces) -> None:
        packed = _slices(pieces.sizes, WIDE, gap=0)
        self.host, self.device = pinned(packed[-1].stop, np.uint8), cp.empty(packed[-1].stop, cp.uint8)
        self.host.fill(0)
        self.moves = list(zip((self.host[part] for part in packed), pieces.sources, strict=True))
        self.issue = in_turn(
            by_engine(self.device, self.host), _by_table(pieces.places, [self.device[part] for part in packed])
        )
        self.sent = event()

    def pack(self) -> None:
        """Copy the pieces together. The last copy may still be under way: it is waited for."""
        self.sent.synchronize()
        for to, piece in self.moves:
            np.copyto(to, piece)

    def run(self) -> None:
        """Pack, copy, unpack."""
        self.pack()
        self.issue(main())
        main().record(self.sent)

    def wrong(self) -> str | None:
        """Say which piece is not packed as it is; None where none."""
        bad = [i for i, (packed, piece) in enumerate(self.moves) if not np.array_equal(packed, piece)]
        return f"{len(bad)} pieces are not packed as they are, the first is number {bad[0]}" if bad else None


def batched(pieces: Pieces) -> Run:
    """Give all copies to CUDA by one call, cudaMemcpyBatchAsync. Raises NotImplementedError where the package or the driver lacks it."""
    try:
        from cuda.bindings import runtime

        how, order = runtime.cudaMemcpyAttributes(), runtime.cudaMemcpySrcAccessOrder
    except (ImportError, AttributeError) as error:
        raise NotImplementedError(
            f"CUDA's batch copy: pip install cuda-bindings brings it, for CUDA 12.8 or later ({error})"
        ) from error
    how.srcAccessOrder = order.cudaMemcpySrcAccessOrderStream
    to, source = [address(place) for place in pieces.places], [address(piece) for piece in pieces.sources]
    arguments = to, source, list(pieces.sizes), len(to), [how], [0], 1, main().ptr

    def run(_kept: Pieces = pieces) -> None:
        status = runtime.cudaMemcpyBatchAsync(*arguments)[0]
        if int(status):
            raise RuntimeError(f"cudaMemcpyBatchAsync: {status!r}")

    try:
        run()
    except RuntimeError as error:
        raise NotImplementedError(f"CUDA's batch copy: the driver refuses ({error})") from error
    return run


def _copies(pieces: Pieces) -> list[Do]:
    return [by_engine(place, piece) for place, piece in zip(pieces.places, pieces.sources, strict=True)]


def _by_table(places: Sequence[Any], sources: Sequence[Any]) -> Do:
    """Return what launches one kernel that copies all sources to their places; a row of the grid does one."""
    rows = [(address(place), address(piece), piece.nbytes) for place, piece in zip(places, sources, strict=True)]
    table = cp.asarray(np.array(rows, np.uint64))
    most = wide_blocks(max(piece.nbytes for piece in sources))
    grid = max(1, min(most, MOST_BLOCKS // len(rows))), len(rows)
    cp.cuda.runtime.deviceSynchronize()  # the table is there before any stream needs it
    copy = kernel("copy_pieces", "copying.cu")

    def issue(stream: Any, _kept: Any = (places, sources)) -> None:
        copy(grid, (THREADS,), (table,), stream=stream)

    return issue
