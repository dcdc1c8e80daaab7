"""Traces are valid by the rules of the Trace Event Format, whatever a lab's lanes hold."""

import json
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import catalogue, panels, plots, results, trace
from parlab.catalogue import RECORDED
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.profiles import H200
from parlab.cuda.timeline import engine_lanes, predicted, stream_lanes
from parlab.errors import ParlabError
from parlab.records import Lanes, Run

METADATA = {"process_name": "name", "process_sort_index": "sort_index"}
METADATA |= {"thread_name": "name", "thread_sort_index": "sort_index"}


def valid(path: Path) -> list[dict[str, Any]]:
    """Hold a file to the format: required fields, their types, metadata that name what is there. Return the complete events."""
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["displayTimeUnit"] in ("ms", "ns")
    named: dict[str, set[tuple[int, int]]] = defaultdict(set)
    threads: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in told["traceEvents"]:
        assert {"name", "ph", "pid", "tid"} <= event.keys()
        assert all(type(event[key]) is int and event[key] > 0 for key in ("pid", "tid"))
        at = event["pid"], event["tid"]
        if event["ph"] == "M":
            assert list(event["args"]) == [METADATA[event["name"]]]
            assert isinstance(event["args"].get("sort_index", 0), int)
            assert at not in named[event["name"]]
            named[event["name"]].add(at)
        else:
            assert event["ph"] == "X"
            assert isinstance(event["name"], str)
            assert isinstance(event["ts"], int | float)
            assert event["dur"] >= 0
            threads[at].append(event)
    assert {pid for pid, _ in threads} <= {pid for pid, _ in named["process_name"]}
    assert threads.keys() <= named["thread_name"] == named["thread_sort_index"]
    assert len({tid for _, tid in named["thread_name"]}) == len(
        named["thread_name"]
    )  # viewers take them for the system's
    for (
        events
    ) in threads.values():  # on a thread they lie beside each other; to the nanosecond, the format's double has no more
        events.sort(key=lambda event: event["ts"])
        ends = [round(1e3 * (event["ts"] + event["dur"])) for event in events]
        assert all(end <= round(1e3 * after["ts"]) for end, after in zip(ends, events[1:], strict=False))
    return [event for events in threads.values() for event in events]


def kept(way: str, lanes: Any, workers: int = 1) -> Lanes:
    return Lanes("overlap_killers", {"way": way}, workers, lanes)


def test_a_timeline_of_a_pipeline_is_a_valid_trace(tmp_path: Path) -> None:
    spans = predicted(simulate(H200.pipeline(64 << 20, 1.2e-3), 64, 4))
    both = [kept("engines", engine_lanes(spans)), kept("streams", stream_lanes(spans))]
    events = valid(trace.write(both, tmp_path / "a.json"))
    assert len(events) == 2 * 3 * 64
    assert {event["cat"] for event in events} == {"h2d", "kernel", "d2h"}
    longest = max(event["ts"] + event["dur"] for event in events)
    assert longest == pytest.approx(1e6 * max(span.end for span in spans), abs=1e-3)  # microseconds
    told = json.loads((tmp_path / "a.json").read_text())["traceEvents"]
    assert [e["args"]["name"] for e in told if e["name"] == "process_name"] == ["way engines", "way streams"]
    assert [e["args"]["name"] for e in told if e["name"] == "thread_name"][:3] == ["h2d", "kernel", "d2h"]


@given(st.lists(st.lists(st.floats(0, 1e-3), max_size=8), max_size=5))
def test_neighbours_touch_and_never_overlap(widths: list[list[float]]) -> None:
    lanes = []
    for row, found in enumerate(widths):
        edges = [sum(found[:i]) for i in range(len(found) + 1)]
        lanes.append((f"thread {row}", [(a, b, "0-7") for a, b in pairwise(edges)]))

    with tempfile.TemporaryDirectory() as folder:
        assert len(valid(trace.write([kept("", lanes)] * 2, Path(folder) / "t.json"))) == 2 * sum(map(len, widths))


def test_recorded_runs_of_threads_are_valid_traces(tmp_path: Path) -> None:
    traced = 0
    for path in RECORDED.glob("*/results.jsonl"):
        timelines = [r for r in results.read(path).records if isinstance(r, Lanes)]
        spans = [span for r in timelines for _, lane in r.lanes for span in lane]
        assert len(valid(trace.write(timelines, tmp_path / "t.json"))) == len(spans)
        traced += len(spans)
    assert traced


def test_an_overlap_would_be_found(tmp_path: Path) -> None:
    """The mutant of the tests above: it shows that they can fail."""
    path = trace.write([kept("", [("h2d", [(0.0, 2e-6, "a"), (1e-6, 3e-6, "b")])])], tmp_path / "t.json")
    with pytest.raises(AssertionError):
        valid(path)


def test_a_lab_with_timelines_has_them_drawn_and_traced_and_they_are_told_apart(tmp_path: Path) -> None:
    spans = predicted(simulate(H200.pipeline(64 << 20, 1.2e-3), 256, 4))
    records = [kept(f"way {i}", engine_lanes(spans)) for i in range(11)]
    run = Run({"machine": {"cpu": "x", "cores": 1, "python": "3"}}, list(records))
    found = plots.draw(catalogue.labs()["overlap_killers"], run, tmp_path)
    assert [path.name for path in found] == ["overlap_killers-timeline.svg", "overlap_killers-trace.json"]
    assert len({event["pid"] for event in valid(found[1])}) == 11  # the picture shows nine
    assert plots.draw(catalogue.labs()["overlap_killers"], Run(run.header, []), tmp_path) == []


def test_a_trace_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ParlabError, match="cannot write"):
        trace.write([], tmp_path / "missing" / "t.json")


def test_panels_share_an_axis_of_time_unless_one_is_ten_times_as_long(tmp_path: Path) -> None:
    def ends(*seconds: float) -> list[float]:
        return [
            panel.draw.keywords["right"]  # type: ignore[attr-defined]
            for panel in panels.timelines([kept("", [("h2d", [(0.0, end, "h2d 0")])]) for end in seconds])
        ]

    assert ends(1.0, 4.0, 9.0) == [9.0, 9.0, 9.0]
    assert ends(1.0, 4.0, 11.0) == [4.0, 4.0, 11.0]
    assert ends() == []
