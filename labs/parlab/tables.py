"""The tables of a lab, one for each group of records: a sweep, a scaling curve, times side by side; and the rows of findings."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from parlab import units
from parlab.catalogue import Lab
from parlab.groups import Group, Verdicts, groups, key, verdicts
from parlab.records import PROOF, Comparison, Measurement, Record, Row, measured
from parlab.scaling import efficiency, karp_flatt, law
from parlab.sheet import LEGEND, Cell, Column, Sheet, Tone, filled
from parlab.stats import Interval, Verdict

MOST_COLUMNS = 8


def sheets(lab: Lab, records: list[Record]) -> Iterator[Sheet]:
    """Yield the tables of a lab's measurements, then those of its findings."""
    said = verdicts(records)
    for group in groups(lab, records):
        yield SHAPES[group.shape](group, said)
    yield from findings([r for r in records if isinstance(r, Row)])


def sweep(group: Group, said: Verdicts) -> Sheet:
    """A row for each number of workers and case, a column for each value of the swept parameter."""
    values = columns_of(group)
    cells = {(m.workers, group.name(m), group.at(m)): m for m in group.measured}
    rows = []
    for workers, name in dict.fromkeys((workers, name) for workers, name, _ in cells):
        row = [cells.get((workers, name, value)) for value in values]
        rivals = [[m for (w, _, v), m in cells.items() if (w, v) == (workers, value)] for value in values]
        rows.append([Cell(str(workers)), Cell(name), *(_cell(m, r, said) for m, r in zip(row, rivals, strict=True))])
        if any(m and m.prediction for m in row):
            rows.append([Cell(), Cell("  predicted", tone="aside"), *(_predicted(m) for m in row)])
    names = [Column(group.measured[0].kind), Column(group.columns, "names")]
    headings = [*names, *(Column(group.tick(value)) for value in values)]
    return Sheet(group.title, headings, rows, note=f"median ± half the 95 % interval; {LEGEND}; bold: least")


