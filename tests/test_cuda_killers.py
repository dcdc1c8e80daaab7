"""The killers of overlap: right bit by bit, in turn where they serialise; the model of them, and the lab's conclusions.

The tests marked gpu also run on the stand-in for CuPy, under several adversaries: in virtual time, of a machine whose copies are slow
beside its host, so that they are about order alone.
"""

import os
import runpy
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parlab import catalogue, results, trace
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.profiles import H200
from parlab.cuda.timeline import engine_lanes, overlap, predicted, stream_lanes
from parlab.records import Comparison, Conclusion, Lanes, Limit, Measurement, Record, Row
from parlab.stats import Interval

HERE = Path(__file__).parent
FRESH = "PARLAB_TEST_FRESH"  # set in the process of its own
SLOW = """
import cupy
from cupy._operations import Profile
slow = Profile(issue=1e-8, query=1e-8, pinned=1e9, pageable_h2d=1e8, pageable_d2h=1e8, d2d=1e13, host_function=1e-7)
slow.kernel_seconds = lambda name, threads: 4e-9 * threads  # as long as a copy of as many numbers
cupy.standin.reset(slow, {style!r}, {seed})
"""


LAB = "overlap_killers"
lab = partial(catalogue.script, LAB)


# The model and the conclusions: no GPU is needed.


def model() -> dict[str, Any]:
    n = lab().BYTES["quick"]
    slow = (n / H200.pageable_h2d.rate, n / H200.pageable_d2h.rate)
    found: dict[str, Any] = lab().predictions(H200.pipeline(n, n / H200.h2d.rate), *slow)
    return found


def test_the_model_foresees_who_overlaps() -> None:
    found = model()
    times = {name: timeline.seconds for name, timeline in found.items()}
    hidden = {name: overlap(predicted(timeline)) for name, timeline in found.items()}
    assert min(times, key=lambda name: times[name]) == lab().WHOLE
    assert max(times, key=lambda name: times[name]) == "pageable memory"
    assert hidden[lab().WHOLE] > lab().OVERLAPS
    assert all(hidden[name] == pytest.approx(0, abs=1e-9) for name in lab().SERIAL if name in hidden)
    assert times["1 stream"] < times["blocking get"] < 1.1 * times["1 stream"]  # the host's waiting comes on top
    assert hidden["2 streams"] < 1 / 2 < hidden[lab().WHOLE]  # two things at once, at most
    assert times["pageable input"] > lab().BYTES["quick"] / H200.pageable_h2d.rate


def test_without_a_gpu_every_row_and_timeline_is_labelled_as_predicted() -> None:
    said: list[Any] = []
    bench = type("Bench", (), {"row": lambda _, row: said.append(row), "lanes": lambda _, *told: said.append(told[1])})
    lab().predict(bench())
    assert len(said) > len(lab().SHAPES)
    assert {told["predicted for"] for told in said} == {H200.name}
    assert {told["broken"] for told in said if "broken" in told} == model().keys()


def times(median: float, spread: float = 0.01) -> Interval:
    return Interval(median, median * (1 - spread), median * (1 + spread), 24)


def made_up(
    *,
    serial: float = 0.02,
    kept: float = 0.6,
    cost: float = 2.5,
    off: float = 1.0,
    ratio: float = 2.5,
    spread: float = 0.01,
) -> list[Record]:
    """Records of a run. serial, kept: hidden by those that serialise and by the others; cost: times as slow; off: of the prediction."""
    made: list[Record] = []
    names = [*lab().SERIAL, *lab().KEPT, lab().WHOLE, lab().WHOLE + " again", "blocking streams"]
    for name in names:
        slow = cost if name in lab().SERIAL else 1.0
        facts = {"hidden": serial if name in lab().SERIAL else kept}
        told = Limit("pipeline", off * slow * 1e-3) if name in (*lab().HOST_WAITS, lab().WHOLE) else None
        case = {"size": "64 MiB", "way": name}
        made.append(
            Measurement(
                "overlap_killers",
                case,
                1,
                "GPUs",
                times(slow * 1e-3, spread),
                [],
                {},
                True,
                prediction=told,
                facts=facts,
            )
        )
        if name != lab().WHOLE:
            whole = {"size": "64 MiB", "way": lab().WHOLE}
            made.append(Comparison("overlap_killers", case, whole, 1, times(1 / slow, spread), "slower"))
    for name, hidden in ((lab().LEGACY, serial), (lab().PER_THREAD, kept)):
        case = {"size": "64 MiB", "way": name}
        made.append(
            Measurement("overlap_killers", case, 1, "GPUs", times(1e-3), [], {}, True, facts={"hidden": hidden})
        )
    legacy = {"size": "64 MiB", "way": lab().LEGACY}
    made.append(Comparison("overlap_killers", case, legacy, 1, times(ratio, spread), "faster"))
    return made


