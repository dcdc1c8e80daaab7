"""Chains of pointers in random order: where to go on is known only when the cache line before has arrived, so the latency of memory
is all that counts. Neither arithmetic nor bandwidth limits it; but a second thread, with a chain of its own, waits at the same time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.stream import LINE, touch

Array = np.ndarray[Any, np.dtype[np.uint64]]


class Chains:
    """One cycle through all its nodes for each thread, in random order; a node fills a cache line. nodes: of each; seed: of the order.

    next: uint64[threads * nodes * LINE]; next[i] is the index of the node after the one at i. at: uint64[threads * LINE]; at[k * LINE]
    is where the k-th walk stands, a line apart from the others.
    """

    def __init__(self, threads: int, nodes: int, seed: int) -> None:
        self.nodes = nodes
        self.next = np.empty(threads * nodes * LINE, np.uint64)
        touch(self.next.view(np.float64), threads)
        self.at = np.zeros(threads * LINE, np.uint64)
        self._rank = np.empty(threads * nodes, np.int64)  # how far a node is from the first of its cycle
        random = np.random.default_rng(seed)
        for chain in range(threads):
            order = chain * nodes + random.permutation(nodes)
            self._rank[order] = np.arange(nodes)
            self.next[order * LINE] = np.roll(order, -1) * LINE
            self.at[chain * LINE] = order[0] * LINE

    def went(self, before: Array, after: Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return how many nodes each walk went on between two states of `at` (or of its first walks), up to full turns."""
        start, end = (self._rank[(at[::LINE] // np.uint64(LINE)).astype(np.int64)] for at in (before, after))
        return np.asarray((end - start) % self.nodes)


class Walk:
    """Walks along all chains, or the first, that go on where the run before ended: no run finds its lines in a cache.

    at: where they stand; hops: how far `go` should take them.
    """

    def __init__(self, chains: Chains, at: Array, hops: int, go: Callable[[], object]) -> None:
        self.chains, self.at, self.hops, self.go = chains, at, hops, go
        self.before = at.copy()

    def run(self) -> None:
        """Walk on."""
        self.before = self.at.copy()
        self.go()

    def wrong(self) -> str | None:
        """Say how far the last run went, unless it is as far as it should."""
        went = self.chains.went(self.before, self.at)
        return None if (went == self.hops % self.chains.nodes).all() else f"they went {went} nodes, not {self.hops}"


@njit(cache=True)
def walk_serial(next: Any, at: Any, hops: int) -> None:
    """Walk `hops` nodes on from at[0], at[LINE], ... , one walk after the other, and write down where each ended."""
    for k in range(at.size // LINE):
        here = at[k * LINE]
        for _ in range(hops):
            here = next[here]
        at[k * LINE] = here


@njit(parallel=True, cache=True)
def walk(next: Any, at: Any, hops: int) -> None:
    """Do the same with a thread for each walk."""
    for lane in prange(at.size // LINE):
        here = at[lane * LINE]
        for _ in range(hops):
            here = next[here]
        at[lane * LINE] = here


@njit(parallel=True, cache=True)
def read(next: Any, sums: Any) -> None:
    """Read every line once, in order, each thread those of its own chain; sums: uint64[threads * LINE], what was read, added up.

    Every address is known beforehand, so that many lines are on their way at the same time: as fast as memory brings them.
    """
    threads = sums.size // LINE
    part = next.size // threads
    for lane in prange(threads):
        total = np.uint64(0)
        for i in range(lane * part, (lane + 1) * part, LINE):
            total += next[i]
        sums[lane * LINE] = total
