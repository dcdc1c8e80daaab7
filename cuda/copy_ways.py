"""Copies between host and GPU in every direction, from and to every kind of host memory, by copy engine and by kernel. Needs CuPy.

memory = Memory(2**30)                                     # of each kind, on the host and on the GPU
to_gpu(memory, slice(0, 1024))["pageable"].run()           # copies 1024 numbers, and waits
to_gpu(memory, slice(0, 1024))["pageable"].copies[0].wrong()
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import psutil

from parlab.cuda.buffers import WRITE_COMBINED, Host, pinned
from parlab.cuda.streams import Do, Run, main
from parlab.cuda.transfers import By, Timer, alone, at_once, beside, by_engine, by_kernel, differs, in_turn, waited

CHANGED = 16384  # one in so many numbers is changed between rounds, for to change all takes longer than to copy them
ON_HOST = 5  # arrays of Memory
MANY = 16  # copies within the GPU beside others: enough of them to be seen


@dataclass(frozen=True)
class Copy:
    """One copy. issue: issues it. wrong: says where `to` differs from what was to be copied. changing: some of that, to be changed."""

    issue: Do
    wrong: Callable[[], str | None]
    to: Any
    changing: Any


@dataclass(frozen=True)
class Way:
    """A run and the copies that it does. by_host: the host waits for it, so the host's clock must time it. seconds: a clock of its own."""

    run: Run
    copies: tuple[Copy, ...]
    by_host: bool = False
    seconds: Timer | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are copied."""
        return sum(int(copy.to.nbytes) for copy in self.copies)


class Memory:
    """`nbytes` (a multiple of 4) of numbers in host memory of every kind and on the GPU. Every number, uint32, tells where it belongs.

    source: "pinned", "pageable", "write-combined": goes to the GPU, to `given`. result: "pinned", "pageable": is filled from `made`, on
    the GPU. Raises MemoryError, CuPy's OutOfMemoryError or CUDARuntimeError where that much is not there, or where it would take more than
    half of what the host has left: locked memory is lost to all others.
    """

    def __init__(self, nbytes: int) -> None:
        count, left = nbytes // 4, psutil.virtual_memory().available
        if 2 * ON_HOST * nbytes > left:
            raise MemoryError(f"{ON_HOST} times {nbytes} bytes are more than half of the {left} that the host has left")
        self.given, self.made = cp.empty(count, cp.uint32), cp.arange(count, dtype=cp.uint32)
        cp.empty(2 * count, cp.uint32)  # what the checks will ask the pool for: better refused now than then
        self.source: dict[str, Host] = {
            "pageable": np.arange(count, dtype=np.uint32),
            "pinned": pinned(count, np.uint32),
            "write-combined": pinned(count, np.uint32, WRITE_COMBINED),
        }
        for kind in ("pinned", "write-combined"):
            self.source[kind][:] = self.source["pageable"]
        self.result: dict[str, Host] = {"pageable": np.empty(count, np.uint32), "pinned": pinned(count, np.uint32)}
        for host in self.result.values():
            host.fill(0)  # a page that was never written is not there yet
        self._changing: dict[tuple[str, int, int], Any] = {}
        cp.cuda.runtime.deviceSynchronize()

    def changing(self, what: str, part: slice) -> Any:
        """Return one in CHANGED numbers of a part of a source, or of "made": the same array at each call, so that ways change it once."""
        array = self.made if what == "made" else self.source[what]
        return self._changing.setdefault((what, part.start, part.stop), array[part][_changed(part)])

    def copy_in(self, kind: str, part: slice, by: By) -> Copy:
        """Return the copy of a part to the GPU. The check reads little of the source, for write-combined memory is slow to read."""
        to, changing = self.given[part], self.changing(kind, part)

        def wrong() -> str | None:
            expected = cp.arange(part.start, part.stop, dtype=cp.uint32)
            expected[_changed(part)] = cp.asarray(np.ascontiguousarray(changing))
            return differs(to, expected)

        return Copy(by(to, self.source[kind][part]), wrong, to, changing)

    def copy_out(self, kind: str, part: slice, by: By) -> Copy:
        """Return the copy of a part to the host. The check brings it back, to `given`, and compares it there."""
        to, source, there = self.result[kind][part], self.made[part], self.given[part]
        back = by_engine(there, to)

        def wrong() -> str | None:
            back(main())
            return differs(there, source)

        return Copy(by(to, source), wrong, to, self.changing("made", part))

    def copy_within(self, part: slice, by: By) -> Copy:
        """Return the copy of a part from `made` to `given`."""
        to, source = self.given[part], self.made[part]
        return Copy(by(to, source), lambda: differs(to, source), to, self.changing("made", part))

    def read(self, kind: str, part: slice) -> Copy:
        """Return the copy of a part from host memory to host memory, which the host does itself."""
        source = self.source[kind][part]
        to = np.zeros_like(source)

        def wrong() -> str | None:
            return None if np.array_equal(to, source) else "the host did not read what is there"

        return Copy(lambda _: np.copyto(to, source), wrong, to, self.changing(kind, part))


def _changed(part: slice) -> slice:
    """Return which numbers of a part are changed: the same ones of the whole, whatever the part."""
    return slice(-part.start % CHANGED, None, CHANGED)


def to_gpu(memory: Memory, part: slice) -> dict[str, Way]:
    """Return the ways to copy a part to the GPU."""
    kinds = "pinned", "pageable", "write-combined"
    plain, pageable, combined = (memory.copy_in(kind, part, by_engine) for kind in kinds)
    mapped = memory.copy_in("pinned", part, by_kernel)
    return _both_views(plain, pageable) | {
        "write-combined": Way(alone(combined.issue), (combined,)),
        "mapped": Way(alone(mapped.issue), (mapped,)),
    }


def to_host(memory: Memory, part: slice) -> dict[str, Way]:
    """Return the ways to copy a part to the host."""
    plain, pageable = (memory.copy_out(kind, part, by_engine) for kind in ("pinned", "pageable"))
    mapped = memory.copy_out("pinned", part, by_kernel)
    return _both_views(plain, pageable) | {"mapped": Way(alone(mapped.issue), (mapped,))}


def _both_views(plain: Copy, pageable: Copy) -> dict[str, Way]:
    """Return the copy of pinned memory as the GPU sees it and as the program does, and of pageable memory, where both are the same."""
    return {
        "pinned": Way(alone(plain.issue), (plain,)),
        "pinned, host waits": Way(waited(alone(plain.issue)), (plain,), by_host=True),
        "pageable": Way(waited(alone(pageable.issue)), (pageable,), by_host=True),
    }


def within_gpu(memory: Memory, part: slice) -> dict[str, Way]:
    """Return the ways to copy a part from the GPU to itself."""
    engine, kernel = memory.copy_within(part, by_engine), memory.copy_within(part, by_kernel)
    return {"cudaMemcpyAsync": Way(alone(engine.issue), (engine,)), "kernel": Way(alone(kernel.issue), (kernel,))}


def both_ways(memory: Memory, part: slice) -> dict[str, Way]:
    """Return the ways to copy a part to the GPU and another back."""
    there, back = memory.copy_in("pinned", part, by_engine), memory.copy_out("pinned", part, by_engine)
    return {
        "one after the other": Way(alone(in_turn(there.issue, back.issue)), (there, back)),
        "together": Way(at_once(there.issue, back.issue), (there, back)),
        "h2d beside d2h": Way(alone(there.issue), (there,), seconds=beside(back.issue)),
        "d2h beside h2d": Way(alone(back.issue), (back,), seconds=beside(there.issue)),
    }


def side_by_side(memory: Memory, count: int) -> dict[str, Way]:
    """Return copies of `count` numbers (a quarter of the memory at most), each on a stream of its own: which wait for which?"""
    first, second, third = (slice(i * count, (i + 1) * count) for i in range(3))
    there, more = (memory.copy_in("pinned", part, by_engine) for part in (first, second))
    back, within = memory.copy_out("pinned", first, by_engine), memory.copy_within(third, by_engine)
    many = in_turn(*(within.issue for _ in range(MANY)))
    return {
        "h2d": Way(at_once(there.issue), (there,)),
        "h2d, h2d": Way(at_once(there.issue, more.issue), (there, more)),
        "h2d, d2h": Way(at_once(there.issue, back.issue), (there, back)),
        "many d2d": Way(at_once(many), (within,) * MANY),
        "h2d, d2h, many d2d": Way(at_once(there.issue, back.issue, many), (there, back, *(within,) * MANY)),
    }


def read_by_host(memory: Memory, part: slice) -> dict[str, Way]:
    """Return the host's reading of its own memory: what is write-combined passes the caches by."""
    found = {kind: memory.read(kind, part) for kind in ("pinned", "pageable", "write-combined")}
    return {kind: Way(alone(copy.issue), (copy,), by_host=True) for kind, copy in found.items()}
