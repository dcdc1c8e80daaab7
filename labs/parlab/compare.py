"""Runs side by side, two machines or two commits: how many times as fast each case is, with an interval, and what that allows to say.

The runs were made apart, so their times cannot be paired by round as those of one run are: the ratio is that of the two medians
(scaling.speed_up, whose interval adds those of both in quadrature on the logarithm; Zou and Donner, 2008). The interval knows what
scattered within each run, and nothing of what changed from the one to the other: a machine in another state looks like another machine.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parlab import units
from parlab.bench import AGAIN
from parlab.catalogue import Lab
from parlab.groups import Group, groups, key
from parlab.records import PROOF, Measurement, Record
from parlab.scaling import speed_up
from parlab.sheet import MARKS, Cell, Column, Sheet
from parlab.stats import Interval, Verdict, verdict
from parlab.tables import columns_of, timed

Where = tuple[str, int, str]  # a case, on how many workers of which kind
NOTE = (
    "time: median ± half its 95 % interval; under it how many times as fast the other run is, with its 95 % interval;"
    " ▲ faster, ▼ slower, = same, ? cannot tell"
)


@dataclass(frozen=True)
class Match:
    """A case that both runs measured on the same workers; `ratio` is above 1 where the other run is faster."""

    base: Measurement
    other: Measurement
    ratio: Interval
    says: Verdict


def matches(base: Sequence[Record], other: Sequence[Record]) -> dict[Where, Match]:
    """Return what both runs measured of a lab; proofs and controls, which are about one run, are left out."""
    first, second = _measured(base), _measured(other)
    return {where: _match(m, second[where]) for where, m in first.items() if where in second}


def counts(found: Mapping[Where, Match]) -> dict[Verdict, int]:
    """Count what the matches say."""
    said = Counter(match.says for match in found.values())
    return {says: said[says] for says in MARKS}


def sheets(lab: Lab, base: tuple[str, list[Record]], others: Sequence[tuple[str, list[Record]]]) -> Iterator[Sheet]:
    """Yield a table for each group of the first run of which another measured something, too. Runs come with their names."""
    name, records = base
    found = {other: matches(records, theirs) for other, theirs in others}
    for group in groups(lab, records):
        if any(_where(m) in matched for m in group.measured for matched in found.values()):
            yield _sheet(group, name, found)


def _sheet(group: Group, base: str, found: Mapping[str, Mapping[Where, Match]]) -> Sheet:
    """A row for each case and run, a column for each value of the swept parameter, else for each number of workers."""
    swept = group.shape == "sweep"
    kind = group.measured[0].kind
    values: list[float] = columns_of(group) if swept else sorted({m.workers for m in group.measured})
    table: dict[tuple[str, ...], dict[float, Measurement]] = {}
    for m in group.measured:
        told: tuple[str, ...] = (str(m.workers), group.name(m)) if swept else (group.name(m),)
        table.setdefault(told, {})[group.at(m) if swept else m.workers] = m
    rows = []
    for names, at in table.items():
        matched = {other: {v: those.get(_where(m)) for v, m in at.items()} for other, those in found.items()}
        if not any(any(row.values()) for row in matched.values()):
            continue
        times = [timed(at[v].seconds) if v in at else Cell() for v in values]
        rows.append([*map(Cell, names), Cell(base), *times])
        for other, row in matched.items():
            rows.append([*(Cell() for _ in names), Cell(other), *(_cell(row.get(v)) for v in values)])
    headings = [*([Column(kind)] if swept else []), Column(group.columns, "names"), Column("run", "names")]
    headings += [Column(group.tick(v) if swept else units.count(int(v), kind)) for v in values]
    return Sheet(group.title, headings, rows, note=NOTE)


def _measured(records: Sequence[Record]) -> dict[Where, Measurement]:
    found = (r for r in records if isinstance(r, Measurement) and PROOF not in r.case)
    return {_where(m): m for m in found if not any(str(value).endswith(AGAIN) for value in m.case.values())}


def _where(m: Measurement) -> Where:
    return key(m.case), m.workers, m.kind


def _match(base: Measurement, other: Measurement) -> Match:
    ratio = speed_up(base.samples, other.samples)
    return Match(base, other, ratio, verdict(ratio))


def _cell(match: Match | None) -> Cell:
    if match is None:
        return Cell()
    ratio = match.ratio
    return Cell(f"{ratio.median:.3g}", f"[{ratio.low:.3g}, {ratio.high:.3g}]", match.says)
