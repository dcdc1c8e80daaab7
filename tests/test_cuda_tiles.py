"""A grid streamed through a GPU in tiles: the plan on the host, the same bits for any tiles and steps, and mutants that are found."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.cuda.tile_plan import Tile, height, swept_for_nothing, tiles
from parlab.mpi.heat import sweep

Grid = np.ndarray[Any, np.dtype[np.float64]]


def serially(start: Grid, steps: int) -> Grid:
    """Return the values after so many steps by the serial program, for any shape."""
    n, m = start.shape
    u = np.zeros((2, n + 2, m + 2))
    u[0, 1:-1, 1:-1] = start
    for k in range(steps):
        sweep(u[k % 2], u[1 - k % 2], 1, n + 1, 1, m + 1)
    return u[steps % 2, 1:-1, 1:-1]


def by_plan(start: Grid, cut: list[Tile], passes: int) -> Grid:
    """Do what a run does, without a GPU: each visit in memory of its own, where what was not brought is unknown."""
    n, m = start.shape
    host = np.zeros((2, n + 2, m + 2))
    host[0, 1:-1, 1:-1] = start
    for k in range(passes):
        for tile in cut:
            slot = np.full((2, tile.bottom - tile.top, m + 2), np.nan)
            slot[0] = host[k % 2, tile.top : tile.bottom]
            slot[1, [0, -1]] = slot[0, [0, -1]]
            slot[1, :, [0, -1]] = 0
            for step, (begin, end) in enumerate(tile.sweeps):
                sweep(slot[step % 2], slot[1 - step % 2], begin, end, 1, m + 1)
            own = slice(tile.first - tile.top, tile.stop - tile.top)
            host[1 - k % 2, tile.first : tile.stop] = slot[len(tile.sweeps) % 2, own]
    return host[passes % 2, 1:-1, 1:-1]


@settings(deadline=None)  # the first example compiles
@given(
    st.integers(1, 24), st.integers(1, 9), st.integers(1, 30), st.integers(1, 6), st.integers(1, 3), st.integers(0, 9)
)
def test_any_tiles_and_steps_give_the_bits_of_the_serial_program(
    rows: int, columns: int, most: int, steps: int, passes: int, seed: int
) -> None:
    start = np.random.default_rng(seed).random((rows, columns))
    found = by_plan(start, tiles(rows, most, steps), passes)
    assert np.array_equal(found, serially(start, steps * passes))


def missing_ghost_row(tile: Tile) -> Tile:
    """The tile without the last row that a visit must bring; it is taken for a boundary."""
    return replace(
        tile,
        bottom=tile.bottom - 1,
        sweeps=tuple((begin, end - 1) for begin, end in tile.sweeps[:-1]) + tile.sweeps[-1:],
    )


def test_a_ghost_row_less_is_seen() -> None:
    start, cut = np.random.default_rng(0).random((12, 5)), tiles(12, 4, 2)
    for i in range(len(cut) - 1):  # beyond the last tile there is the boundary
        mutant = [*cut[:i], missing_ghost_row(cut[i]), *cut[i + 1 :]]
        assert not np.array_equal(by_plan(start, mutant, 2), serially(start, 4)), i


@given(st.integers(1, 60), st.integers(1, 30), st.integers(1, 9))
def test_a_visit_waits_for_all_tiles_whose_rows_it_brings_and_for_no_other(rows: int, most: int, steps: int) -> None:
    cut = tiles(rows, most, steps)
    owner = {row: i for i, tile in enumerate(cut) for row in range(tile.first, tile.stop)}
    assert sorted(owner) == [*range(1, rows + 1)]
    for i, tile in enumerate(cut):
        assert set(tile.near) == {owner[row] for row in range(max(1, tile.top), min(rows + 1, tile.bottom))}
        assert all(i in cut[other].near for other in tile.near)  # so who writes rows waits for all that read them


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(1, 4))
def test_the_slots_take_no_more_than_the_budget(pitch: int, steps: int, slots: int) -> None:
    for budget in (10_000, 1 << 20, 1 << 26):
        of_row = slots * 2 * 8 * pitch
        if of_row * (2 * steps + 1) > budget:
            with pytest.raises(ValueError, match="hold no tile"):
                height(budget, pitch, steps, slots)
            continue
        taken = of_row * (height(budget, pitch, steps, slots) + 2 * steps)
        assert taken <= budget < taken + of_row


def test_sweeps_for_nothing_are_counted() -> None:
    assert swept_for_nothing(tiles(100, 100, 8)) == 0
    assert swept_for_nothing(tiles(100, 10, 1)) == 0
    # Three steps of two tiles: at their common edge each sweeps 2 and then 1 of the other's rows.
    assert swept_for_nothing(tiles(20, 10, 3)) == pytest.approx(2 * 3 / 60)


@pytest.mark.parametrize(("most", "steps"), [(0, 1), (1, 0), (-1, 2)])
def test_numbers_below_one_are_refused(most: int, steps: int) -> None:
    with pytest.raises(ValueError, match="at least one row and one step"):
        tiles(10, most, steps)


# On a GPU, and on the stand-in.


def wrong(tiled: Any, passes: int, seed: int = 0) -> int:
    """Do a run; return how many points are not those of the serial program, bit by bit."""
    from parlab.cuda.streams import main

    start = np.random.default_rng(seed).random((tiled.rows, tiled.columns))
    run = tiled.run(passes)
    main().synchronize()
    tiled.host[1, 1:-1, 1 : tiled.columns + 1] = np.nan
    tiled.points()[:] = start
    run()
    main().synchronize()
    return int((tiled.points() != serially(start, passes * tiled.steps)).sum())


BUDGET = 24 * 1024  # bytes: with rows of 16 points up to 96 rows in all slots together


@pytest.mark.gpu
@settings(max_examples=12, deadline=None, database=None)
@given(st.integers(1, 90), st.integers(1, 14), st.integers(1, 7), st.integers(1, 4), st.integers(0, 99))
def test_a_gpu_gives_the_bits_of_the_serial_program(
    gpu: None, rows: int, columns: int, steps: int, slots: int, seed: int
) -> None:
    from parlab.cuda.tiles import Tiled

    tiled = Tiled(rows, columns, BUDGET, steps, slots)
    assert tiled.nbytes <= BUDGET
    assert wrong(tiled, 2, seed) == 0


@pytest.mark.gpu
def test_a_captured_run_repeats_and_wide_rows_are_swept_whole(gpu: None) -> None:
    from parlab.cuda.streams import captured, main
    from parlab.cuda.tiles import Tiled

    tiled = Tiled(33, 130, 8 * BUDGET, 3, 3)
    start = np.random.default_rng(5).random((33, 130))
    run = captured(tiled.run(2))
    main().synchronize()
    tiled.points()[:] = start
    run()
    run()
    main().synchronize()
    assert np.array_equal(tiled.points(), serially(start, 12))


@pytest.mark.gpu
def test_what_makes_no_sense_is_refused(gpu: None) -> None:
    from parlab.cuda.tiles import Tiled

    with pytest.raises(ValueError, match="hold no tile"):
        Tiled(10, 10, 1000, 2, 3)
    for passes in (0, 1, 3):
        with pytest.raises(ValueError, match="even number of passes"):
            Tiled(10, 10, BUDGET, 2, 2).run(passes)


# What a visit leaves out, tile by tile, and must be found.
MUTANTS: dict[str, Callable[[int, Tile], dict[str, Any]]] = {
    "nothing": lambda i, tile: {},
    "waits for nobody": lambda i, tile: {"near": ()},
    "waits for its own tile alone": lambda i, tile: {"near": (i,)},
    "waits for those above alone": lambda i, tile: {"near": tuple(j for j in tile.near if j <= i)},
    "waits for those below alone": lambda i, tile: {"near": tuple(j for j in tile.near if j >= i)},
    "a ghost row less": lambda i, tile: {"bottom": tile.bottom - (tile.bottom < 42)},
}


@pytest.mark.gpu
@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_is_left_out_is_found(gpu: None, monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    import cupy

    from parlab.cuda import tiles as streamed

    if not hasattr(cupy, "standin"):
        pytest.skip("a GPU may be lucky; the stand-in is not")
    found = []
    for most in (
        5,
        6,
    ):  # 8 tiles in 3 streams, and 7: a tile's last visit, or that of one beside it, was in the same stream
        cut = [replace(tile, **MUTANTS[mutant](i, tile)) for i, tile in enumerate(tiles(40, most, 2))]
        monkeypatch.setattr(streamed, "tiles", lambda *_, cut=cut: cut)
        tiled = streamed.Tiled(40, 10, BUDGET, 2, 3)
        for style, seed in [*product(("random",), range(5)), ("last", 0), ("lazy", 0)]:
            cupy.standin.reset(style=style, seed=seed)
            found.append(wrong(tiled, 4, seed))
    assert any(found) == (mutant != "nothing"), found


@pytest.mark.gpu
def test_streams_that_share_a_slot_are_found(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    from parlab.cuda.tiles import Tiled

    if not hasattr(cupy, "standin"):
        pytest.skip("a GPU may be lucky; the stand-in is not")
    tiled = Tiled(40, 10, BUDGET, 2, 3)
    tiled.slots = tiled.slots[:1] * 3
    found = []
    for seed in range(8):
        cupy.standin.reset(style="random", seed=seed)
        found.append(wrong(tiled, 4, seed))
    assert any(found)


def test_all_that_holds_on_a_gpu_holds_on_the_stand_in(standin: Any) -> None:
    assert "skipped" not in standin.tests("random", 1)
