"""Waves of blocks: the law is what a list of slots gives; kernels stay their time, are let in as told, and the lab judges fairly.

The tests marked gpu also run on the stand-in for CuPy, but for those about the GPU's scheduler, which it has not.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import catalogue, results
from parlab.cuda.profiles import H200
from parlab.cuda.waves import Waves, in_turn, together
from parlab.records import Comparison, Conclusion, Limit, Measurement, Record
from parlab.stats import Interval, verdict

WHOLE = st.integers(1, 40)


LAB = "stream_priority"
lab = partial(catalogue.script, LAB)


# The law and the conclusions: no GPU is needed.


def let_in(blocks: int, slots: int, block: int, arrival: int, first: bool) -> tuple[int, int]:
    """Give slots to blocks one by one; return when the late kernel begins and when the grid ends."""
    free, late, left, ends = [0] * slots, None, blocks, 0
    while late is None or left:
        slot = min(range(slots), key=free.__getitem__)
        now = free[slot]
        if late is None and arrival <= now and (first or not left):
            late = now
            free[slot] = now  # it is so short that the slot is free again at once
        elif left:
            left, free[slot] = left - 1, now + block
            ends = max(ends, free[slot])
        else:
            free[slot] = arrival  # nobody else waits: the late kernel comes into a slot that is free
    return late, ends


@given(WHOLE, WHOLE, st.integers(1, 9), st.integers(0, 100), st.booleans())
def test_the_law_is_what_giving_slots_to_blocks_one_by_one_gives(
    blocks: int, slots: int, block: int, arrival: int, first: bool
) -> None:
    law = Waves(blocks, slots, block)
    assert (law.begins(arrival, first), law.seconds) == let_in(blocks, slots, block, arrival, first)


@given(WHOLE, WHOLE, st.floats(1e-6, 1e-3), st.floats(0, 1e-2))
def test_priority_never_harms_and_never_helps_by_more_than_the_grid(
    blocks: int, slots: int, block: float, arrival: float
) -> None:
    law = Waves(blocks, slots, block)
    first, last = law.begins(arrival, True), law.begins(arrival, False)
    assert arrival <= first <= last <= max(arrival, law.seconds)
    assert first <= (arrival + block) * (1 + 1e-9)


def test_waves_by_hand() -> None:
    ten = Waves(2640, 264, 200e-6)
    assert ten.seconds == pytest.approx(2e-3)
    assert ten.begins(50e-6, first=True) == pytest.approx(200e-6)
    assert ten.begins(50e-6, first=False) == pytest.approx(2e-3)
    assert ten.latency(50e-6, 5e-6, first=True) == pytest.approx(205e-6)
    assert Waves(2641, 264, 200e-6).begins(50e-6, first=False) == pytest.approx(2e-3)  # the last wave leaves slots
    assert [together(k, 16, 264, 1.0) for k in (1, 16, 17, 33, 64)] == [1, 1, 2, 2, 4]
    assert [in_turn(k, 16, 264, 1.0) for k in (1, 16, 17)] == [1, 16, 17]


@pytest.mark.parametrize("wrong", [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0), (-1, 1, 1.0)])
def test_what_cannot_be_is_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="at least one block"):
        Waves(*wrong)


def test_without_a_gpu_every_row_and_timeline_is_labelled_as_predicted() -> None:
    said: list[Any] = []
    bench = type("Bench", (), {"row": lambda _, row: said.append(row), "lanes": lambda _, *told: said.append(told[1])})
    lab().predict(bench())
    assert len(said) == len(lab().BLOCKS_US) + len(lab().CROWD) + 2
    assert {told["predicted for"] for told in said} == {H200.name}
    assert said[-1] == {"predicted for": H200.name, "kernels": "64", lab().TURN: "32 ms", lab().EACH: "2 ms"}


def made_up(
    *, added: float = 1.0, remains: float = 1.0, passed: float = 0.9, waited: float = 0.0, off: float = 1.0,
    used: float = 0.97, spread: float = 0.01,
) -> list[Record]:  # fmt: skip
    """Records of a run. added: to the latency, in blocks; remains: latency at equal priority over the grid; off: of the prediction."""

    def around(median: float) -> Interval:
        return Interval(median, median * (1 - spread), median * (1 + spread), 24)

    def measured(case: dict[str, Any], seconds: float, **more: Any) -> Measurement:
        return Measurement("stream_priority", case, 1, "GPUs", around(seconds), [], {}, True, **more)

    made: list[Record] = []
    for block_us in (20, 200):
        cases = {
            way: {"measured": lab().LATENCY, "block_us": block_us, "way": way} for way in (lab().HIGH, lab().EQUAL)
        }
        high = 12e-6 + added * block_us * 1e-6
        idle = Limit(lab().IDLE, 12e-6)
        made.append(measured(cases[lab().HIGH], high, bound=idle, facts={"overtaken": passed}))
        made.append(measured(cases[lab().EQUAL], 2e-3 * remains, bound=idle, facts={"overtaken": waited}))
        grid = {**cases[lab().HIGH], "way": lab().GRID}
        for case, ratio in ((cases[lab().HIGH], around(2e-3 * remains / high)), (grid, around(remains))):
            made.append(Comparison("stream_priority", case, cases[lab().EQUAL], 1, ratio, verdict(ratio)))
    for kernels in (1, 17):
        for way in (lab().TURN, lab().EACH):
            case = {"measured": lab().MANY, "kernels": kernels, "way": way}
            made.append(measured(case, 1e-3 * off, prediction=Limit("waves", 1e-3), facts={"slots used": used}))
    return made


@pytest.mark.parametrize(
    ("wrong", "which"),
    [
        ({}, set()),
        ({"passed": 0.1}, {0}),
        ({"waited": 0.3}, {0}),
        ({"added": 3.0}, {1}),
        ({"remains": 0.5}, {2}),
        ({"remains": 0.01}, {2, 3}),
        ({"off": 1.2}, {4, 5}),
        ({"off": 0.8}, {4, 5}),
        ({"used": 0.5}, {6}),
        ({"used": 1.2}, {6}),
    ],
)
def test_the_conclusions_hold_where_the_run_shows_them_and_nowhere_else(
    wrong: dict[str, float], which: set[int], judged: Any
) -> None:
    found = [holds for _, holds in judged(made_up(**wrong))]
    assert {i for i, holds in enumerate(found) if holds is not True} == which
    assert all(found[i] is False for i in which)


def test_with_noise_one_cannot_tell(judged: Any) -> None:
    found = [holds for _, holds in judged(made_up(added=1.9, remains=0.9, spread=0.3))]
    assert found[1:6] == [None, None, True, None, None]


# The kernels themselves: on a GPU, and on the stand-in.


def settled(issue: Callable[[], None], grid: Any) -> str | None:
    """Issue after poison, wait, and say what is wrong with the grid's stamps."""
    import cupy

    grid.stamps.fill(90)
    cupy.cuda.runtime.deviceSynchronize()
    issue()
    cupy.cuda.runtime.deviceSynchronize()
    found: str | None = grid.wrong()
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("blocks", [1, 7, 1001])
def test_every_block_stays_its_time_and_a_missing_one_is_seen(gpu: None, blocks: int) -> None:
    from parlab.cuda.priorities import Grid
    from parlab.cuda.streams import main

    grid = Grid(blocks, 2e-6)
    assert settled(lambda: grid.issue(main()), grid) is None
    fewer = Grid(blocks, 2e-6, stamps=grid.stamps)
    fewer.blocks = blocks - 1
    assert f"1 of {blocks} blocks" in str(settled(lambda: fewer.issue(main()) if blocks > 1 else None, grid))
    shorter = Grid(blocks, 1e-9, stamps=grid.stamps)
    grid.nanoseconds = 10**9
    assert f"{blocks} of {blocks} blocks" in str(settled(lambda: shorter.issue(main()), grid))