def test_a_run_as_expected_holds_in_all_points_and_gives_its_figures(judged: Any) -> None:
    found = judged(made_up())
    assert [holds for _, holds in found] == [True] * 7, found
    words = " | ".join(sentence for sentence, _ in found)
    for figure in ("hides 60%", "at most 2%", "150 [148, 153] %", "0.0 [-1.0, 1.0] %", "2.50 [2.48, 2.52] times"):
        assert figure in words


@pytest.mark.parametrize(
    ("wrong", "which"),
    [
        ({"kept": 0.3}, {0, 3}),
        ({"serial": 0.2}, {1}),
        ({"cost": 1.0}, {2}),
        ({"off": 1.3}, {5}),
        ({"ratio": 1.0}, {6}),
    ],
)
def test_what_a_run_does_not_show_does_not_hold(wrong: dict[str, float], which: set[int], judged: Any) -> None:
    found = judged(made_up(**wrong))
    assert {i for i, (_, holds) in enumerate(found) if holds is False} == which, found
    assert all(holds for i, (_, holds) in enumerate(found) if i not in which)


def test_with_noise_one_cannot_tell(judged: Any) -> None:
    found = judged(made_up(cost=1.2, ratio=1.2, spread=0.3))
    assert [i for i, (_, holds) in enumerate(found) if holds is None] == [2, 4, 5, 6]


def test_without_the_second_process_the_rest_is_said(judged: Any) -> None:
    records = [
        r for r in made_up() if getattr(r, "case", getattr(r, "faster", {})).get("way") not in ("legacy", "per thread")
    ]
    assert len(judged(records)) == 6


# The programs themselves: on a GPU, and on the stand-in.


@cache
def problem(count: int, turns: int, even: bool = False) -> Any:
    from parlab.cuda import chunk_loop
    from parlab.cuda.pipelines import Problem

    made = Problem(count, turns)
    made.source[:] = np.random.default_rng(count).uniform(0.5, 1.5, count)
    return chunk_loop.balanced(made) if even else made


def small() -> Any:
    """A problem that no number of chunks divides."""
    return problem(100_003, 5)


def large() -> Any:
    """A problem whose kernel takes as long as a copy, and whose chunks take longer than the host does to issue them."""
    import cupy

    return problem(1 << 16, 4, True) if hasattr(cupy, "standin") else problem(1 << 24, 1000, True)


def outcome(mine: Any, way: Any) -> str | None:
    from parlab.cuda import chunk_loop

    found: str | None = chunk_loop.checked(mine, chunk_loop.program(mine, way))
    return found


@pytest.mark.gpu
def test_every_broken_program_is_right(gpu: None) -> None:
    from parlab.cuda import chunk_loop

    found = lab().programs(small())
    assert (lab().CHUNKS, lab().STREAMS) == (chunk_loop.CHUNKS, chunk_loop.STREAMS)
    assert {*lab().SERIAL, *lab().KEPT, *lab().SHOWN, *model()} <= found.keys()
    for _ in range(2):
        assert {name: outcome(*pair) for name, pair in found.items()} == dict.fromkeys(found)


@pytest.mark.gpu
def test_a_run_begins_after_what_was_issued_to_main_and_ends_before_what_comes_there(gpu: None) -> None:
    import cupy

    from parlab.cuda import chunk_loop
    from parlab.cuda.streams import main
    from parlab.cuda.transfers import by_engine

    mine = large()
    for name in (lab().WHOLE, "blocking streams"):
        _, way = lab().programs(mine)[name]
        mine.result.fill(np.nan)
        new = -cupy.asarray(mine.source)
        cupy.cuda.runtime.deviceSynchronize()
        by_engine(mine.source, new)(main())  # the input is there when this is over
        chunk_loop.program(mine, way)()
        main().synchronize()
        found = mine.result.copy()
        cupy.cuda.runtime.deviceSynchronize()
        mine.result[:] = found
        assert mine.wrong() is None


