"""What is drawn of a lab: a panel for each group of its times, each curve of its findings, each count with a law, each timeline."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from parlab import units
from parlab.catalogue import Lab
from parlab.draw_findings import against_law, curve
from parlab.draw_lanes import timeline
from parlab.draw_scaling import best, scaling
from parlab.draw_times import MOST_CURVES, bars, names, over_workers, sweep
from parlab.drawing import DECADES
from parlab.groups import Group, groups
from parlab.records import Curve, Lanes, Measurement, Record, Row

USUAL = 2.3  # inches of height, without a legend
MOST = 9  # of a kind


@dataclass(frozen=True)
class Panel:
    """One picture. what: the same in all runs, where `title` may name the team; says: what it shows, in words, for who cannot see it.

    height: inches, without the legend.
    """

    what: str
    title: str
    says: str
    draw: Callable[[Any], None]
    height: float = USUAL


def times(lab: Lab, records: list[Record]) -> list[Panel]:
    """Return a panel for each group of times; where there are too many, first those that were predicted, which show most."""
    found = [group for group in groups(lab, records) if len(group.measured) > 1]  # one alone stands in the table
    if len(found) > MOST:
        found = sorted(found, key=lambda group: not any(m.prediction for m in group.measured))
    return [_panel(group) for group in found[:MOST]]


def _panel(group: Group) -> Panel:
    """Choose how a group is drawn."""
    kind = group.measured[0].kind
    teams = sorted({m.workers for m in group.measured})
    if group.shape == "scaling" and len(teams) > 1:
        told = f"{group.title}: serial {units.interval(group.serial(0).seconds)}".removeprefix(": ")
        return Panel(group.title, told, _scaling_words(group), partial(scaling, group=group))
    if group.shape == "sweep":  # for the largest team whose workers have a core each
        apart = {m.workers for m in group.measured if not m.how["oversubscribed"]}
        team = max(apart or teams)
        crowded = "" if apart else " (more than cores)"
        title = _title(group, f"{units.count(team, kind)}{crowded}")
        shown = [m for m in group.measured if m.workers == team]
        return Panel(group.title, title, _sweep_words(group, shown), partial(sweep, group=group, workers=team))
    cases = names(group, group.measured)
    if len(teams) > 2 and len(cases) <= MOST_CURVES:
        return Panel(group.title, _title(group, ""), _bars_words(group, teams[-1]), partial(over_workers, group=group))
    teams = teams if len(teams) == 2 else teams[-1:]
    title = _title(group, units.count(teams[0], kind) if len(teams) == 1 else "")
    height = 0.6 + len(cases) * (0.2 if len(teams) == 1 else 0.24)
    return Panel(group.title, title, _bars_words(group, teams[-1]), partial(bars, group=group, teams=teams), height)


def curves(records: Sequence[Record]) -> list[Panel]:
    """Return a panel for each curve of findings, and for each count that a law stands beside."""
    drawn = (_curve(r) for r in records if isinstance(r, Curve))
    return list(islice(chain(drawn, _laws(records)), MOST))


def _curve(kept: Curve) -> Panel:
    return Panel(kept.title, kept.title, f"{kept.y} over {kept.x}: {', '.join(kept.lines)}", partial(curve, kept=kept))


def timelines(records: Sequence[Record]) -> list[Panel]:
    """Return a panel for each timeline, on one axis of time, so that lengths compare; what is over ten times as long has its own."""
    kept = [r for r in records if isinstance(r, Lanes)][:MOST]
    ends = [lanes.end for lanes in kept]
    common = max((end for end in ends if end <= DECADES * min(ends)), default=1.0)
    return [_timeline(lanes, max(lanes.end, common)) for lanes in kept]


def _timeline(kept: Lanes, right: float) -> Panel:
    many = len(kept.lanes)
    height = 0.55 + many * (0.24 if many <= 8 else 0.13)
    said = f"Timeline of {', '.join(name for name, _ in kept.lanes[:8])}, {units.seconds(kept.end)} long"
    return Panel(f"{kept.title}, {kept.workers}", kept.title, said, partial(timeline, kept=kept, right=right), height)


def _laws(records: Sequence[Record]) -> Iterator[Panel]:
    """Yield a panel for each count whose law stands beside it, in rows of findings and beside times."""
    tables: dict[str, dict[str, Mapping[str, float]]] = {}
    for r in records:
        if isinstance(r, Row):
            first, *_ = r.row.values()
            counted = {name: float(text) for name, text in r.row.items() if re.fullmatch(r"[\d.]+", text)}
            tables.setdefault(r.row.get("workers", ""), {})[first] = counted
        elif isinstance(r, Measurement) and r.facts:
            way = str(list(r.case.values())[-1])
            tables.setdefault(units.count(r.workers, r.kind), {}).setdefault(way, r.facts)
    for title, rows in tables.items():
        for what, law in dict.fromkeys(pair for row in rows.values() for pair in with_law(list(row))):
            found = {name: (row[what], row[law]) for name, row in rows.items() if what in row and law in row}
            if len(found) > 1:
                said = ", ".join(f"{name} {value:.4g} (law {least:.4g})" for name, (value, least) in found.items())
                draw = partial(against_law, found=found, what=what)
                heading = f"{what}: counted, and the law, {title}"
                yield Panel(heading, heading, said, draw, 0.6 + 0.2 * len(found))


def with_law(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Pair what was counted with its law: of the same unit ("sent, MiB", "law, MiB"), else in the column before it ("held", "law")."""
    found = []
    for i, law in enumerate(columns):
        if law.split(" ")[0].rstrip(",") == "law":
            unit = law.partition(", ")[2]
            alike = [c for c in columns if unit and c != law and c.endswith(f", {unit}")]
            found += [(what, law) for what in (alike or columns[:i][-1:])[:1]]
    return found


def _title(group: Group, team: str) -> str:
    return ", ".join(filter(None, [group.title, team])) or group.columns


def _sweep_words(group: Group, shown: Sequence[Measurement]) -> str:
    """Say which case takes least time at both ends of a sweep."""
    ends = sorted({group.at(m) for m in shown})
    told = f"Time of one operation by {group.axis}, from {group.tick(ends[0])} to {group.tick(ends[-1])}"
    for at in dict.fromkeys((ends[0], ends[-1])):
        least = min((m for m in shown if group.at(m) == at), key=lambda m: (not m.verified, m.seconds.median))
        told += f"; least at {group.tick(at)}: {group.name(least)}, {units.seconds(least.seconds.median)}"
    return told


def _scaling_words(group: Group) -> str:
    top = best(group)
    said = [f"{units.span(group.speed_up(m))} on {m.workers}" for m in group.measured if group.name(m) == top]
    return f"Speed-up over {group.measured[0].kind}; largest: {top}, {', '.join(said)}"


def _bars_words(group: Group, team: int) -> str:
    shown = [m for m in group.measured if m.workers == team]
    told = ", ".join(f"{group.name(m)} {units.interval(m.seconds)}" for m in shown[:MOST_CURVES])
    return f"Time of one operation on {units.count(team, shown[0].kind)}: {told}"
