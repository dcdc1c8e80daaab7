"""Every wait between two GPUs is needed: a run without it gives a wrong result, under an adversary or with a stream that is held up.

A run finds its data put there by main() and has its results fetched by main(), so that a fork or a join that was lost shows as well.
On GPUs one stream after another is slowed down; the stand-in for CuPy has a scheduler that likes the wrong order.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

ADVERSARIES = [*product(("random",), range(12)), *product(("last", "lazy"), range(2))]
TURNS = 200_000  # of the kernel that slows a stream down: some 0.5 ms
STEPS, ROWS, COLUMNS, COUNT, CHUNKS = 4, 9, 21, 1000, 11

Place = tuple[str, int, int]  # where a wait stands: function, line, stream
Trial = Callable[[], bool]  # puts data there, does a run, fetches the results: are they right?


class Waits:
    """Takes the place of Stream.wait_event: notes every wait, leaves one out, slows one stream down after its waits."""

    def __init__(self, cupy: Any, patch: pytest.MonkeyPatch) -> None:
        self.cupy, self.real = cupy, cupy.cuda.Stream.wait_event
        self.seen: set[Place] = set()
        self.streams: set[int] = set()
        self.lost: Place | None = None
        self.slow: int | None = None
        self.scrap = []
        for gpu in (0, 1):
            with cupy.cuda.Device(gpu):
                self.scrap.append(cupy.zeros(2, cupy.float32))
                cupy.cuda.runtime.deviceSynchronize()
        patch.setattr(cupy.cuda.Stream, "wait_event", lambda stream, event: self.wait(stream, event))

    def wait(self, stream: Any, event: Any) -> None:
        caller = sys._getframe(2)
        place = caller.f_code.co_name, caller.f_lineno, stream.ptr
        self.seen.add(place)
        self.streams.add(stream.ptr)
        if place != self.lost:
            self.real(stream, event)
        if stream.ptr == self.slow:
            self.hold_up(stream)

    def hold_up(self, stream: Any) -> None:
        """Keep a stream busy for a while."""
        from parlab.cuda.kernels import kernel

        place = self.scrap[stream.device_id].data.ptr
        arguments = np.uint64(place), np.uint64(place + 4), np.int64(1), np.int32(TURNS)
        with self.cupy.cuda.Device(stream.device_id):
            kernel("work")((1,), (1,), arguments, stream=stream)


def hostile(waits: Waits) -> Iterator[None]:
    """Go through all the circumstances under which a run must be right."""
    if hasattr(waits.cupy, "standin"):
        for style, seed in ADVERSARIES:
            waits.cupy.standin.reset(style=style, seed=seed)
            yield
    else:
        for slow in sorted(waits.streams):
            waits.slow = slow
            yield


def every_wait_is_needed(waits: Waits, trial: Trial, places: int) -> None:
    """Do a trial in all circumstances, with all waits, then without each of the places where one stands."""
    assert trial()
    assert len(waits.seen) == places
    assert all(trial() for _ in hostile(waits))
    for lost in sorted(waits.seen):
        waits.lost = lost
        assert not all(trial() for _ in hostile(waits)), f"nobody needs {lost}"


def copy(to: Any, of: Any) -> None:
    """Issue a copy to main(), between the host and any GPU."""
    from parlab.cuda.buffers import address
    from parlab.cuda.streams import main

    kind = sys.modules["cupy"].cuda.runtime.memcpyDefault
    sys.modules["cupy"].cuda.runtime.memcpyAsync(address(to), address(of), to.nbytes, kind, main().ptr)


def tried(waits: Waits, before: list[tuple[Any, Any]], run: Callable[[], None], after: list[tuple[Any, Any]]) -> None:
    """Copy, run, copy, all in the order of main(), which comes late; wait for everything."""
    from parlab.cuda.streams import main

    waits.hold_up(main())
    for to, of in before:
        copy(to, of)
    run()
    for to, of in after:
        copy(to, of)
    main().synchronize()
    if not hasattr(waits.cupy, "standin"):  # there what was lost is forgotten with the next reset
        for gpu in (0, 1):
            waits.cupy.cuda.Device(gpu).synchronize()


def pinned_like(array: Any) -> Any:
    from parlab.cuda.buffers import pinned

    return pinned(array.size, array.dtype).reshape(array.shape)


@pytest.mark.gpu(2)
@pytest.mark.parametrize(
    ("way", "both", "places"),
    [("by_hand", False, 3), ("by_hand", True, 2 * 3 + 2), ("by_copy", True, 2), ("by_kernel", True, 2)],
)
def test_copies(gpu: None, monkeypatch: pytest.MonkeyPatch, way: str, both: bool, places: int) -> None:
    import cupy

    from parlab.cuda import peers

    peers.let_reach(peers.reachable())
    if way == "by_kernel" and not peers.reachable():
        pytest.skip("these GPUs cannot reach each other")
    waits, pair, rng = Waits(cupy, monkeypatch), peers.Pair(COUNT), np.random.default_rng(0)
    ways: dict[str, Any] = {
        "by_hand": partial(peers.by_hand, chunks=CHUNKS),
        "by_copy": peers.by_copy,
        "by_kernel": peers.by_kernel,
    }
    run = peers.both_ways(pair, ways[way]) if both else peers.one_way(pair, ways[way])
    arrays = [*pair.source, *pair.target]
    host, fetched = [pinned_like(array) for array in arrays], [pinned_like(array) for array in pair.target]

    def trial() -> bool:
        for array in host:
            array[:] = rng.integers(1 << 32, size=COUNT)
        tried(waits, list(zip(arrays, host, strict=True)), run, list(zip(fetched, pair.target, strict=True)))
        come = [np.array_equal(fetched[gpu], host[1 - gpu]) for gpu in (0, 1)]
        return all(come) if both else come[0]

    every_wait_is_needed(waits, trial, places)


@pytest.mark.gpu(2)
@pytest.mark.parametrize(
    ("way", "trade", "places"),
    [
        ("in_turn", "by_link", 2 + 2 + 1),
        ("in_turn", "by_host", 2 + 2 + 1),
        ("in_turn", "by_word", 2 + 2 + 1),
        ("overlapped", "by_link", 4 + 3 * 2 + 1),
        ("overlapped", "by_host", 4 + 3 * 2 + 1),
    ],
)
def test_halves(gpu: None, monkeypatch: pytest.MonkeyPatch, way: str, trade: str, places: int) -> None:
    import cupy

    from parlab.cuda import halves, heat, peers
    from parlab.cuda.streams import main

    peers.let_reach(peers.reachable())
    if trade == "by_word" and not peers.reachable():
        pytest.skip("these GPUs cannot reach each other")
    grid, pair = heat.Slab(0, 1, ROWS, ROWS, COLUMNS), halves.cut(ROWS, COLUMNS)
    grid.load()
    heat.serial(grid, STEPS)()
    main().synchronize()
    expected = grid.u.get()[0]
    waits = Waits(cupy, monkeypatch)
    more = {"work": halves.reading} if trade == "by_word" else {}
    run = getattr(halves, way)(pair, STEPS, getattr(halves, trade), **more)
    host, fetched = [pinned_like(half.u) for half in pair], [pinned_like(half.u[0]) for half in pair]
    for half, start in zip(pair, host, strict=True):
        half.load()
        start[:] = half.u.get()

    def trial() -> bool:
        before = [(half.u, start) for half, start in zip(pair, host, strict=True)]
        tried(waits, before, run, [(end, half.u[0]) for half, end in zip(pair, fetched, strict=True)])
        return all(right(half, end) for half, end in zip(pair, fetched, strict=True))

    def right(half: Any, end: Any) -> bool:
        """Tell whether all rows are right, the halo too where it is kept."""
        rows = slice(1, half.rows + 1) if trade == "by_word" else slice(0, half.rows + 2)
        there = expected[half.first - 1 : half.first + half.rows + 1]
        return np.array_equal(end[rows, : COLUMNS + 2], there[rows, : COLUMNS + 2])

    every_wait_is_needed(waits, trial, places)


def test_every_wait_is_needed_on_the_stand_in(standin: Any) -> None:
    assert "skipped" not in standin.tests("random", 0, STANDIN_DEVICES="2")