@pytest.mark.gpu
def test_without_a_wait_the_result_is_wrong(gpu: None, request: pytest.FixtureRequest) -> None:
    """On a GPU in a process of its own: the streams of many tests share queues to it, which then keep an order that nobody asked for."""
    import cupy

    from parlab.cuda import chunk_loop, killers

    if not hasattr(cupy, "standin") and FRESH not in os.environ:
        again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
        env = {**os.environ, FRESH: "1"}
        done = subprocess.run(again, cwd=HERE.parent, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
        return
    assert "elements differ" in str(killers.without_the_wait(large()))
    # so is the loop whose copy back goes to another stream, and nobody waits
    strayed = chunk_loop.Way((lambda c: c.h2d(), lambda c: c.kernel(), lambda c: c.do("d2h", c.stages["d2h"], stray())))
    assert "elements differ" in str(outcome(large(), strayed))
    assert outcome(large(), lab().programs(large())[lab().WHOLE][1]) is None


def stray() -> Any:
    from parlab.cuda.streams import several

    return several(5)[4]


@pytest.mark.gpu
def test_those_that_serialise_do_and_the_others_do_not(gpu: None, tmp_path: Path) -> None:
    from parlab.cuda import chunk_loop

    found = {name: chunk_loop.recorded(*pair) for name, pair in lab().programs(large()).items()}
    hidden = {name: overlap(spans) for name, spans in found.items()}
    assert {name: hidden[name] for name in lab().SERIAL if hidden[name] >= lab().IN_TURN} == {}
    overlapping = (lab().WHOLE, "blocking streams", *lab().KEPT)
    assert {name: hidden[name] for name in overlapping if hidden[name] <= lab().OVERLAPS} == {}
    valid = runpy.run_path(str(HERE / "test_trace.py"))["valid"]
    lanes = [f(spans) for spans in found.values() for f in (engine_lanes, stream_lanes)]
    path = trace.write(
        [Lanes("overlap_killers", {"way": i}, 1, each) for i, each in enumerate(lanes)], tmp_path / "t.json"
    )
    assert len(valid(path)) == 2 * sum(map(len, found.values()))
    for spans in found.values():
        assert {s.chunk for s in spans if s.stage == "d2h"} == {s.chunk for s in spans}
        assert all(0 <= s.begin <= s.end for s in spans)


@pytest.mark.gpu
def test_a_default_stream_for_each_thread_keeps_the_overlap(gpu: None) -> None:
    from parlab.cuda.per_thread import MODE, Child

    before = os.environ.get(MODE)
    with Child(False, 1 << 23, 2) as legacy, Child(True, 1 << 23, 2) as own:
        assert os.environ.get(MODE) in (before, "0")
        assert [child.ask("wrong") for child in (legacy, own)] == [None, None]
        assert overlap(legacy.ask("spans")) < lab().IN_TURN < 0.25 < overlap(own.ask("spans"))
        assert own.seconds(None, 2) > 0
        own._process.kill()
        own._process.join()
        with pytest.raises(RuntimeError, match="per-thread default stream has ended"):
            own.ask("spans")


@pytest.mark.parametrize(
    ("style", "seed", "chosen"),
    [("random", 1, ""), ("random", 2, "not thread"), ("last", 0, "not thread"), ("lazy", 0, "not thread")],
)
def test_all_that_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int, chosen: str) -> None:
    said = standin.tests(style, seed, before=SLOW.format(style=style, seed=seed), chosen=chosen)
    assert "skipped" not in said
    assert "5 passed" in said or chosen


def test_the_lab_concludes_on_the_stand_in(standin: Any, tmp_path: Path) -> None:
    said = standin.lab(LAB, tmp_path, before=SLOW.format(style="random", seed=3))
    kept = results.read(tmp_path).of("overlap_killers")
    holds = [r.holds for r in kept if isinstance(r, Conclusion)]
    assert [holds[i] for i in (0, 1, 3)] == [True] * 3, said  # what the timelines show
    assert False not in holds[:5], said  # of the times there may be too few for an interval
    names = {str(m.case["way"]) for m in kept if isinstance(m, Measurement)}
    assert {*lab().SERIAL, *lab().SHOWN, lab().PER_THREAD} <= names
    assert [r.case["way"] for r in kept if isinstance(r, Lanes)][: len(lab().SHOWN)] == list(lab().SHOWN)
    assert any("elements differ" in r.row.get("result", "") for r in kept if isinstance(r, Row))


def test_a_simulation_can_be_shown_like_a_recording() -> None:
    lanes = engine_lanes(predicted(simulate(H200.pipeline(64 << 20, 1.2e-3), 16, 4)))
    assert [(name, len(spans)) for name, spans in lanes] == [("h2d", 16), ("kernel", 16), ("d2h", 16)]