@pytest.mark.gpu
def test_many_kernels_are_right_in_every_way_and_in_turn_on_one_stream(gpu: None) -> None:
    from parlab.cuda.priorities import Crowd, slots
    from parlab.cuda.streams import main

    for kernels, each in ((1, 1), (5, 3), (33, 2)):
        crowd = Crowd(kernels, each, 2e-6)
        for way in (crowd.together, crowd.as_one, crowd.in_turn):
            with main():  # nothing else keeps the poison before the kernels, and these before the look at them
                crowd.stamps.fill(90)
            way()
            main().synchronize()
            assert crowd.whole.wrong() is None
            assert 1 <= crowd.at_once() <= min(slots(), kernels * each)
        spans = crowd.whole.spans().reshape(kernels, each, 2)
        assert (spans[1:, :, 0].min(axis=1) >= spans[:-1, :, 1].max(axis=1)).all()


@pytest.mark.gpu
def test_a_short_kernel_comes_after_the_grid_has_begun(gpu: None) -> None:
    from parlab.cuda.priorities import Arrival, slots, stream_first
    from parlab.cuda.streams import several
    from parlab.cuda.waves import Waves

    low, usual = several(2)
    for stream in (usual, stream_first()):
        arrival = Arrival(Waves(3 * slots(), slots(), 20e-6), 2e-6, low, stream)
        for _ in range(2):
            arrival.before()
            assert arrival.begun[0] == 1
            arrival.run()
            arrival.after()
            assert arrival.wrong() is None
            assert arrival.began() >= 0
        (_, grid), (_, [(begin, end, _)]) = arrival.lanes()
        assert len(grid) == 3
        assert grid[0][0] == 0
        assert end > begin >= 0


