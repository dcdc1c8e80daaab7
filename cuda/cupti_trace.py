"""What CUPTI, NVIDIA's own interface for profilers, saw of a run, read through torch.profiler. Needs PyTorch with CUDA.

    seen = spans(activities(run), plan(8, 4, "depth"))
    differences(recorder.spans(run), seen)["end"]         # seconds, operation by operation

CUPTI tells when an engine worked; a pair of events when a stream was ready and when it was done. So the two check each other.
Source: NVIDIA, CUPTI documentation, Activity API.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from parlab.cuda.plan import Operation
from parlab.cuda.timeline import Span, on_engines

MEMCPY, KERNEL = "gpu_memcpy", "kernel"  # categories of a trace
COPIES = {"HtoD": "h2d", "DtoH": "d2h"}


def activities(run: Callable[[], object]) -> list[dict[str, Any]]:
    """Do a run; return the events of its trace: ts and dur in us. Raises RuntimeError where PyTorch sees no GPU."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as kept:
        run()
        torch.cuda.synchronize()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        kept.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return events


def spans(events: Iterable[Mapping[str, Any]], steps: Sequence[Operation]) -> list[Span]:
    """Return the copies and kernels of a trace, in seconds from the first one's begin, as the operations of a plan, all of which it ran.

    Streams are numbered in the order in which they were made. Raises ValueError where the trace has other operations than the plan.
    """
    seen = sorted((e for e in events if e.get("cat") in (MEMCPY, KERNEL)), key=lambda e: e["ts"])
    numbers = sorted({e["args"]["stream"] for e in seen})
    chunks: dict[tuple[str, int], list[int]] = defaultdict(list)
    for step in steps:
        chunks[step.stage, step.stream].append(step.chunk)
    found = []
    for e in seen:
        stage, stream = _stage(e), numbers.index(e["args"]["stream"])
        if not chunks[stage, stream]:
            raise ValueError(f"the trace has more than the plan: {e['name']} in stream {stream}")
        begin = (e["ts"] - seen[0]["ts"]) * 1e-6
        found.append(Span(stage, chunks[stage, stream].pop(0), stream, begin, begin + e["dur"] * 1e-6))
    if left := sum(map(len, chunks.values())):
        raise ValueError(f"{left} operations of the plan are not in the trace")
    return found


def _stage(event: Mapping[str, Any]) -> str:
    if event["cat"] == KERNEL:
        return "kernel"
    return next((stage for word, stage in COPIES.items() if word in event["name"]), event["name"])


def differences(by_events: Sequence[Span], by_cupti: Sequence[Span]) -> dict[str, list[float]]:
    """Return by how many seconds each operation's begin, end and duration differ between the two.

    Their clocks have no common zero: they are laid on each other so that the median difference of the ends is 0.
    """
    ours = {(s.stage, s.chunk): s for s in on_engines(by_events)}
    pairs = [(ours[s.stage, s.chunk], s) for s in by_cupti]
    zero = median(a.end - b.end for a, b in pairs)
    return {
        "begin": [abs(a.begin - b.begin - zero) for a, b in pairs],
        "end": [abs(a.end - b.end - zero) for a, b in pairs],
        "duration": [abs((a.end - a.begin) - (b.end - b.begin)) for a, b in pairs],
    }
