"""What a run leaves behind, kind by kind, and how to pick from it. ARCHITECTURE.md describes every field; results.py keeps the file.

Seconds and work are stored, never rates: whoever shows a record derives them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parlab.stats import Interval, Verdict

Case = Mapping[str, str | int | float]

LAYERS = ("tbb", "omp", "workqueue")  # Numba's threading layers; the last is part of Numba and always there
PROOF = "a core each"  # marks the measurements that show whether threads have a core each: about the machine, not about the lab


@dataclass(frozen=True)
class Limit:
    """A time that a measurement is held against: a bound (`name` says which) or a prediction (`name` is the model)."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Measurement:
    """The time of one case on a number of workers: seconds for one operation, median with its 95 % interval."""

    lab: str
    case: Case
    workers: int
    kind: str  # what the workers are: ranks, threads, processes, GPUs
    seconds: Interval
    samples: list[float]
    work: dict[str, float]  # what one operation does: bytes, flops
    verified: bool
    bound: Limit | None = None
    prediction: Limit | None = None
    how: dict[str, Any] = field(default_factory=dict)  # batch, dropped, sync, across, oversubscribed
    facts: dict[str, float] = field(default_factory=dict)  # what was counted beside the time, e.g. imbalance


@dataclass(frozen=True)
class Comparison:
    """`ratio` is the time of `than` over the time of `faster`, paired by round: above 1 where `faster` is faster."""

    lab: str
    faster: Case
    than: Case
    workers: int
    ratio: Interval
    says: Verdict


@dataclass(frozen=True)
class Conclusion:
    """What was seen, in a sentence computed from records; `holds` is None where the noise does not allow a verdict."""

    lab: str
    sentence: str
    holds: bool | None


@dataclass(frozen=True)
class Row:
    """One line of a table of findings that are not times: text by column."""

    lab: str
    row: dict[str, str]


@dataclass(frozen=True)
class Lanes:
    """Who did what when: for each lane (a thread, a rank, a stream) its spans (begin, end, label), in seconds from a common zero."""

    lab: str
    case: Case
    workers: int
    lanes: list[tuple[str, list[tuple[float, float, str]]]]

    @property
    def title(self) -> str:
        """Return the case in words."""
        return ", ".join(f"{name} {value}" for name, value in self.case.items())

    @property
    def end(self) -> float:
        """Return when the last span ended."""
        return max((end for _, spans in self.lanes for _, end, _ in spans), default=1.0)


@dataclass(frozen=True)
class Curve:
    """Findings along a number, for a picture: by the name of each line its points (x, y, low, high), or (x, y) where a model says so.

    x, y: what the axes show, with the unit; logx, logy: whether they are logarithmic.
    """

    lab: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, ...]]]
    logx: bool
    logy: bool

    def measured(self, line: str) -> dict[float, Interval]:
        """Return the points of a line that was measured, by x; none where there is no such line."""
        return {x: Interval(y, low, high, 0) for x, y, low, high in self.lines.get(line, [])}


@dataclass(frozen=True)
class Skip:
    """A lab, or a part of it, that cannot run here, and why."""

    lab: str
    skipped: str


@dataclass(frozen=True)
class Fault:
    """A lab that failed, and how."""

    lab: str
    fault: str


@dataclass(frozen=True)
class Noise:
    """The noise probe after the run; the one before it stands in the header."""

    noise_after: dict[str, float]


Record = Measurement | Comparison | Conclusion | Row | Lanes | Curve | Skip | Fault | Noise


@dataclass(frozen=True)
class Run:
    """One results file as read: the header's facts, the records, and a note where the file was cut."""

    header: dict[str, Any]
    records: list[Record]
    note: str | None = None

    def of(self, lab: str) -> list[Record]:
        """Return the records of one lab."""
        return [r for r in self.records if getattr(r, "lab", None) == lab]

    def labs(self) -> list[str]:
        """Return the ids of the labs in this run, in the order in which they ran."""
        return list(dict.fromkeys(r.lab for r in self.records if not isinstance(r, Noise)))


def measured(records: Iterable[Record], workers: int | None = None, /, **case: str | int | float) -> list[Measurement]:
    """Pick the measurements whose case has these parameters, on this number of workers where one is named."""
    found = (r for r in records if isinstance(r, Measurement) and workers in (None, r.workers))
    return [r for r in found if case.items() <= r.case.items()]


def beside(records: Iterable[Record], m: Measurement, **other: str | int | float) -> Measurement | None:
    """Return what was measured beside another, in all alike but for these parameters; None where nothing was."""
    found = measured(records, m.workers, **{**m.case, **other})
    return next((like for like in found if like.kind == m.kind), None)


def compared(records: Iterable[Record], workers: int | None = None, /, **case: str | int | float) -> list[Comparison]:
    """Pick the comparisons of which the first case has these parameters, on this number of workers where one is named."""
    found = (r for r in records if isinstance(r, Comparison) and workers in (None, r.workers))
    return [r for r in found if case.items() <= r.faster.items()]


def all_say(comparisons: Iterable[Comparison], wanted: Verdict) -> bool | None:
    """Tell whether all say what is wanted: False where one says otherwise, None where one cannot tell or there is none."""
    said = {c.says for c in comparisons}
    return None if not said or "cannot tell" in said else said == {wanted}
