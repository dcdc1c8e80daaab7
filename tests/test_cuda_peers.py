"""Copies between two GPUs: right bit by bit by every way; the model of them; the lab's predictions and conclusions on copies."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import catalogue, results
from parlab.bench import Bench
from parlab.cuda import peers_model
from parlab.cuda.pipeline_model import closed_form
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.profiles import H200
from parlab.options import BUDGETS
from parlab.records import Case, Comparison, Conclusion, Lanes, Limit, Measurement, Record, Row, Skip, measured
from parlab.stats import Interval, verdict

COUNTS = [1, 3, 4, 1023, 100_003]  # elements: none, or not all, of them in whole blocks of the kernel


LAB = "two_gpus"
lab = partial(catalogue.script, LAB)


# The model and the conclusions: no GPU is needed.


@given(st.integers(1, 1 << 32), st.booleans())
def test_a_staged_copy_takes_longer_than_its_slower_link_and_less_than_both(nbytes: int, both: bool) -> None:
    seconds = peers_model.by_hand(H200, nbytes, both)
    pipeline = peers_model.staged(H200, nbytes, both)
    assert max(pipeline.stages) < seconds <= closed_form(pipeline, 1) * (1 + 1e-9)
    assert seconds < peers_model.by_hand(H200, 2 * nbytes, both)
    assert peers_model.by_hand(H200, nbytes) <= peers_model.by_hand(H200, nbytes, True)


@given(st.integers(1, 1 << 30), st.integers(1, 40))
def test_its_law_is_the_simulation(nbytes: int, chunks: int) -> None:
    pipeline = peers_model.staged(H200, nbytes)
    assert simulate(pipeline, chunks, 3, "staged").seconds == pytest.approx(closed_form(pipeline, chunks), rel=1e-9)


def predictions(folder: Path) -> list[Record]:
    results.Writer(folder).begin({"budget": "quick"})
    lab().predict(Bench("two_gpus", None, 2, [1, 2], BUDGETS["quick"], 0, folder))
    return results.read(folder).of("two_gpus")


def test_without_a_gpu_all_is_labelled_as_predicted_and_nothing_as_measured(tmp_path: Path) -> None:
    found = predictions(tmp_path)
    rows = [r.row for r in found if isinstance(r, Row)]
    lanes = [r for r in found if isinstance(r, Lanes)]
    assert len(rows) > 6
    assert len(lanes) == 1
    assert len(rows) + len(lanes) == len(found)
    assert all(H200.name in row["predicted for"] for row in rows)
    assert H200.name in str(lanes[0].case["predicted for"])
    assert len({len(spans) for _, spans in lanes[0].lanes}) == 1
    (largest,) = (row for row in rows if row.get("copy") == "1 GiB")
    assert largest["peer copy"] == "2.73 ms"  # 1 GiB at 394 GB/s
    assert 19.4 < float(largest["staged by hand"].removesuffix(" ms")) < 20.4  # and at 55 GB/s


def times(median: float, spread: float = 0.005) -> Interval:
    return Interval(median, median * (1 - spread), median * (1 + spread), 24)


def copy(way: str, direction: str, n: int, seconds: Interval, predicted: float | None = None) -> Measurement:
    guess = Limit("a model", predicted) if predicted else None
    work = {"bytes": n * (2.0 if direction == "both ways" else 1.0)}
    case: Case = {"direction": direction, "bytes": n, "way": way}
    return Measurement("two_gpus", case, 2, "GPUs", seconds, [], work, True, prediction=guess)


def against(way: str, than: str, direction: str, n: int, ratio: Interval) -> Comparison:
    mine: Case = {"direction": direction, "bytes": n, "way": way}
    other: Case = {"direction": direction, "bytes": n, "way": than}
    return Comparison("two_gpus", mine, other, 2, ratio, verdict(ratio))


def made_up(
    n: int = 1 << 30,
    *,
    speed: float = 390e9,
    gain: float = 1.3,
    kernel: float = 1.0,
    off: float = 1.0,
    spread: float = 0.005,
) -> list[Record]:
    """Records of copies. speed: of the link, each way; gain: of staging by hand; kernel: its speed to the engine's; off: of the model."""
    made: list[Record] = []
    for direction in ("one way", "both ways"):
        for size in (n >> 10, n):
            made.append(copy("peer copy", direction, size, times(size / speed, spread)))
            made.append(copy("staged by hand", direction, size, times(size / 50e9, spread), off * size / 50e9))
            made.append(against("staged by hand", "driver stages", direction, size, times(gain, spread)))
            made.append(against("kernel reads", "peer copy", direction, size, times(kernel, spread)))
    return made


def test_a_run_as_expected_holds_in_all_points_and_gives_its_figures(judged: Any) -> None:
    found = judged(made_up())
    assert [holds for _, holds in found] == [True] * 8, found
    words = " | ".join(sentence for sentence, _ in found)
    for figure in (
        "390.0 [388.1, 392.0] GB/s",
        "780.0",
        "at least 386.1",
        "at least 754.7",
        "1.30 [1.29, 1.31]",
        "1 GiB",
    ):
        assert figure in words


@pytest.mark.parametrize(("wrong", "which"), [({"speed": 370e9}, 0), ({"off": 1.3}, 3)])
def test_what_a_run_does_not_show_does_not_hold(wrong: dict[str, float], which: int, judged: Any) -> None:
    found = judged(made_up(**wrong))  # type: ignore[arg-type]
    assert [i for i, (_, holds) in enumerate(found) if holds is False] == [which, which + 4], found


def test_what_is_slower_is_called_so(judged: Any) -> None:
    words = [sentence for sentence, _ in judged(made_up(gain=0.8, kernel=1.0))]
    assert words[1].startswith("one way, 1 GiB: staged by hand is slower than driver stages: 0.80 [")
    assert words[2].startswith("one way, 1 GiB: kernel reads is as fast as peer copy: 1.00 [")


