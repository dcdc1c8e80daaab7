"""Teams of threads in one process: pinned while they are measured, and shown to have a core each before and after.

How threads are pinned and what proves their cores is the topic's to know (parlab.openmp_like.threads is a `Crew`); here it is used.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from parlab.errors import BadRequest
from parlab.measure import Alone
from parlab.records import PROOF

if TYPE_CHECKING:
    from parlab.bench import Bench


class Crew(Protocol):
    """What knows the threads."""

    def pinned(self, threads: int, /) -> AbstractContextManager[None]:
        """Keep each thread on a core of its own."""

    def masks(self, threads: int, /) -> list[set[int]]:
        """Return the cores that each thread may run on."""

    def proof(self, threads: int, /) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object], int]:
        """Return work for one thread, the same work for each of them, a ping-pong between two, and its rounds."""


def start_layer() -> str:
    """Start Numba's threads and return the name of their layer. Raises BadRequest where the layer asked for is not here."""
    import numba
    from numba.np.ufunc import parallel

    try:
        parallel._launch_threads()  # what the first parallel function would do
    except ValueError:
        asked = os.environ.get("NUMBA_THREADING_LAYER", "default")
        known = {"tbb": "pip install tbb", "omp": "install GNU OpenMP, libgomp1"}.get(
            asked, "choose tbb, omp or workqueue"
        )
        raise BadRequest(f"Numba's threading layer {asked!r} is not here: {known}") from None
    return str(numba.threading_layer())


def teams(bench: "Bench", crew: Crew | None, sizes: list[int]) -> Iterator[Alone]:
    """Yield the teams of the scaling curve, each set up for the body of the loop."""
    import numba

    for threads in sizes:
        numba.set_num_threads(threads)
        team = Alone(threads, pinned=crew is not None)
        if crew is None:
            yield team
            continue
        with crew.pinned(threads):
            facts = {"threads": str(threads), "layer": bench.layer, "cores allowed": str(bench.cores)}
            bench.row(facts | {"runs on": _where(crew.masks(threads))})
            _prove(bench, team, crew)
            yield team
            _prove(bench, team, crew)


def _where(masks: list[set[int]]) -> str:
    """Say on which cores the threads may run: one each, or how many of them."""
    if all(len(mask) == 1 for mask in masks):
        cores = [core for mask in masks for core in mask]
        return "core " + ", ".join(map(str, cores)) if len(cores) < 5 else f"one core each, {cores[0]} to {cores[-1]}"
    return f"any of {len(set.union(*masks))} cores"


def _prove(bench: "Bench", team: Alone, crew: Crew) -> None:
    """Measure whether all threads together are as fast as one of them alone, and how long a word takes to go to and fro."""
    from parlab.bench import Case

    if team.size == 1:
        return
    alone, together, ping_pong, rounds = crew.proof(team.size)
    cases = {"alone": Case(alone, busy=1), "together": Case(together, busy=team.size)}
    cases["ping-pong"] = Case(ping_pong, units=rounds)
    bench.contrast(team, {PROOF: bench.layer}, "work", cases, against="alone", seconds=0.5)