def columns_of(group: Group) -> list[float]:
    """Return the values of the swept parameter; many are thinned out to those with most cases: the records hold all of them."""
    cases = Counter(group.at(m) for m in group.measured)
    values = sorted(cases)
    if len(values) > MOST_COLUMNS:
        values = [value for value in values if cases[value] == max(cases.values())]
        values = values[:: -(-len(values) // MOST_COLUMNS)]
    return values


def scaling(group: Group, said: Verdicts) -> Sheet:
    """A row for each case and number of workers, against the best serial program; then the law of each case."""
    rows, laws = [], []
    verified = [m for m in group.measured if m.verified]  # the bound itself shows in the column that it bounds
    for name in dict.fromkeys(group.name(m) for m in verified):
        shown = [m for m in verified if group.name(m) == name]
        if name == "serial":
            shown = [group.serial(0)]
        rows += [_scaling_row(name, m, group, said) for m in shown]
        points = {m.workers: m.samples for m in shown if not m.how["oversubscribed"]}
        if name != "serial" and len(points) > 2:  # with two points Karp and Flatt's e, in the table, says it all
            laws.append(f"{name}: {law(points, group.serial(0).samples, group.weak).words}")
    bounds = ", ".join(sorted({m.bound.name for m in verified if m.bound}))
    note = f"* more workers than cores; {f'bound: {bounds}; ' if bounds else ''}{LEGEND}"
    return Sheet(group.title, *filled(rows), laws, note)


def _scaling_row(name: str, m: Measurement, group: Group, said: Verdicts) -> dict[str, Cell]:
    s = group.speed_up(m)
    shared = m.how["oversubscribed"]
    return {
        group.columns: Cell(name),
        m.kind: Cell(f"{m.workers}{'*' if shared else ''}"),
        "time": timed(m.seconds, _says(m, said)),
        "speed-up": Cell(units.span(s)),
        "efficiency": Cell(units.span(efficiency(s, m.workers))),
        "serial part e": Cell(units.span(karp_flatt(s, m.workers)) if m.workers > 1 and not shared else ""),
        **_against(m),
    }


def bars(group: Group, said: Verdicts) -> Sheet:
    """A row for each case, a column for each number of workers; beside each time its factor to the reference's.

    With many numbers of workers the factor stands in the time's place.
    """
    rows = []
    many = len({m.workers for m in group.measured}) > 2
    for name in dict.fromkeys(group.name(m) for m in group.measured):
        shown = {m.workers: m for m in group.measured if group.name(m) == name}
        row = {group.columns: Cell(name)}
        for workers, m in sorted(shown.items()):
            found = said.get((key(m.case), workers))
            factor = f"{1 / found.ratio.median:.3g}" if found else ""
            heading = units.count(workers, m.kind)
            if many and found:
                row[heading] = Cell(f"x {factor}", says=found.says)
            else:
                row[heading] = _cell(m, [], said)
                row |= {} if many else {heading + ", x": Cell(factor)}
        rows.append(row | _against(shown[max(shown)]))
    note = f"median ± half the 95 % interval; x: times as long as the reference; {LEGEND}"
    return Sheet(group.title, *filled(rows), note=note)


def findings(rows: Sequence[Row]) -> Iterator[Sheet]:
    """Put findings with the same columns into one table; what two launches found alike shows once."""
    for kind in dict.fromkeys(tuple(r.row) for r in rows):
        alike = dict.fromkeys(tuple(r.row.items()) for r in rows if tuple(r.row) == kind)
        yield Sheet("", *filled([{name: Cell(text) for name, text in row} for row in alike], text=True))


def proofs(records: list[Record]) -> Iterator[str]:
    """Say for each team how fast its threads were together, before and after the lab, and how far apart their cores are."""
    together: dict[tuple[str, int], list[str]] = {}
    for r in records:
        if isinstance(r, Comparison) and r.faster.get("work") == "together" and r.workers > 1:
            together.setdefault((str(r.faster[PROOF]), r.workers), []).append(units.span(r.ratio))
    trips = {(m.case[PROOF], m.workers): m.seconds for m in measured(records, work="ping-pong") if PROOF in m.case}
    for (layer, workers), ratios in together.items():
        told = f"{workers} threads of {layer}, each beside the speed of one alone: {' before, '.join(ratios)} after"
        trip = trips.get((layer, workers))
        yield told + (f"; a word to and fro takes {units.interval(trip)}" if trip else "")


def timed(seconds: Interval, says: Verdict | None = None) -> Cell:
    """Write a measured time."""
    return Cell(units.seconds(seconds.median), units.spread(seconds), says)


def _against(m: Measurement) -> dict[str, Cell]:
    """What stands beside a time: its share of the bound, the prediction, the rate, what was counted."""
    work = next(((amount, {"bytes": "B", "flops": "Flop"}.get(what, what)) for what, amount in m.work.items()), None)
    told = {
        "of bound": f"{m.bound.seconds / m.seconds.median:.0%}" if m.bound else "",
        "predicted": units.seconds(m.prediction.seconds) if m.prediction else "",
        "rate": units.rate(*work, m.seconds.median) if work else "",
        **{name: f"{value:.3g}" for name, value in m.facts.items()},
    }
    return {name: Cell(text) for name, text in told.items()}


def _cell(m: Measurement | None, rivals: list[Measurement], said: Verdicts) -> Cell:
    """Write a time with its verdict; say where it is the least of the rivals, and where it is a bound."""
    if m is None:
        return Cell()
    least = min((other.seconds.median for other in rivals if other.verified), default=0.0)
    tone: Tone = "aside" if not m.verified else "least" if m.seconds.median == least else ""
    return replace(timed(m.seconds, _says(m, said)), tone=tone)


def _predicted(m: Measurement | None) -> Cell:
    return Cell(units.seconds(m.prediction.seconds), tone="predicted") if m and m.prediction else Cell()


def _says(m: Measurement, said: Verdicts) -> Verdict | None:
    found = said.get((key(m.case), m.workers))
    return found.says if found else None


SHAPES = {"sweep": sweep, "scaling": scaling, "bars": bars}