def test_with_noise_one_cannot_tell(judged: Any) -> None:
    found = judged(made_up(spread=0.3, gain=1.0))
    assert {holds for _, holds in found} == {None}


def test_small_copies_say_nothing_of_the_link(judged: Any) -> None:
    assert not any("GB/s" in sentence for sentence, _ in judged(made_up(1 << 20)))
    assert judged([]) == []


# The copies themselves: on two GPUs, and on the stand-in.


def ways(peers: Any) -> dict[str, Any]:
    """All the ways, by hand with more chunks than slots, with one, and with more than there are elements."""
    hands = {f"by hand, {n}": partial(peers.by_hand, chunks=n) for n in (1, 7, 200)}
    return hands | {"copy": peers.by_copy} | ({"kernel": peers.by_kernel} if peers.reachable() else {})


@pytest.mark.gpu(2)
@pytest.mark.parametrize("reach", [False, True])
def test_every_way_copies_every_bit_one_way_and_both_ways(gpu: None, reach: bool) -> None:
    from parlab.cuda import peers

    if reach and not peers.reachable():
        pytest.skip("these GPUs cannot reach each other")
    peers.let_reach(reach)
    for count in COUNTS:
        pair = peers.Pair(count)
        for name, way in ways(peers).items():
            if reach or name != "kernel":
                for run, targets in ((peers.one_way(pair, way), [0]), (peers.both_ways(pair, way), [0, 1])):
                    for _ in range(2):
                        run()  # what is still under way must not disturb the check
                        assert pair.wrong(run, targets) is None, (name, count)


@pytest.mark.gpu(2)
def test_what_has_not_come_is_seen(gpu: None) -> None:
    from parlab.cuda import peers

    pair = peers.Pair(1000)
    assert pair.wrong(lambda: None, [0]) == "1000 of 1000 elements on GPU 0 are not those of GPU 1"
    one_way = peers.one_way(pair, peers.by_copy)
    one_way()  # what is still under way must not pass for what is checked
    assert "1000 of 1000" in str(pair.wrong(lambda: None, [0]))
    assert "on GPU 1" in str(pair.wrong(one_way, [0, 1]))
    short = peers.Pair(999)
    short.source[1], short.target[0] = pair.source[1], pair.target[0]
    assert "1 of 1000" in str(pair.wrong(peers.one_way(short, peers.by_copy), [0]))
    with pytest.raises(ValueError, match="at least one element and one chunk"):
        peers.by_hand(pair, 0, peers.stream_on(0), 0)


@pytest.mark.gpu(2)
def test_nothing_is_written_behind_the_end(gpu: None) -> None:
    import cupy

    from parlab.cuda import peers

    peers.let_reach(peers.reachable())
    for count, (name, way) in product(COUNTS, ways(peers).items()):
        pair, room = peers.Pair(count), cupy.full(count + 8, 7, cupy.uint32)
        pair.target[0] = room[:count]
        assert pair.wrong(peers.one_way(pair, way), [0]) is None
        assert (room.get()[count:] == 7).all(), (name, count)


@pytest.mark.gpu(2)
def test_reaching_can_be_allowed_and_forbidden_again_and_again(gpu: None) -> None:
    from parlab.cuda import peers

    if not peers.reachable():
        pytest.skip("these GPUs cannot reach each other")
    pair = peers.Pair(12_345)
    for allowed in (False, False, True, True, False, True):
        peers.let_reach(allowed)
        assert pair.wrong(peers.both_ways(pair, peers.by_copy), [0, 1]) is None
    assert peers.free_bytes() > 0


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("random", 2), ("last", 0), ("lazy", 0)])
def test_all_that_holds_on_two_gpus_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    assert "skipped" not in standin.tests(style, seed, STANDIN_DEVICES="2")


@pytest.mark.parametrize("reach", [True, False])
def test_the_lab_runs_on_the_stand_in_also_where_the_gpus_cannot_reach_each_other(
    standin: Any, reach: bool, tmp_path: Path
) -> None:
    block = "" if reach else "import cupy; cupy.cuda.runtime.deviceCanAccessPeer = lambda one, other: 0"
    standin.lab(LAB, tmp_path, before=block, STANDIN_DEVICES="2")
    kept = results.read(tmp_path).of("two_gpus")
    found = {str(m.case["way"]) for m in measured(kept, 2)}
    always = {
        "serial",
        "in turn",
        "overlapped",
        "overlapped, by host",
        "overlapped, graph",
        "driver stages",
        "staged by hand",
    }
    assert always <= found
    assert ({"peer copy", "kernel reads", "direct", "direct, graph"} <= found) is reach
    assert {str(m.case["way"]) for m in measured(kept, 1)} == {"serial", "carry"}
    assert all(m.verified for m in measured(kept) if "parts of a step on" not in m.case and m.case["way"] != "carry")
    assert [r.skipped for r in kept if isinstance(r, Skip)] == (
        [] if reach else ["peer copy, kernel reads, direct: these GPUs cannot reach each other's memory"]
    )
    assert any(isinstance(r, Conclusion) for r in kept)


def test_on_a_small_gpu_the_lab_says_what_it_leaves_out(standin: Any, tmp_path: Path) -> None:
    standin.lab(LAB, tmp_path, STANDIN_DEVICES="2", STANDIN_MEMORY="60000")
    skipped = " | ".join(r.skipped for r in results.read(tmp_path).of("two_gpus") if isinstance(r, Skip))
    assert "copies beyond" in skipped
    assert "grid 64 x 64: 64 KiB are needed" in skipped
