"""What is said of the H200 is what was recorded on one: every figure of its profile comes from a run in reference/."""

import re
from functools import cache
from typing import Any

import pytest

from parlab import results
from parlab.catalogue import RECORDED, labs
from parlab.cuda.profiles import H200, Link
from parlab.records import Record, Row, measured

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
THREADS = 2048  # of a multiprocessor of compute capability 9.0 (CUDA C++ Programming Guide, Technical Specifications)


@cache
def records(lab: str) -> list[Record]:
    return results.read(RECORDED / labs()[lab].recorded).of(lab)


def seconds(lab: str, **case: Any) -> float:
    (found,) = measured(records(lab), **case)
    return found.seconds.median


def link(lab: str, least: int, most: int, **case: Any) -> Link:
    """Latency by the smallest size, rate by the largest."""
    return Link(seconds(lab, bytes=least, **case), most / seconds(lab, bytes=most, **case))


def model(of: str, what: str) -> list[float]:
    (row,) = (r.row for r in records("stream_overlap") if isinstance(r, Row) and r.row.get("model of") == of)
    return [float(number) * UNITS.get(unit, 1.0) for number, unit in re.findall(r"([\d.]+) ?(\w*)", row[what])]


def packing() -> Link:
    each = {n: seconds("copy_batching", copies=16, bytes=n, way="the packing alone") / 16 for n in (256, 4 << 20)}
    rates = [m * n / seconds("copy_batching", copies=m, bytes=n, way="the packing alone") for m, n in LARGE]
    return Link(each[256], sum(rates) / len(rates))


LARGE = [(16, 4 << 20), (128, 256 << 10), (1024, 64 << 10), (1024, 16 << 10)]  # pieces that do not stay in a cache
SIZES = 1 << 10, 256 << 20
ADDITION = {"measured": "one addition, issue only"}


def recorded() -> dict[str, Any]:
    kernels = [seconds("stream_overlap", measured="copy-bound", way="one stream", chunks=n) for n in (1, 256)]
    (facts,) = (r.row for r in records("copy_limits") if isinstance(r, Row) and "multiprocessors" in r.row)
    return {
        "h2d": link("copy_limits", *SIZES, direction="h2d", way="pinned"),
        "d2h": link("copy_limits", *SIZES, direction="d2h", way="pinned"),
        "pageable_h2d": link("copy_limits", *SIZES, direction="h2d", way="pageable"),
        "pageable_d2h": link("copy_limits", *SIZES, direction="d2h", way="pageable"),
        "d2d": link("copy_limits", *SIZES, direction="d2d", way="cudaMemcpyAsync"),
        "peer": link("two_gpus", 1 << 10, 1 << 30, direction="one way", way="peer copy"),
        "packing": packing(),
        "duplex": model("a stream for each stage", "duplex"),
        "overhead": model("one stream", "each chunk adds"),
        "in_turns": model("several streams", "each chunk adds"),
        "staged": model("a stream for each stage", "each chunk adds"),
        "handover": model("one stream", "handover"),
        "issue": 3 * model("several streams", "host, an operation"),
        "plain": seconds("stream_sync", **ADDITION, kernels=100, way="x += 1"),
        "graph": seconds("stream_sync", **ADDITION, kernels=1, way="graph"),
        "gap": (kernels[1] - kernels[0]) / 255,
        "sync": seconds("stream_sync", measured="a wait on an idle GPU", way="stream synchronise"),
        "threads": THREADS * int(facts["multiprocessors"]),
    }


def flat(value: Any) -> list[float]:
    parts = [value.latency, value.rate] if isinstance(value, Link) else value
    return list(parts) if isinstance(parts, list | tuple) else [parts]


@pytest.mark.parametrize("field", [name for name in vars(H200) if name not in ("name", "recorded")])
def test_a_figure_is_the_recorded_one(field: str) -> None:
    assert flat(getattr(H200, field)) == pytest.approx(flat(recorded()[field]), rel=0.03)


def test_the_recorded_runs_are_of_the_device_that_is_named() -> None:
    assert all(H200.recorded == lab.recorded for lab in labs().values() if lab.gpus == 1)
    header = results.read(RECORDED / H200.recorded).header
    assert header["machine"]["gpus"][0].startswith("NVIDIA H200,")
    assert H200.name.startswith("NVIDIA H200,")
