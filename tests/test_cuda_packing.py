"""Many small pieces to the GPU: every byte in its place by every way, the lines that predict where packing ceases to pay, the verdicts.

The tests marked gpu also run on the stand-in for CuPy, under several adversaries.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import catalogue, results
from parlab.cuda.packing_model import meeting, one_by_one, packed_by_host, through
from parlab.cuda.profiles import H200, Link
from parlab.records import Case, Comparison, Conclusion, Fault, Measurement, Record, Skip
from parlab.stats import Interval, verdict
from parlab.units import nbytes

ODD = [1, 3, 15, 16, 17, 255, 256, 257, 4096, 10_007, 2, 70_001]  # bytes of pieces
SIZES = [1 << k for k in range(8, 23, 2)]


LAB = "copy_batching"
lab = partial(catalogue.script, LAB)


# The model and the conclusions: no GPU is needed.


@given(st.integers(8, 2048), st.sampled_from(SIZES))
def test_packing_pays_where_the_line_says_so(copies: int, n: int) -> None:
    one, packed = one_by_one(H200, copies), packed_by_host(H200, copies)
    until = meeting(one, packed)
    assert until is not None
    assert one.seconds(until) == pytest.approx(packed.seconds(until))
    assert (packed.seconds(n) < one.seconds(n)) == (n < until)
    assert one.seconds(n) >= copies * max(H200.issue[0], H200.h2d.seconds(n))


def test_the_crossing_is_the_latency_saved_spent_on_copying_by_the_host() -> None:
    saved = max(H200.h2d.latency, H200.issue[0]) - H200.packing.latency
    until = meeting(one_by_one(H200, 4096), packed_by_host(H200, 4096))
    assert until is not None
    assert until == pytest.approx(H200.packing.rate * saved, rel=0.02)
    slow = replace(H200, issue=(20e-6, 4.8e-6, 1.6e-6))  # a host that is slow to issue makes packing pay longer
    later = meeting(one_by_one(slow, 4096), packed_by_host(slow, 4096))
    assert later is not None
    assert later > 3 * until
    assert meeting(one_by_one(H200, 1), packed_by_host(H200, 1)) is None  # one piece need not be packed


@given(st.floats(1, 1e6), st.floats(1.1, 1e6), st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_a_line_goes_through_both_points_unless_it_would_fall_or_begin_below_nothing(
    low: float, factor: float, short: float, more: float
) -> None:
    points = (low, short), (low * factor, short + more)
    line = through(*points)
    assert line == through(*points[::-1])
    assert line.seconds(low * factor) == pytest.approx(short + more) or line.latency == 0
    assert line.latency >= 0
    assert through((low, short), (low * factor, short)) == Link(short, inf)
    assert through((low, short), (low * factor, short / 2)) == Link(short, inf)


def test_lines_that_do_not_meet() -> None:
    assert meeting(Link(1e-6, 1e9), Link(2e-6, 1e9)) is None  # packing costs more to begin with
    assert meeting(Link(2e-6, 1e9), Link(1e-6, 2e9)) is None  # and here it costs less at every size
    assert meeting(Link(3e-6, 2e9), Link(1e-6, 1e9)) == pytest.approx(4000)


def made_up(
    latency: float = 2.7e-6, packing: float = 7e9, spread: float = 0.01, bend: float = 1.0, fetched: float = 0.3
) -> list[Record]:
    """Records of a run. bend: of the packed way between the ends; fetched: its time as a share of one by one."""
    made: list[Record] = []
    for m in (1, 16, 1024):
        for n in (n for n in SIZES if n * m <= 64 << 20):
            one = m * (latency + n / 55e9) + 10e-6
            inner = bend if SIZES[0] < n < SIZES[-1] and 256 < n * m < 64 << 20 else 1.0
            packed = (m * (0.5e-6 + n / packing + n / 55e9) + 20e-6) * inner
            ways = {lab().ONE: one, lab().PACKED: packed, lab().FETCHED: one * fetched, lab().ALONE: packed / 2}
            for way, t in {**ways, lab().ONE + " again": one}.items():
                case: Case = {"copies": m, "way": way, "bytes": n}
                seconds = Interval(t, t * (1 - spread), t * (1 + spread), 24)
                made.append(Measurement("copy_batching", case, 1, "GPUs", seconds, [t] * 24, {"bytes": n * m}, True))
                if way != lab().ONE:
                    ratio = Interval(one / t, one / t * (1 - spread), one / t * (1 + spread), 24)
                    other = {**case, "way": lab().ONE}
                    made.append(Comparison("copy_batching", case, other, 1, ratio, verdict(ratio)))
    return made


def test_where_packing_ceases_to_pay_is_said_and_was_foreseen(judged: Any) -> None:
    found = dict(judged(made_up()))
    assert set(found.values()) == {True}, found
    many = next(sentence for sentence in found if sentence.startswith("1024 pieces: packed by the host pays up to"))
    assert "up to 14.85 KiB [14.41 KiB, 15.31 KiB]; the lines through the ends meet at 14.97 KiB" in many
    assert not any(sentence.startswith("1 pieces") for sentence in found)
    assert "1024 pieces: fetched by a kernel is faster than one by one at every size" in found
    assert [s for s in found if "again" in s or "the packing alone" in s] == []
    assert any(s.startswith("1024 pieces of 256 B, packed by the host: ") for s in found)


@pytest.mark.parametrize(
    ("change", "words", "holds"),
    [
        ({"bend": 3.0}, "1024 pieces: packed by the host pays", [False]),  # not on a line: foreseen wrongly
        ({"spread": 0.6}, "1024 pieces: packed by the host pays", [None]),
        ({"latency": 0.1e-6}, "pieces: packed by the host is slower", [True, True]),
        ({"latency": 0.49e-6, "spread": 0.95}, "pieces: packed by the host is slower", [None, None]),
        ({"fetched": 1.0}, "256 B, fetched by a kernel", [True]),
        ({"fetched": 1.0, "spread": 0.2}, "256 B, fetched by a kernel", [None]),
    ],
)
def test_what_was_not_foreseen_or_cannot_be_told(
    judged: Any, change: dict[str, float], words: str, holds: list[bool | None]
) -> None:
    found = dict(judged(made_up(**change)))
    assert [held for sentence, held in found.items() if words in sentence] == holds, found


def test_a_prediction_is_labelled_and_no_measurement() -> None:
    said: list[dict[str, str]] = []
    bench = type("Bench", (), {"row": lambda _, row: said.append(row), "sizes": lambda *_: SIZES})
    lab().predict(bench())
    assert {row["predicted for"] for row in said} == {H200.name}
    until = {row["copies"]: row["packing pays up to"] for row in said if "packing pays up to" in row}
    assert until["1"] == "no size"
    assert until["1024"] == nbytes(meeting(one_by_one(H200, 1024), packed_by_host(H200, 1024)) or 0)
    assert len([row for row in said if row["copies"] == "1024"]) == 7  # up to 256 KiB, and the crossing


# Pieces: on a GPU, or the stand-in.


def ways(pieces: Any) -> dict[str, Callable[[], None]]:
    from parlab.cuda import packing

    made = {
        "one by one": packing.one_by_one(pieces),
        "over 1 stream": packing.over_streams(pieces, 1),
        "over 4 streams": packing.over_streams(pieces, 4),
        "over more streams than pieces": packing.over_streams(pieces, 40),
        "graph": packing.by_graph(pieces),
        "packed": packing.Packed(pieces).run,
        "fetched": packing.fetched(pieces),
    }
    try:
        return {**made, "batched": packing.batched(pieces)}
    except NotImplementedError:
        return made


def wrong(pieces: Any, run: Callable[[], None], seed: int) -> str | None:
    """Change the pieces, poison their places, run; say what is wrong."""
    import cupy as cp

    pieces.host[:] = np.random.default_rng(seed).integers(0, 256, pieces.host.size, np.uint8)
    pieces.device.fill(0x5A)
    cp.cuda.runtime.deviceSynchronize()
    run()
    told: str | None = pieces.wrong()
    return told


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", [ODD, [1], [256] * 33, [70_001, 1]])
def test_every_byte_comes_to_its_place_and_none_elsewhere(gpu: None, sizes: list[int]) -> None:
    from parlab.cuda.packing import Pieces

    pieces = Pieces(sizes)
    for name, run in ways(pieces).items():
        for seed in range(3):
            assert wrong(pieces, run, seed) is None, name
        placed = [place.get().tobytes() for place in pieces.places]
        assert placed == [source.tobytes() for source in pieces.sources], name
        for at in {0, len(sizes) // 2, len(sizes) - 1}:
            pieces.places[at][-1:] += 1  # a byte of a piece
            assert "1 of" in str(pieces.wrong())
            pieces.places[at][-1:] -= 1
        assert pieces.wrong() is None
    pieces.device[255:256] += 1  # a byte before the first place
    assert "1 of" in str(pieces.wrong())


@pytest.mark.gpu
@pytest.mark.parametrize("waits", [True, False])
def test_the_next_packing_waits_for_the_last_copy(gpu: None, waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy as cp

    from parlab.cuda.packing import Packed, Pieces
    from parlab.cuda.streams import main
    from parlab.cuda.transfers import alone, by_engine, in_turn

    pieces = Pieces([1 << 12 if hasattr(cp, "standin") else 1 << 24] * 8)
    packed, kept = Packed(pieces), cp.zeros(pieces.device.size, cp.uint8)
    keep = alone(by_engine(kept, pieces.device))
    before = alone(in_turn(*[by_engine(kept, pieces.host)] * 30))  # keeps main() busy while the host goes on
    if not waits:
        monkeypatch.setattr(packed, "pack", lambda: list(map(np.copyto, *zip(*packed.moves, strict=True))))
    pieces.host.fill(1)
    cp.cuda.runtime.deviceSynchronize()
    before()
    packed.run()
    keep()
    pieces.host.fill(2)
    packed.run()
    main().synchronize()
    assert pieces.wrong() is None
    first = [kept[place.data.ptr - pieces.device.data.ptr :][: place.size] for place in pieces.places]
    assert all((place == 1).all() for place in first) == waits


@pytest.mark.gpu
def test_the_packing_alone_is_checked(gpu: None) -> None:
    from parlab.cuda.packing import Packed, Pieces

    packed = Packed(Pieces(ODD))
    packed.pack()
    assert packed.wrong() is None
    packed.moves[3][0][-1] += 1
    assert packed.wrong() == "1 pieces are not packed as they are, the first is number 3"


@pytest.mark.gpu
def test_a_batch_needs_the_package_and_the_drivers_consent(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy as cp

    from parlab.cuda.packing import Pieces, batched
    from parlab.cuda.streams import main

    pieces = Pieces(ODD)
    fake = ModuleType("cuda.bindings.runtime")
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    with pytest.raises(NotImplementedError, match="pip install cuda-bindings"):
        batched(pieces)  # a package of before CUDA 12.8

    def copy(to: Any, source: Any, sizes: Any, count: int, how: Any, first: Any, kinds: int, stream: int) -> Any:
        assert len(to) == len(source) == len(sizes) == count
        assert (first, kinds, len(how), how[0].srcAccessOrder, stream) == ([0], 1, 1, 1, main().ptr)
        for each in zip(to, source, sizes, strict=True):
            cp.cuda.runtime.memcpyAsync(*each, cp.cuda.runtime.memcpyHostToDevice, stream)
        return (0,)

    names = {"cudaMemcpyAttributes": SimpleNamespace, "cudaMemcpyBatchAsync": copy}
    vars(fake).update(names, cudaMemcpySrcAccessOrder=SimpleNamespace(cudaMemcpySrcAccessOrderStream=1))
    assert wrong(pieces, batched(pieces), 5) is None
    monkeypatch.setattr(fake, "cudaMemcpyBatchAsync", lambda *_: (35,))
    with pytest.raises(NotImplementedError, match="refuses"):
        batched(pieces)


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("random", 2), ("last", 0), ("lazy", 0)])
def test_all_that_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    assert "skipped" not in standin.tests(style, seed)


def test_the_lab_runs_to_its_conclusions_on_the_stand_in(standin: Any, tmp_path: Path) -> None:
    standin.lab(LAB, tmp_path)
    kept = results.read(tmp_path).of("copy_batching")
    assert [r for r in kept if isinstance(r, Fault)] == []
    found = [r for r in kept if isinstance(r, Measurement)]
    assert {lab().ONE, lab().PACKED, lab().ALONE, lab().FETCHED, "graph", "over 4 streams"} <= {
        str(m.case["way"]) for m in found
    }
    assert all(m.verified for m in found)
    assert any(m.prediction for m in found)
    assert {m.case["copies"] for m in found} == {1, 16}
    batch = [m for m in found if m.case["way"] == "cudaMemcpyBatchAsync"]
    assert batch or any("cuda-bindings" in r.skipped or "refuses" in r.skipped for r in kept if isinstance(r, Skip))
    assert len([r for r in kept if isinstance(r, Conclusion)]) >= 6