@pytest.mark.gpu
def test_the_scheduler_lets_high_priority_in_first_and_equal_priority_last(gpu: None) -> None:
    import cupy

    from parlab.cuda.priorities import Arrival, slots, stream_first
    from parlab.cuda.streams import several
    from parlab.cuda.waves import Waves

    if hasattr(cupy, "standin"):
        pytest.skip("the stand-in has no multiprocessors")
    low, usual = several(2)
    overtaken = []
    for stream in (
        stream_first(),
        usual,
    ):  # by the order of the stamps: the short kernel comes within the first 20 of 40 waves
        arrival = Arrival(Waves(40 * slots(), slots(), 1e-3), 2e-6, low, stream)
        arrival.before()
        arrival.run()
        arrival.after()
        assert arrival.wrong() is None
        overtaken.append(arrival.overtaken())
    assert overtaken[0] > 0.5
    assert overtaken[1] == 0
    assert stream_first().priority < low.priority


@pytest.mark.gpu
def test_kernels_on_a_stream_each_fill_the_gpu_together(gpu: None) -> None:
    import cupy

    from parlab.cuda import device
    from parlab.cuda.priorities import Crowd, slots

    if hasattr(cupy, "standin"):
        pytest.skip("the stand-in has no multiprocessors")
    crowd = Crowd(16, slots() // 16, 1e-3)
    device.by_events(crowd.together, 1)  # what is made on first use may wait for all that runs, the gate too
    device.behind_gate(crowd.together, 1)
    assert crowd.wrong() is None
    assert crowd.at_once() == 16 * (slots() // 16)


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("last", 0), ("lazy", 0)])
def test_what_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    said = standin.tests(style, seed)
    assert "5 passed, 2 skipped" in said  # those about the scheduler


def test_the_lab_runs_to_its_conclusions_on_the_stand_in(standin: Any, tmp_path: Path) -> None:
    standin.lab("stream_priority", tmp_path)
    kept = results.read(tmp_path).of("stream_priority")
    assert len([r for r in kept if isinstance(r, Conclusion)]) == 7
    verified = [m for m in kept if isinstance(m, Measurement) and m.verified]
    assert {str(m.case["way"]) for m in verified} >= {lab().HIGH, lab().EQUAL, lab().GRID, lab().TURN, lab().EACH}
    assert all(m.prediction for m in verified if not str(m.case["way"]).endswith(" again"))
