"""Copies in every way: all bytes arrive and no others, what must wait waits, and the lab says no more than was measured.

The tests marked gpu also run on the stand-in for CuPy, under several adversaries.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parlab import catalogue, results
from parlab.cuda.limits import fitting, link_rate
from parlab.cuda.profiles import H200
from parlab.records import Case, Comparison, Conclusion, Fault, Measurement, Record, Row
from parlab.stats import Interval, verdict
from parlab.units import nbytes, seconds

SIZES = [1 << k for k in range(10, 31, 2)]
ODD = (1, 3, 15, 16, 17, 255, 4099, 70_001)  # bytes


LAB = "copy_limits"
lab = partial(catalogue.script, LAB)


# Limits and conclusions: no GPU is needed.


def test_what_a_link_carries_by_its_data_sheet() -> None:
    assert link_rate("PCIe 5 x 16") == pytest.approx(63.0e9, rel=1e-3)
    assert link_rate("PCIe 3 x 16") == pytest.approx(15.75e9, rel=1e-3)
    assert link_rate("PCIe 1 x 4") == pytest.approx(1e9)
    assert [link_rate(text) for text in ("", "PCIe 9 x 16", "NVLink", "PCIe 5 x 16 or so")] == [None] * 4


def test_what_does_not_fit_is_halved_until_it_does() -> None:
    asked = []

    def make(size: int) -> str:
        asked.append(size)
        if size > 300:
            raise MemoryError("full")
        return f"made of {size}"

    assert fitting(1024, 64, make) == (256, "made of 256")
    assert asked == [1024, 512, 256]
    assert fitting(200, 64, make) == (200, "made of 200")
    asked.clear()
    with pytest.raises(MemoryError):
        fitting(4096, 301, make)
    assert asked == [4096, 2048, 1024, 512]  # 256 is below what is asked for at least


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    for error in (RuntimeError("700"), ValueError("?")):
        with pytest.raises(type(error)):
            fitting(1024, 1, lambda _, error=error: (_ for _ in ()).throw(error))  # type: ignore[misc]


def made_up(
    name: str = "NVIDIA H200", one_way: float = 55.3e9, sum_both: float = 101e9, spread: float = 0.002, **more: float
) -> list[Record]:
    """Records of a run at these rates (bytes/s). more: bend: of the line; pageable, combined: times as slow; third: share hidden."""
    given = {
        "bend": 1.0,
        "combined": 1.0,
        "pageable": 8.0,
        "host reads": 60.0,
        "beside": 1.1,
        "two": 2.0,
        "third": 0.9,
        **more,
    }
    made: list[Record] = [Row("copy_limits", {"GPU": "0", "name": name, "copy engines": "3"})]
    made.append(Row("copy_limits", {"link under load": "PCIe 5 x 16"}))

    def times(direction: str, n: int, ways: dict[str, float]) -> None:
        first = next(iter(ways))
        for way, t in ways.items():
            case: Case = {"direction": direction, "way": way, "bytes": n}
            told = Interval(t, t * (1 - spread), t * (1 + spread), 24)
            made.append(Measurement("copy_limits", case, 1, "GPUs", told, [t] * 24, {"bytes": n}, True))
            if way != first:
                r = ways[first] / t
                ratio = Interval(r, r * (1 - spread), r * (1 + spread), 24)
                made.append(Comparison("copy_limits", case, {**case, "way": first}, 1, ratio, verdict(ratio)))

    for i, n in enumerate(SIZES):
        t = (2.7e-6 + n / one_way) * given["bend"] ** (i % 2)
        common = {"pinned": t, "pinned, host waits": t + 6e-6, "pageable": t * given["pageable"]}
        times("h2d", n, {**common, "write-combined": t * given["combined"], "mapped": 1.5e-6 + n / 45e9})
        times("d2h", n, {**common, "mapped": 1.5e-6 + n / 50e9})
        if sum_both:
            one = 2 * n / sum_both
            beside = {"h2d beside d2h": one * 0.99, "d2h beside h2d": one}
            times("both ways", n, {"one after the other": 2 * t, "together": one, **beside})
    pair, many = given["beside"], 0.4
    ways = {"h2d": 1.0, "h2d, h2d": given["two"], "h2d, d2h": pair, "many d2d": many}
    times("side by side", 64 << 20, {**ways, "h2d, d2h, many d2d": pair + many * (1 - given["third"])})
    times("read by the host", 1 << 20, {"pinned": 1.0, "write-combined": given["host reads"]})
    return made


def verdict_on(words: str, found: dict[str, bool | None]) -> list[bool | None]:
    return [holds for sentence, holds in found.items() if words in sentence]


def test_a_good_run_meets_every_goal(judged: Any) -> None:
    found = dict(judged(made_up()))
    assert set(found.values()) == {True}, found
    assert len(verdict_on("goal: at least 0.98", found)) == 2
    assert len(verdict_on("goal: at least 0.97", found)) == 2
    assert len(verdict_on("88% of what PCIe 5 x 16 carries", found)) == 2
    assert len(verdict_on("half of B at 145.8 KiB", found)) == 2
    assert len(verdict_on("the copy wins from", found)) == 2


@pytest.mark.parametrize(
    ("change", "words", "holds"),
    [
        ({"one_way": 53e9}, "goal: at least 0.98", [False, False]),
        ({"one_way": 54.3e9, "spread": 0.01}, "goal: at least 0.98", [None, None]),
        ({"sum_both": 90e9}, "both ways", [False, False]),
        ({"sum_both": 98e9, "spread": 0.02}, "both ways", [None, None]),
        ({"bend": 1.5}, "unseen sizes", [False] * 2),
        ({"combined": 1.3}, "from write-combined", [False]),
        ({"combined": 1.3, "spread": 0.5}, "from write-combined", [None]),
        ({"pageable": 1.0}, "from pageable memory", [False, False]),
        ({"host reads": 1.0}, "to read write-combined", [False]),
        ({"beside": 2.0}, "another engine", [False]),
        ({"two": 1.0}, "one copy engine for the direction", [False]),
        ({"third": 0.0}, "a third engine", [False]),
        ({"third": 0.5, "spread": 0.1}, "a third engine", [None]),
    ],
)
def test_what_was_not_reached_does_not_hold(
    judged: Any, change: dict[str, Any], words: str, holds: list[bool | None]
) -> None:
    assert verdict_on(words, dict(judged(made_up(**change)))) == holds


def test_another_gpu_is_held_to_no_figure_of_the_h200(judged: Any) -> None:
    found = dict(judged(made_up(name="NVIDIA L4", one_way=25e9, sum_both=0)))
    assert verdict_on("goal: at least", found) == []
    assert verdict_on("40% of what PCIe 5 x 16 carries", found) == [True, True]
    assert verdict_on("both ways", found) == []


def test_a_prediction_is_labelled_and_no_measurement() -> None:
    said: list[dict[str, str]] = []
    bench = type("Bench", (), {"row": lambda _, row: said.append(row), "sizes": lambda *_: SIZES})
    lab().predict(bench())
    assert {row["predicted for"] for row in said} == {H200.name}
    (large,) = (row for row in said if row.get("bytes") == "1 GiB")
    assert large["pinned h2d"] == seconds(H200.h2d.seconds(1 << 30))
    assert large["pageable h2d"] == seconds(H200.pageable_h2d.seconds(1 << 30))
    half = nbytes(H200.h2d.latency * H200.h2d.rate)
    assert [row["half of B at"] for row in said if row.get("way") == "pinned h2d"] == [half]


# Copies: on a GPU, or the stand-in.


def arrays(nbytes: int) -> dict[str, Any]:
    import cupy as cp

    from parlab.cuda.buffers import WRITE_COMBINED, pinned

    hosts = {"pageable": np.empty(nbytes, np.uint8), "pinned": pinned(nbytes, np.uint8)}
    hosts["write-combined"] = pinned(nbytes, np.uint8, WRITE_COMBINED)
    return {**hosts, "gpu": cp.empty(nbytes, cp.uint8), "gpu too": cp.empty(nbytes, cp.uint8)}


def seen(array: Any) -> Any:
    import cupy as cp

    cp.cuda.runtime.deviceSynchronize()
    return array if isinstance(array, np.ndarray) else array.get()


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["by_engine", "by_kernel"])
@pytest.mark.parametrize("offsets", [(0, 0), (16, 16), (1, 0), (0, 5), (3, 3)])
def test_a_copy_moves_all_bytes_and_no_others(gpu: None, way: str, offsets: tuple[int, int]) -> None:
    import cupy as cp

    from parlab.cuda import transfers

    found = arrays(max(ODD) + 32)
    kinds = ("pinned", "write-combined") if way == "by_kernel" else ("pinned", "pageable", "write-combined")
    pairs = [pair for kind in kinds for pair in (("gpu", kind), (kind, "gpu"))] + [("gpu too", "gpu")]
    for i, (to, source) in enumerate(pairs):
        values = np.random.default_rng(i).integers(0, 256, max(ODD) + 32, np.uint8)
        for n in ODD:
            found[to].fill(0x5A)
            if isinstance(found[source], np.ndarray):
                found[source][:] = values
            else:
                found[source].set(values)
            cp.cuda.runtime.deviceSynchronize()
            at, of = (slice(offset, offset + n) for offset in offsets)
            transfers.alone(getattr(transfers, way)(found[to][at], found[source][of]))()
            expected = np.full_like(values, 0x5A)
            expected[at] = values[of]
            np.testing.assert_array_equal(seen(found[to]), expected, f"{source} to {to}, {n} bytes")


def outcomes(memory: Any, part: slice, ways: dict[str, Any]) -> dict[str, str | None]:
    """Run each way once over poison; say what is wrong."""
    import cupy as cp

    told = {}
    for name, way in ways.items():
        for copy in way.copies:
            copy.to.fill(0x5A5A5A5A)
            np.negative(copy.changing, out=copy.changing)
        cp.cuda.runtime.deviceSynchronize()
        way.run()
        told[name] = next(filter(None, (copy.wrong() for copy in way.copies)), None)
    return told


@pytest.mark.gpu
def test_every_way_of_the_lab_is_right_and_a_wrong_number_is_found(gpu: None) -> None:
    from parlab.cuda import copy_ways as ways
    from parlab.cuda.buffers import address
    from parlab.cuda.transfers import alone, by_engine

    memory, part = ways.Memory(4 * 100_003), slice(0, 50_001)
    groups = [f(memory, part) for f in (ways.to_gpu, ways.to_host, ways.within_gpu, ways.both_ways, ways.read_by_host)]
    for group in [*groups, ways.side_by_side(memory, 25_000)]:
        changed = {id(copy.changing): address(copy.changing) for way in group.values() for copy in way.copies}
        assert len(changed) == len(set(changed.values()))  # else they would be changed twice a round: not at all
        assert outcomes(memory, part, group) == dict.fromkeys(group)
        for way in group.values():
            for copy in way.copies:
                copy.to[-1:] += 1
                assert "number" in str(copy.wrong()) or "did not read" in str(copy.wrong())
    there = memory.copy_in("pinned", part, lambda to, source: by_engine(to[1:], source[1:]))  # forgets the first
    broken = {"forgets one": ways.Way(alone(there.issue), (there,))}
    assert "1 of 50001 numbers differ; number 0 is" in str(outcomes(memory, part, broken)["forgets one"])


@pytest.mark.gpu
def test_what_is_waited_for_is_there(gpu: None) -> None:
    from parlab.cuda.buffers import pinned
    from parlab.cuda.transfers import alone, at_once, by_engine, in_turn, waited

    found = arrays(1 << 22)
    found["pinned"][:], found["pageable"][:] = 1, 2
    result = pinned(1 << 22, np.uint8)
    result.fill(0)
    there, back = by_engine(found["gpu"], found["pinned"]), by_engine(result, found["gpu"])
    waited(alone(in_turn(there, back)))()
    assert (result == 1).all()
    found["pinned"][:] = 3
    waited(alone(lambda stream: (at_once(there)(), at_once(back)())[0]))()  # each begins when the one before has ended
    assert (result == 3).all()


@pytest.mark.gpu
@pytest.mark.parametrize("missing", ["fork", "join"])
def test_without_fork_or_join_copies_do_not_wait_for_each_other(
    gpu: None, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cupy as cp

    from parlab.cuda import transfers
    from parlab.cuda.buffers import pinned

    n = 1 << 16 if hasattr(cp, "standin") else 1 << 26
    source, result, device = pinned(n, np.uint8), pinned(n, np.uint8), cp.zeros(n, cp.uint8)
    before, back = transfers.by_engine(cp.empty_like(device), source), transfers.by_engine(result, device)
    there = transfers.in_turn(*[before] * 8, transfers.by_engine(device, source))  # late enough for `back` to miss it

    def wrong(value: int) -> bool:
        source.fill(value)
        cp.cuda.runtime.deviceSynchronize()
        first(there)()
        second(back)()
        return bool((seen(result) != value).any())

    pair = transfers.at_once, transfers.alone
    first, second = pair if missing == "join" else pair[::-1]
    assert not any(map(wrong, range(1, 21)))
    monkeypatch.setattr(transfers, missing, lambda lanes: None)
    assert any(map(wrong, range(21, 41)))  # the adversary of the stand-in need not find it at once


@pytest.mark.gpu
def test_a_copy_beside_others_is_timed_within_them_or_refused(gpu: None) -> None:
    from parlab.cuda.transfers import alone, beside, by_engine

    found = arrays(1 << 22)
    there, back = by_engine(found["gpu"], found["pinned"]), by_engine(found["write-combined"], found["gpu too"])
    short = by_engine(found["write-combined"][:4], found["gpu too"][:4])
    assert beside(back)(alone(there), 1) > 0
    assert beside(back)(alone(there), 10) > 0
    with pytest.raises(RuntimeError, match="ended first"):
        beside(short)(alone(there), 10)


@pytest.mark.gpu
def test_a_request_beyond_all_memory_is_reduced_or_refused(gpu: None) -> None:
    import cupy as cp

    from parlab.cuda.copy_ways import Memory

    with pytest.raises(MemoryError, match="more than half of the"):
        Memory(1 << 50)
    free, total = cp.cuda.Device().mem_info
    size, made = fitting(1 << 46, 1, lambda n: cp.empty(n, cp.uint8))
    assert free / 4 < size <= total
    del made
    cp.get_default_memory_pool().free_all_blocks()
    assert fitting(1 << 50, 1024, lambda n: Memory(n) if n > 1 << 40 else None)[0] == 1 << 40


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("random", 2), ("random", 3), ("lazy", 0)])
def test_all_that_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    assert "skipped" not in standin.tests(style, seed)


def test_the_lab_runs_to_its_conclusions_on_the_stand_in(standin: Any, tmp_path: Path) -> None:
    standin.lab(LAB, tmp_path)
    kept = results.read(tmp_path).of("copy_limits")
    assert [r for r in kept if isinstance(r, Fault)] == []
    found = [r for r in kept if isinstance(r, Measurement)]
    assert {m.case["direction"] for m in found} == {
        "h2d", "d2h", "d2d", "both ways", "side by side", "read by the host",
    }  # fmt: skip
    assert all(m.verified for m in found)
    assert {m.how.get("clock", "host") for m in found} == {"host", "gated events", "events, the other way busy"}
    assert len([r for r in kept if isinstance(r, Conclusion)]) >= 15


def test_a_small_gpu_is_measured_as_far_as_it_goes(standin: Any, tmp_path: Path) -> None:
    said = standin.lab(LAB, tmp_path, STANDIN_MEMORY=str(20 << 20))
    assert "8 MiB in every kind of memory is more than there is: measured up to 4 MiB" in said
