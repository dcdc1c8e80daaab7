"""The heat equation on one GPU and on two: the same bits by every way; the model of a step; the lab's conclusions on grids."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import catalogue
from parlab.cuda import peers_model
from parlab.cuda.profiles import H200
from parlab.records import Comparison, Limit, Measurement, Record
from parlab.stats import Interval, verdict

HERE = Path(__file__).parent
STEPS = 6
GRIDS = [
    (4, 1),
    (5, 3),
    (7, 62),
    (16, 64),
    (33, 130),
    (70, 15),
]  # odd ones, one row less and more than a block's, half-filled lines


LAB = "two_gpus"
lab = partial(catalogue.script, LAB)


# The model and the conclusions: no GPU is needed.


@given(st.integers(4, 40_000), st.integers(1, 40_000))
def test_overlap_and_reading_in_place_never_cost_more_than_trading_in_turn(rows: int, columns: int) -> None:
    step = peers_model.step(H200, rows, columns)
    assert max(step.inner, step.edge) == step.overlapped <= step.whole + step.trade == step.in_turn
    assert step.whole < step.direct <= step.in_turn


def test_two_h200_are_slower_than_one_on_a_small_grid_and_nearly_twice_as_fast_on_a_large_one() -> None:
    def speed_up(side: int) -> float:
        return peers_model.serial(H200, side, side) / peers_model.step(H200, side, side).overlapped

    assert speed_up(1024) < 1 < 1.9 < speed_up(8192) < speed_up(16384) < 2


def test_the_python_side_knows_the_kernels_figures() -> None:
    code = (HERE.parent / "cuda" / "heat.cu").read_text()
    text = (HERE.parent / "cuda" / "heat.py").read_text()
    in_code = re.search(r"const int ROWS = (\d+);", code)
    in_text = re.search(r"THREADS, ROWS = \(64, 4\), (\d+)", text)
    assert in_code
    assert in_text
    assert in_code[1] == in_text[1]
    mpi = (HERE.parent / "mpi" / "heat.py").read_text()
    assert "\nA = 0.2 " in mpi
    assert "\nA = 0.2 " in text
    assert "__dmul_rn(0.2, " in code


def times(median: float, spread: float = 0.005) -> Interval:
    return Interval(median, median * (1 - spread), median * (1 + spread), 24)


def case(way: str, seconds: Interval, workers: int = 2, guess: float = 0.0, bound: float = 0.0) -> Measurement:
    return Measurement(
        "two_gpus",
        {"grid": "8 x 8", "way": way},
        workers,
        "GPUs",
        seconds,
        list(np.linspace(seconds.low, seconds.high, seconds.n)),
        {},
        True,
        bound=Limit("carry", bound) if bound else None,
        prediction=Limit("its parts", guess) if guess else None,
    )


def made_up(
    *,
    share: float = 0.95,
    gain: float = 1.9,
    off: float = 1.0,
    overlap: float = 1.2,
    graph: float = 1.01,
    spread: float = 0.005,
) -> list[Record]:
    """Records of one grid. share: of the bound; gain: of the best way; off: of its prediction; overlap, graph: what they gain."""
    best = 1.0 / gain
    found: list[Record] = [case("serial", times(1.0, spread), 1, bound=share), case("serial", times(1.0, spread))]
    ways = {"overlapped, graph": best, "overlapped": best * graph, "in turn": best * graph * overlap}
    for way, seconds in ways.items():
        found.append(case(way, times(seconds, spread), guess=seconds * off))
        ratio = times(1.0 / seconds, spread)
        serial = {"grid": "8 x 8", "way": "serial"}
        found.append(Comparison("two_gpus", {"grid": "8 x 8", "way": way}, serial, 2, ratio, verdict(ratio)))
    return found


def test_a_run_as_expected_holds_in_all_points_and_gives_its_figures(judged: Any) -> None:
    found = judged(made_up(spread=0.001))
    assert [holds for _, holds in found] == [True] * 4, found
    words = " | ".join(sentence for sentence, _ in found)
    for figure in ("0.95 [0.95, 0.95]", "at least 0.9", "1.90 [1.90, 1.90]", "should be 1.90", "1.20", "1.01"):
        assert figure in words
    assert "overlapped, graph on two GPUs" in words


@pytest.mark.parametrize(("wrong", "which"), [({"share": 0.6}, 0), ({"off": 0.7}, 1)])
def test_what_a_run_does_not_show_does_not_hold(wrong: dict[str, float], which: int, judged: Any) -> None:
    found = judged(made_up(**{"spread": 0.001, **wrong}))
    assert [i for i, (_, holds) in enumerate(found) if holds is False] == [which], found


def test_overlap_that_does_not_pay_is_called_slower(judged: Any) -> None:
    words = [sentence for sentence, _ in judged(made_up(spread=0.001, overlap=0.8, graph=1.2))]
    assert words[2].startswith("8 x 8: overlapped is slower than in turn: 0.80 [")
    assert words[3].startswith("8 x 8: overlapped, graph is faster than overlapped: 1.20 [")


def test_with_noise_one_cannot_tell(judged: Any) -> None:
    assert {holds for _, holds in judged(made_up(spread=0.3, overlap=1.0))} == {None}


def test_with_one_gpu_alone_only_its_bound_is_spoken_of(judged: Any) -> None:
    found = judged(made_up()[:1])
    assert len(found) == 1
    assert "one GPU" in found[0][0]


# The programs themselves: on two GPUs, and on the stand-in.


def ways(halves: Any, peers: Any, grid: Any) -> dict[str, Any]:
    """All the ways to share a grid."""
    found = {
        "in turn": halves.in_turn(grid, STEPS, halves.by_link),
        "in turn, by host": halves.in_turn(grid, STEPS, halves.by_host),
        "overlapped": halves.overlapped(grid, STEPS, halves.by_link),
        "overlapped, by host": halves.overlapped(grid, STEPS, halves.by_host),
    }
    direct = {"direct": halves.in_turn(grid, STEPS, halves.by_word, halves.reading)} if peers.reachable() else {}
    return found | direct


@pytest.mark.gpu
@pytest.mark.parametrize(("rows", "columns"), GRIDS)
def test_one_gpu_gives_the_bits_of_the_serial_program_of_mpi(gpu: None, rows: int, columns: int) -> None:
    from parlab.cuda import heat
    from parlab.cuda.streams import captured, main
    from parlab.mpi.heat import sweep

    grid = heat.Slab(0, 1, rows, rows, columns)
    grid.load()
    u = grid.u.get()[:, :, : columns + 2].copy()
    assert np.isnan(u[1, 1:-1, 1:-1]).all()
    assert len(set(u[0, 1:-1, 1:-1].ravel())) == rows * columns
    u[1] = 0
    for k in range(STEPS):
        sweep(u[k % 2], u[1 - k % 2], 1, rows + 1, 1, columns + 1)
    run = heat.serial(grid, STEPS)
    for each in (run, captured(run)):
        each()  # what is still under way must not disturb the check
        assert heat.wrong(grid, each) is None
        main().synchronize()
        assert np.array_equal(grid.u.get()[:, :, : columns + 2], u)


@pytest.mark.gpu(2)
@pytest.mark.parametrize(("rows", "columns"), GRIDS)
def test_two_gpus_give_the_bits_of_one_by_every_way_also_as_a_graph(gpu: None, rows: int, columns: int) -> None:
    from parlab.cuda import halves, heat, peers
    from parlab.cuda.streams import captured

    peers.let_reach(peers.reachable())
    grid, pair = heat.Slab(0, 1, rows, rows, columns), halves.cut(rows, columns)
    for name, run in ways(halves, peers, pair).items():
        run()  # what is still under way must not disturb the check
        assert halves.wrong(grid, pair, STEPS, run) is None, name
        assert halves.wrong(grid, pair, STEPS, captured(run)) is None, name
        assert halves.wrong(grid, pair, 2 * STEPS, partial(twice, run)) is None, name


def twice(run: Callable[[], None]) -> None:
    run()
    run()


@pytest.mark.gpu(2)
def test_what_is_not_swept_or_not_traded_is_seen(gpu: None) -> None:
    from parlab.cuda import halves, heat
    from parlab.cuda.streams import captured

    grid, pair = heat.Slab(0, 1, 12, 12, 20), halves.cut(12, 20)
    assert "nan" in str(halves.wrong(grid, pair, STEPS, halves.in_turn(pair, STEPS, halves.by_word)))  # no exchange
    assert "differ" in str(halves.wrong(grid, pair, STEPS, halves.in_turn(pair, STEPS - 2, halves.by_link)))
    assert "differ" in str(halves.wrong(grid, pair, STEPS, halves.apart(pair, STEPS, halves.rest)))
    assert "differ" in str(halves.wrong(grid, pair, STEPS, lambda: None))
    assert "rows 1 to 12" in str(heat.wrong(grid, lambda: None))
    assert "240 points" in str(heat.wrong(grid, captured(heat.alone(grid, STEPS, grid.carry()))))


@pytest.mark.gpu(2)
def test_a_grid_that_cannot_be_cut_is_refused(gpu: None) -> None:
    from parlab.cuda import halves

    for rows in (3, 0, -1):
        with pytest.raises(ValueError, match="at least 4 rows"):
            halves.cut(rows, 8)


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("random", 2), ("last", 0), ("lazy", 0)])
def test_all_that_holds_on_two_gpus_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    assert "skipped" not in standin.tests(style, seed, STANDIN_DEVICES="2")
