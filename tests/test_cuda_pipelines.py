"""The ways to run a pipeline, on a GPU: right bit by bit, replayed or not, and every wait is needed: without it the result is wrong.

The same tests run on the stand-in for CuPy, under several adversaries. A mutant is made to fail at once on a GPU, where what was to be
waited for comes late, behind a long kernel; on the stand-in some order of the adversary's must show it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from parlab.cuda.plan import STAGES, Operation
from parlab.cuda.ways import DEPTH, DEPTH_GRAPH, ONE, SLICED, STAGED, STAGED_GRAPH, Way

COUNTS = (1, 7, 1_000_003)
LONG = 10_000_000  # dependent operations: some 20 ms of an H200
SEEDS = 40


def on_standin() -> bool:
    import cupy

    return hasattr(cupy, "standin")


def problem(count: int, turns: int = 3, locked: bool = True) -> Any:
    from parlab.cuda.pipelines import Problem

    made = Problem(min(count, 20_003) if on_standin() else count, turns, locked)
    made.source[:] = np.random.default_rng(count).random(made.count, dtype=np.float32)
    return made


def fill(value: float, *arrays: Any) -> None:
    """Fill arrays of the host or of the GPU, and wait for it: runs are in other streams."""
    import cupy

    for array in arrays:
        array.fill(value)
    cupy.cuda.runtime.deviceSynchronize()


def poison(mine: Any) -> None:
    fill(np.nan, mine.result, mine.given, mine.made)


def outcome(mine: Any, run: Callable[[], object]) -> str | None:
    """Run on poisoned memory; say what is wrong."""
    poison(mine)
    run()
    wrong: str | None = mine.wrong()
    return wrong


@pytest.mark.gpu
@pytest.mark.parametrize("count", COUNTS)
def test_every_order_is_right_with_odd_sizes(gpu: None, count: int) -> None:
    from parlab.cuda.way_runs import run_of

    mine = problem(count)
    ways = [Way(order, s) for order, s in product(("depth", "breadth"), range(1, 6))]  # type: ignore[arg-type]
    cases = [*product([*ways, STAGED], (1, 3, 7, 64)), (SLICED, 5)]
    assert {f"{way}, {n}": outcome(mine, run_of(mine, way, n)) for way, n in cases if n <= 64} == {
        f"{way}, {n}": None for way, n in cases
    }


@pytest.mark.gpu
@pytest.mark.parametrize("count", COUNTS)
def test_all_other_ways_are_right(gpu: None, count: int) -> None:
    from parlab.cuda import pipelines

    mine, plain = problem(count), problem(count, locked=False)
    assert outcome(mine, pipelines.serial(mine)) is None
    assert outcome(mine, pipelines.mapped(mine)) is None
    assert outcome(plain, pipelines.serial(plain)) is None
    assert outcome(plain, pipelines.naive(plain)) is None
    for chunks, streams in product((1, 2, 9), (1, 2, 3)):
        assert outcome(mine, pipelines.writes_home(mine, chunks, streams)) is None


@pytest.mark.gpu
def test_a_graph_does_the_same_at_every_replay_with_other_inputs(gpu: None) -> None:
    from parlab.cuda.pipelines import writes_home
    from parlab.cuda.streams import captured
    from parlab.cuda.way_runs import run_of

    mine = problem(100_003)
    for replay in (run_of(mine, DEPTH_GRAPH, 9), run_of(mine, STAGED_GRAPH, 9), captured(writes_home(mine, 9))):
        for _ in range(3):
            np.negative(mine.source, out=mine.source)
            assert outcome(mine, replay) is None


@pytest.mark.gpu
def test_the_check_sees_a_single_bit_and_a_number_that_is_none(gpu: None) -> None:
    from parlab.cuda.pipelines import different, serial

    mine = problem(COUNTS[-1])
    assert outcome(mine, serial(mine)) is None
    mine.result.view(np.uint32)[mine.count // 2] ^= 1
    assert f"1 of {mine.count} elements differ; element {mine.count // 2} is" in mine.wrong()
    mine.result[mine.count // 2] = np.nan
    assert "nan" in mine.wrong()
    zeros = np.zeros(3, np.float32)
    assert different(zeros, -zeros) is not None


@pytest.mark.gpu
def test_the_gpu_fills_pinned_memory_that_it_sees(gpu: None) -> None:
    import cupy

    from parlab.cuda.buffers import pinned, seen_by_gpu

    host = pinned(70_001)
    host[:] = 2.0
    np.negative(seen_by_gpu(host), out=seen_by_gpu(host))
    cupy.cuda.runtime.deviceSynchronize()
    assert (host == -2.0).all()


@pytest.mark.gpu
def test_each_stage_alone_does_its_own_part_and_no_other(gpu: None) -> None:
    from parlab.cuda.stages import both_ways, one_stage, output, wrong_after

    mine = problem(100_003)
    for stage, (chunks, streams, marked) in product(STAGES, ((1, 1, False), (7, 4, False), (7, 1, True))):
        fill(np.nan, output(mine, stage))
        one_stage(mine, stage, chunks, streams, marked)()
        assert wrong_after(mine, stage) is None
    poison(mine)
    fill(2.0, mine.made)
    both_ways(mine)()
    assert [wrong_after(mine, stage) for stage in ("h2d", "d2h")] == [None, None]
    assert "elements differ" in str(wrong_after(mine, "kernel"))
    assert (mine.result == 2.0).all()


@pytest.mark.gpu
def test_all_pieces_of_the_calibration_are_right(gpu: None) -> None:
    from parlab.cuda.stages import pieces

    mine = problem(10_003)
    kernels = {"copy-bound": 1, "balanced": 3, "compute-bound": 6}
    found = list(pieces(mine, kernels, (1, 4), (2, 4)))
    assert len({(p.what, p.kind, p.chunks) for p in found}) == len(found) == 2 * 2 + 3 * 2 + 2 * 2 + 3 * 2
    for p in found:
        fill(np.nan, *p.outputs)
        p.run()
        assert p.wrong() is None, p


@pytest.mark.gpu
def test_the_sample_problem_is_right_in_every_way(gpu: None) -> None:
    from parlab.cuda import frames

    for buffers, many in product((1, 2, 4), (5, 10)):
        mine = [problem(5_003, i) for i in range(1, 1 + buffers)]
        for name, run in frames.runs(mine, many).items():
            for b in mine:
                poison(b)
            run()
            assert frames.wrong(mine) is None, (name, buffers, many)


@pytest.mark.gpu
def test_operations_are_recorded_with_their_places(gpu: None) -> None:
    from parlab.cuda.way_runs import recorded

    mine = problem(100_003)
    for way in (ONE, DEPTH, STAGED):
        poison(mine)
        spans = recorded(mine, way, 6)
        assert mine.wrong() is None
        assert {(s.stage, s.chunk) for s in spans} == set(product(STAGES, range(6)))
        assert {s.stream for s in spans} == set(range(way.streams))
        assert all(0 <= s.begin <= s.end for s in spans)


# Mutants. On a GPU one run shows them; on the stand-in one of many orders must.


def held() -> Callable[[Any], None]:
    """Return what keeps a stream busy for a long time."""
    import cupy

    from parlab.cuda.buffers import address
    from parlab.cuda.pipelines import compute

    scratch = cupy.zeros(32, cupy.float32)
    cupy.cuda.runtime.deviceSynchronize()
    issue = compute(address(scratch), address(scratch), 32, 2 if on_standin() else LONG)

    def hold(stream: Any) -> None:
        issue(stream)
        kept.append(scratch)

    return hold


kept: list[Any] = []


def orders() -> Iterator[None]:
    """Yield once on a GPU; on the stand-in under one adversary after the other."""
    import cupy

    if not on_standin():
        yield
        return
    for seed in range(SEEDS):
        cupy.standin.reset(style=("random", "last", "lazy")[seed % 3], seed=seed)
        yield


def found(attempt: Callable[[], str | None]) -> bool:
    return any(attempt() for _ in orders())


def after_late_input(mine: Any, run: Callable[[], object]) -> str | None:
    """Let main() be late and then destroy the result: a run that does not wait for main() has its result destroyed."""
    import cupy

    from parlab.cuda.streams import main
    from parlab.cuda.transfers import by_engine

    poison(mine)
    nothing = cupy.full(mine.count, np.nan, cupy.float32)
    hold = held()
    cupy.cuda.runtime.deviceSynchronize()
    hold(main())
    by_engine(mine.result, nothing)(main())
    run()
    cupy.cuda.runtime.deviceSynchronize()
    wrong: str | None = mine.wrong()
    return wrong


def taken_at_once(mine: Any, run: Callable[[], object]) -> str | None:
    """Look at the result as soon as main() has nothing left to do."""
    import cupy

    from parlab.cuda.streams import main

    poison(mine)
    run()
    main().synchronize()
    now = mine.result.copy()
    cupy.cuda.runtime.deviceSynchronize()
    mine.result[:] = now
    wrong: str | None = mine.wrong()
    return wrong


@pytest.mark.gpu
@pytest.mark.parametrize("way", [DEPTH, STAGED, SLICED], ids=str)
def test_without_fork_or_join_the_result_is_wrong(gpu: None, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    from parlab.cuda import pipelines
    from parlab.cuda.way_runs import run_of

    quick, slow = problem(4_003), problem(4_003, 2 if on_standin() else LONG)
    begins, ends = run_of(quick, way, 5), run_of(slow, way, 5)
    assert not found(lambda: after_late_input(quick, begins))
    assert not found(lambda: taken_at_once(slow, ends))
    monkeypatch.setattr(pipelines, "join", lambda lanes: None)
    assert found(lambda: taken_at_once(slow, ends))
    monkeypatch.undo()
    monkeypatch.setattr(pipelines, "fork", lambda lanes: None)
    assert found(lambda: after_late_input(quick, begins))


@pytest.mark.gpu
def test_a_stage_alone_and_both_directions_are_over_when_main_is(gpu: None) -> None:
    from parlab.cuda.stages import both_ways, one_stage
    from parlab.cuda.streams import main

    mine = problem(COUNTS[-1])

    def attempt(run: Callable[[], object]) -> str | None:
        fill(np.nan, mine.result)
        fill(2.0, mine.made)
        run()
        main().synchronize()
        return None if (mine.result == 2.0).all() else "it was not over"

    for run in (one_stage(mine, "d2h", 8, 4), one_stage(mine, "d2h", 8, marked=True), both_ways(mine)):
        assert not found(lambda run=run: attempt(run))  # type: ignore[misc]


@pytest.mark.gpu
@pytest.mark.parametrize("home", [False, True], ids=["staged", "writes home"])
def test_without_any_one_of_the_waits_between_stages_the_result_is_wrong(
    gpu: None, home: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parlab.cuda import pipelines

    chunks, mine, whole = 3, problem(4_003), pipelines.planned
    awaiting: list[int] = []

    def make(dropped: int | None) -> Callable[[], object]:
        def mutated(steps: list[Operation], issues: list[Any]) -> Any:
            awaiting[:] = [i for i, step in enumerate(steps) if step.after]
            if dropped is not None:
                (late,) = steps[awaiting[dropped]].after  # what is no longer waited for comes late
                hold, issue = held(), issues[late]
                issues[late] = lambda stream: (hold(stream), issue(stream))
                steps[awaiting[dropped]] = replace(steps[awaiting[dropped]], after=())
            return whole(steps, issues)

        monkeypatch.setattr(pipelines, "planned", mutated)
        return pipelines.writes_home(mine, chunks) if home else pipelines.chunked(mine, chunks, 3, "staged")

    run = make(None)
    assert not found(lambda: outcome(mine, run))
    assert len(awaiting) == chunks * (1 if home else 2)
    for dropped in range(len(awaiting)):
        run = make(dropped)
        assert found(lambda run=run: outcome(mine, run)), dropped  # type: ignore[misc]


@pytest.mark.gpu
@pytest.mark.parametrize("lane", [1, 2], ids=["kernel", "d2h"])
def test_without_its_waits_a_stage_of_the_frames_is_wrong(
    gpu: None, lane: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parlab.cuda import frames
    from parlab.cuda.streams import fork, several

    class Deaf:
        """A stream that begins to wait for nothing once `on` is set."""

        on = False

        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

        def wait_event(self, event: Any) -> None:
            if not self.on:
                self.stream.wait_event(event)

    mine = [problem(5_003, i) for i in range(1, 5)]
    lanes: list[Any] = list(several(3))
    deaf = lanes[lane] = Deaf(lanes[lane])
    monkeypatch.setattr(frames, "several", lambda count: lanes)
    run, hold, mutant = frames.by_stage(mine), held(), False

    def late(streams: Any) -> None:
        fork(streams)
        hold(lanes[lane - 1])
        deaf.on = mutant

    def attempt() -> str | None:
        for b in mine:
            poison(b)
        run()
        deaf.on = False
        return frames.wrong(mine)

    monkeypatch.setattr(frames, "fork", late)
    assert not found(attempt)
    mutant = True
    assert found(attempt)


@pytest.mark.gpu
def test_what_cannot_be_cut_or_staged_is_refused(gpu: None) -> None:
    from parlab.cuda.pipelines import chunked

    mine = problem(8)
    for chunks, streams in ((0, 1), (1, 0), (-2, 3)):
        with pytest.raises(ValueError, match="at least one"):
            chunked(mine, chunks, streams)
    with pytest.raises(ValueError, match="a stream for each"):
        chunked(mine, 2, 4, "staged")


@pytest.mark.parametrize(("style", "seed"), [("random", 0), ("random", 1), ("last", 0), ("lazy", 0)])
def test_what_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    said = standin.tests(style, seed)
    assert "skipped" not in said
    assert "22 passed" in said
