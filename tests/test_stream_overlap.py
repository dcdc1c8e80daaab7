"""The headline lab: what it concludes of made-up records, what it predicts without a GPU, and that it runs to its end on the stand-in."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parlab import catalogue, results
from parlab.catalogue import labs
from parlab.cuda.plan import STAGES
from parlab.cuda.profiles import H200
from parlab.cuda.timeline import engine_lanes, predicted
from parlab.cuda.ways import of_profile, predict_seconds, scaled, simulated, swept
from parlab.groups import groups
from parlab.records import Conclusion, Lanes, Limit, Measurement, Record, Row
from parlab.stats import Interval

COPY = 2**28 / 55e9  # seconds of 256 MiB
MODEL = of_profile(H200, 2**28, COPY)


LAB = "stream_overlap"
lab = partial(catalogue.script, LAB)


def took(
    case: dict[str, Any], time: float, width: float, guess: float | None = None, bound: float | None = None
) -> Measurement:
    interval = Interval(time, time * (1 - width), time * (1 + width), 24)
    limit = None if bound is None else Limit("bound", bound)
    told = None if guess is None else Limit("pipeline model", guess)
    return Measurement("stream_overlap", case, 1, "GPUs", interval, [time] * 24, {}, bound is not None, limit, told)


def swept_records(common: dict[str, Any], off: float, width: float, link: float) -> list[Record]:
    """A sweep whose times are `off` times what was predicted."""
    found: list[Record] = []
    small = lab().HOST in common
    for way, n in swept("small" if small else "usual"):
        guess = predict_seconds(scaled(MODEL, 1 / 16) if small else MODEL, way, n)
        found.append(took({**common, "way": str(way), "chunks": n}, off * guess, width, guess, link))
    return [*found, took({**common, "way": lab().LINK, "chunks": 1}, link, width)]


def records(off: float = 1.0, width: float = 0.002, link: float = 0.0055, naive: float = 0.068) -> list[Record]:
    """Everything that the lab records, of a machine as the model says."""
    its = lab()
    found = swept_records({"balance": "balanced", "problem": "256 MiB"}, off, width, link)
    found += swept_records({its.HOST: "balanced", "problem": "16 MiB"}, 1.0, width, link)
    all_ways = {
        its.NAIVE: naive,
        its.PINNED: 3 * COPY,
        "staged": 0.0057,
        "depth, 4 streams": 0.006,
        "breadth, 4 streams": 0.0061,
    }
    all_ways |= {f"{its.PINNED} again": 1e-3}  # the control is no way of its own
    found += [took({"all ways": "balanced", "way": way}, time, width, None, link) for way, time in all_ways.items()]
    only = {stage + its.ONLY: COPY for stage in STAGES}
    found += [took({"all ways": "balanced", "way": way}, t, width) for way, t in (only | {its.LINK: link}).items()]
    frames = {"one stream": 6.5e-4, its.SAMPLE: 3.4e-4, "by stage": 3.3e-4} | {
        stage + its.ONLY: 3.1e-4 for stage in STAGES
    }
    found += [took({"simpleMultiCopy": "10 frames", "way": way}, time, width) for way, time in frames.items()]
    for way in its.SHOWN:
        lanes = engine_lanes(predicted(simulated(MODEL, way, its.SHOWN_CHUNKS)))
        found += [
            Lanes("stream_overlap", {"way": str(way), "seen": how}, 1, lanes) for how in (its.MEASURED, its.PREDICTED)
        ]
    found += [
        Lanes("stream_overlap", {"way": str(its.DEPTH), "seen": how}, 1, lanes) for how in (its.BESIDE, its.CUPTI)
    ]
    return found


def verdict(found: dict[str, bool | None], *words: str) -> bool | None:
    (holds,) = [holds for sentence, holds in found.items() if all(word in sentence for word in words)]
    return holds


GOALS = [
    ("the model misses",),
    ("best numbers of chunks",),
    ("takes least",),
    ("two take",),
    ("naive CuPy",),
    ("reaches", "max(H, K, D) and"),
    ("fastest order",),
    ("16 MiB in 256 chunks", "the graph is"),
    ("simpleMultiCopy's problem",),
    ("hidden in 8 chunks",),
    ("CUPTI",),
]


def test_everything_holds_on_a_machine_as_the_model_says(judged: Any) -> None:
    found = dict(judged(records()))
    assert len(found) == len(GOALS)
    assert {words: verdict(found, *words) for words in GOALS} == dict.fromkeys(GOALS, True)
    best = next(sentence for sentence in found if "fastest of all ways" in sentence)
    assert best.startswith("staged is the fastest of all ways, 5.7 ms: 2.57")


def test_what_misses_its_goal_is_said_to(judged: Any) -> None:
    found = dict(judged(records(off=1.2, link=0.0045, naive=0.03)))
    failed = {words: verdict(found, *words) for words in GOALS if verdict(found, *words) is not True}
    assert failed == dict.fromkeys((GOALS[0], GOALS[2], GOALS[4], GOALS[5]), False)


def test_noise_that_hides_the_goals_is_said(judged: Any) -> None:
    found = dict(judged(records(width=0.3)))
    hidden = GOALS[3:7]
    assert {words: verdict(found, *words) for words in hidden} == dict.fromkeys(hidden)


class Kept:
    """A bench that keeps what is recorded."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self.kept: list[tuple[dict[str, str], list[Any]]] = []

    def row(self, row: dict[str, str]) -> None:
        self.rows.append(row)

    def lanes(self, team: object, case: dict[str, str], lanes: list[Any]) -> None:
        self.kept.append((case, lanes))


def test_without_a_gpu_all_that_is_said_is_labelled_as_predicted() -> None:
    bench = Kept()
    lab().predict(bench)
    assert (
        {row["predicted for"] for row in bench.rows} == {case["predicted for"] for case, _ in bench.kept} == {H200.name}
    )
    assert len(bench.rows) == 3 * 4
    assert len(bench.kept) == 3
    assert {name for _, lanes in bench.kept for name, _ in lanes} >= {*STAGES, "stream 0", "stream 3"}


def test_the_lab_runs_to_its_conclusions_on_the_stand_in(standin: Any, tmp_path: Path) -> None:
    standin.lab("stream_overlap", tmp_path)
    kept = results.read(tmp_path).of("stream_overlap")
    assert len([r for r in kept if isinstance(r, Conclusion)]) == 3 * 3 + 3 + 1 + 1 + 1
    titles = [group.title for group in groups(labs()["stream_overlap"], kept)]
    assert "balance balanced, problem 64 KiB" in titles
    assert "all ways balanced, 64 KiB" in titles
    measured = [m for m in kept if isinstance(m, Measurement)]
    assert {m.case["way"] for m in measured if not m.verified} == {lab().LINK}
    assert all(m.prediction for m in measured if "balance" in m.case and m.verified and m.case["way"] != "kernel only")
    assert [r.case["way"] for r in kept if isinstance(r, Lanes)] == [str(way) for way in lab().SHOWN for _ in range(2)]
    assert any("GPU" in r.row for r in kept if isinstance(r, Row))


@pytest.mark.parametrize("extent", ["usual", "few", "full", "small", "large"])
def test_every_way_of_a_sweep_can_be_predicted(extent: Any) -> None:
    assert all(0 < predict_seconds(MODEL, way, min(n, 8)) < 1 for way, n in swept(extent))
