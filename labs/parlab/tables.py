"""The tables of a lab, one for each group of records: a sweep, a scaling curve, times side by side; and the rows of findings."""

from collections import Counter

from rich.markup import escape
from rich.table import Table

from parlab import units
from parlab.groups import Group, Verdicts, key
from parlab.records import Measurement, Row
from parlab.scaling import efficiency, karp_flatt, law

MOST_COLUMNS = 8
MARKS = {"faster": "[green]▲[/]", "slower": "[red]▼[/]", "same": "=", "cannot tell": "?"}
LEGEND = "▲ faster, ▼ slower, = same as the reference, ? cannot tell"

Shown = tuple[Table, list[str], str]  # the table, lines below it, the note that explains its kind


def sweep(group: Group, said: Verdicts) -> Shown:
    """A row for each number of workers and case, a column for each value of the swept parameter."""
    cases = Counter(group.at(m) for m in group.measured)
    values = sorted(cases)
    if len(values) > MOST_COLUMNS:  # thinned out here, to the values with most cases; the records hold all of it
        values = [value for value in values if cases[value] == max(cases.values())]
        values = values[:: -(-len(values) // MOST_COLUMNS)]
    table = _table(group.title)
    table.add_column(group.measured[0].kind, justify="right", no_wrap=True)
    table.add_column(group.columns, no_wrap=True)
    for value in values:
        table.add_column(group.tick(value), justify="right", no_wrap=True)
    cells = {(m.workers, group.name(m), group.at(m)): m for m in group.measured}
    for workers, name in dict.fromkeys((workers, name) for workers, name, _ in cells):
        row = [cells.get((workers, name, value)) for value in values]
        rivals = [[m for (w, _, v), m in cells.items() if (w, v) == (workers, value)] for value in values]
        table.add_row(str(workers), name, *(_cell(m, others, said) for m, others in zip(row, rivals, strict=True)))
        if any(m and m.prediction for m in row):
            guesses = (units.seconds(m.prediction.seconds) + "     " if m and m.prediction else "" for m in row)
            table.add_row("", "  predicted", *guesses, style="dim")
    return table, [], f"median ± half the 95 % interval; {LEGEND}; bold: least"


def scaling(group: Group, said: Verdicts) -> Shown:
    """A row for each case and number of workers, against the best serial program; then the law of each case."""
    rows, laws = [], []
    verified = [m for m in group.measured if m.verified]  # the bound itself shows in the column that it bounds
    for name in dict.fromkeys(group.name(m) for m in verified):
        shown = [m for m in verified if group.name(m) == name]
        if name == "serial":
            shown = [group.serial(0)]
        rows += [_scaling_row(name, m, group, said) for m in shown]
        points = {m.workers: m.samples for m in shown if not m.how["oversubscribed"]}
        if (
            name != "serial" and len(points) > 2
        ):  # with two points Karp and Flatt's e, in the table, is all there is to say
            laws.append(f"  {name}: {law(points, group.serial(0).samples, group.weak).words}")
    bounds = ", ".join(sorted({m.bound.name for m in verified if m.bound}))
    note = f"* more workers than cores; {f'bound: {bounds}; ' if bounds else ''}{LEGEND}"
    return _filled(group.title, rows), laws, note


def _scaling_row(name: str, m: Measurement, group: Group, said: Verdicts) -> dict[str, str]:
    s = group.speed_up(m)
    shared = m.how["oversubscribed"]
    return {
        group.columns: name,
        m.kind: f"{m.workers}{'*' if shared else ''}",
        "time": f"{units.interval(m.seconds)} {_mark(m, said)}",
        "speed-up": units.span(s),
        "efficiency": units.span(efficiency(s, m.workers)),
        "serial part e": units.span(karp_flatt(s, m.workers)) if m.workers > 1 and not shared else "",
        **_against(m),
    }


def bars(group: Group, said: Verdicts) -> Shown:
    """A row for each case, a column for each number of workers; beside each time its factor to the reference's.

    With many numbers of workers the factor stands in the time's place.
    """
    rows = []
    many = len({m.workers for m in group.measured}) > 2
    for name in dict.fromkeys(group.name(m) for m in group.measured):
        shown = {m.workers: m for m in group.measured if group.name(m) == name}
        row = {group.columns: name}
        for workers, m in sorted(shown.items()):
            found = said.get((key(m.case), workers))
            factor = f"{1 / found.ratio.median:.3g}" if found else ""
            heading = units.count(workers, m.kind)
            if many and factor:
                row[heading] = f"x {factor} {_mark(m, said)}"
            else:
                row[heading] = _cell(m, [], said)
                row |= {} if many else {heading + ", x": factor}
        rows.append(row | _against(shown[max(shown)]))
    return (
        _filled(group.title, rows),
        [],
        f"median ± half the 95 % interval; x: times as long as the reference; {LEGEND}",
    )


def table_of_rows(rows: list[Row]) -> list[Table]:
    """Put findings with the same columns into one table."""
    kinds = dict.fromkeys(tuple(r.row) for r in rows)
    found = [[r.row for r in rows if tuple(r.row) == kind] for kind in kinds]
    return [_filled("", [dict(row) for row in {tuple(r.items()): None for r in kind}], plain=True) for kind in found]


def _against(m: Measurement) -> dict[str, str]:
    """What stands beside a time: its share of the bound, the prediction, the rate, what was counted."""
    work = next(((amount, {"bytes": "B", "flops": "Flop"}.get(what, what)) for what, amount in m.work.items()), None)
    return {
        "of bound": f"{m.bound.seconds / m.seconds.median:.0%}" if m.bound else "",
        "predicted": units.seconds(m.prediction.seconds) if m.prediction else "",
        "rate": units.rate(*work, m.seconds.median) if work else "",
        **{name: f"{value:.3g}" for name, value in m.facts.items()},
    }


def _filled(title: str, rows: list[dict[str, str]], plain: bool = False) -> Table:
    """Make a table of the columns in which any row has something to say."""
    table = _table(title)
    columns = [c for c in dict.fromkeys(c for row in rows for c in row) if any(row.get(c) for row in rows)]
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or plain else "right", no_wrap=not plain)
    for row in rows:
        table.add_row(*(escape(row.get(c, "")) if plain else row.get(c, "") for c in columns))
    return table


def _table(title: str) -> Table:
    return Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1)
    )


def _cell(m: Measurement | None, rivals: list[Measurement], said: Verdicts) -> str:
    """Write a time with its mark: bold where it is the least of the rivals, dim where it is a bound."""
    if m is None:
        return ""
    text = f"{units.interval(m.seconds)} {_mark(m, said) or ' '}"
    least = min((other.seconds.median for other in rivals if other.verified), default=0.0)
    return f"[bold]{text}[/]" if m.verified and m.seconds.median == least else text if m.verified else f"[dim]{text}[/]"


def _mark(m: Measurement, said: Verdicts) -> str:
    found = said.get((key(m.case), m.workers))
    return MARKS[found.says] if found else ""


SHAPES = {"sweep": sweep, "scaling": scaling, "bars": bars}
