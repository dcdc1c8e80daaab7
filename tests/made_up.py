"""A small run that nobody measured, with every kind of record, for the tests of what is shown: tables, pictures, the page."""

from pathlib import Path

from parlab.records import (
    Case,
    Comparison,
    Conclusion,
    Curve,
    Fault,
    Lanes,
    Limit,
    Measurement,
    Noise,
    Record,
    Row,
    Skip,
)
from parlab.results import Writer
from parlab.stats import median_interval, paired_ratio, verdict

MACHINE = {
    "cpu": "Abacus <b>9</b> & Co",
    "cores_allowed": 2,
    "memory_bytes": 2**34,
    "commit": "c0ffee",
    "versions": {"numpy": "9.1"},
}
SERIAL: Case = {"grid": "9 x 9", "variant": "serial"}
HOSTILE = '<script>alert("x")</script> & </svg>'


def timed(lab: str, case: Case, workers: int, seconds: float, kind: str = "ranks", **more: object) -> Measurement:
    """Make a measurement of 24 samples around `seconds`."""
    samples = [seconds * (1 + 0.002 * (i % 5 - 2)) for i in range(24)]
    how = {"batch": 1, "disturbed": 0, "dropped": 0, "oversubscribed": workers > 2}
    return Measurement(lab, case, workers, kind, median_interval(samples), samples, {}, True, how=how, **more)  # type: ignore[arg-type]


def every_kind(factor: float = 1.0) -> list[Record]:
    """Return a scaling curve, a sweep with bound and prediction, bars, a timeline, a curve, rows, sentences, what failed and was skipped.

    factor: by which all times are longer.
    """
    found: list[Record] = [timed("mpi_halo", SERIAL, 1, 8e-3 * factor)]
    for p in (1, 2, 4):
        bound = Limit("copy", 6e-3 * factor / p)
        found.append(timed("mpi_halo", {"grid": "9 x 9", "variant": HOSTILE}, p, 8.4e-3 * factor / p, bound=bound))
    for nbytes in (8, 1024, 2**20):
        case: Case = {"op": "allreduce", "bytes": nbytes, "algorithm": "library"}
        ring: Case = {"op": "allreduce", "bytes": nbytes, "algorithm": "ring"}
        least = 1e-6 * factor * (1 + nbytes / 500)
        fast = timed("mpi_collectives", case, 2, least)
        slow = timed("mpi_collectives", ring, 2, 3 * least, prediction=Limit("Hockney", 2e-6))
        found += [fast, slow]
        ratio = paired_ratio(fast.samples, slow.samples)
        found.append(Comparison("mpi_collectives", ring, case, 2, ratio, verdict(ratio)))
    for way, seconds in (("one", 1e-3), ("two", 2e-3)):
        found.append(timed("overlap_killers", {"size": "64 MiB", "way": way}, 1, seconds * factor, "GPUs"))
    spans = [("h2d", [(0.0, 1e-3, "h2d 0"), (1e-3, 2e-3, "h2d 1")]), ("kernel", [(1e-3, 3e-3, "kernel 0")])]
    found.append(Lanes("overlap_killers", {"way": "one"}, 1, spans))
    lines: dict[str, list[tuple[float, ...]]]
    lines = {"measured": [(1.0, 2.0, 1.5, 2.5), (2.0, 3.0, 2.5, 3.5)], "law": [(1.0, 2.0), (2.0, 3.1)]}
    found.append(Curve("batch_and_rate", "steps to the goal", "batch", "steps", lines, True, False))
    for way, held in (("DDP", "16.00"), ("ZeRO", "8.00")):
        row = {"way": way, "workers": "2 ranks", "held, B a parameter": held, "law": held}
        found.append(Row("batch_and_rate", row))
    found += [Conclusion("mpi_halo", f"sentence {i}: {word}", holds) for i, (word, holds) in enumerate(SAID)]
    failed = Fault("mpi_farm", f"rank 1: ValueError: {HOSTILE}; what it printed is in x.log")
    return [*found, Skip("mpi_point_to_point", "no second rank"), failed, Noise({"0": 0.3})]


SAID = [
    (HOSTILE, True),
    ("it scales", True),
    ("it does not", False),
    ("who knows", None),
    *[("more", True)] * 5,
    ("last", False),
]


def write(folder: Path, records: list[Record], **header: object) -> Path:
    """Write a run into a folder; return the folder."""
    writer = Writer(folder)
    asked = {"command": "parlab run all --workers 1,2 --out x --budget quick", "budget": "quick", "seed": 0}
    known = {"start": "2001-02-03T04:05:06+0000", "machine": MACHINE, "noise_before": {"0": 0.01}}
    writer.begin(asked | known | header)
    for record in records:
        writer.write(record)
    return folder
