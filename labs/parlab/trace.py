"""The timelines of a lab as a file that https://ui.perfetto.dev and chrome://tracing open: zoom, search, measure.

Source: Google, Trace Event Format (JSON Object Format; complete events "X", metadata events "M"; times in microseconds).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parlab.errors import ParlabError
from parlab.records import Lanes

MOST_LANES = 1000  # of a record: their thread ids do not meet those of the next


def write(kept: Sequence[Lanes], path: Path) -> Path:
    """Write a process for each record of lanes, named by its case, and in it a thread for each lane. ParlabError where it cannot."""
    events = [event for number, lanes in enumerate(kept, start=1) for event in _process(lanes, number)]
    try:
        path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}), encoding="utf-8")
    except OSError as error:
        raise ParlabError(f"cannot write {path}: {error.strerror}") from None
    return path


def _process(kept: Lanes, pid: int) -> Iterator[dict[str, Any]]:
    """Yield the events of one record. A process 0 would be the idle one, and a thread with its number the main one."""
    yield _named("process_name", pid, pid, name=kept.title)
    yield _named("process_sort_index", pid, pid, sort_index=pid)
    for row, (name, spans) in enumerate(kept.lanes, start=1):
        tid = MOST_LANES * pid + row
        yield _named("thread_name", pid, tid, name=name)
        yield _named("thread_sort_index", pid, tid, sort_index=row)
        for begin, end, label in spans:
            first, last = round(begin * 1e9), round(end * 1e9)  # whole nanoseconds: neighbours touch and do not overlap
            at = {"ph": "X", "ts": first / 1e3, "dur": (last - first) / 1e3, "pid": pid, "tid": tid}
            yield {"name": label, "cat": label.split(" ")[0], **at}


def _named(what: str, pid: int, tid: int, **told: str | int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": told}
