"""Pictures of times: along a swept parameter, or side by side as bars. Points with intervals: measured; lines: a model or a bound."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from parlab import units
from parlab.drawing import (
    BOUND,
    DECADES,
    MODEL,
    beside,
    limits,
    log_ticks,
    name_values,
    points,
    time_axis,
    time_scale,
    workers_axis,
)
from parlab.groups import Group
from parlab.records import Measurement
from parlab.theme import light, series

NARROW = 1024  # a sweep from 0 up to this is drawn on a linear axis, so that the 0 has a place
MOST_CURVES = 12  # more cannot be told apart: they become bars, for the largest team
LONGEST = 1.6  # bars end at this many times the longest; an interval that goes on is cut there


def names(group: Group, measured: Sequence[Measurement]) -> list[str]:
    """Return the names of the cases, in the order in which they were measured."""
    return list(dict.fromkeys(group.name(m) for m in measured))


def sweep(axes: Any, group: Group, workers: int) -> None:
    """Draw time along the swept parameter, for one team; dashed: predicted."""
    linear = 0 in map(group.at, group.measured) and max(map(group.at, group.measured)) <= NARROW
    drawn = [m for m in group.measured if (linear or group.at(m) > 0) and "'s " not in group.name(m)]
    measured = [m for m in drawn if m.workers == workers]
    bounded = any(m.verified for m in measured)
    for i, name in enumerate(names(group, drawn)):  # of all teams: a case keeps its colour from picture to picture
        found = sorted((m for m in measured if group.name(m) == name), key=group.at)
        if not found:
            continue
        x = np.array([group.at(m) for m in found])
        if bounded and not found[0].verified:  # the floor: a line, for nothing lies below it
            _bound(axes, x, [m.seconds.median for m in found], f"{name} (bound)")
            continue
        told = [(group.at(m), m.prediction.seconds) for m in found if m.prediction]
        points(axes, x, [m.seconds for m in found], name, i, joined=not told)
        if told:
            axes.plot(*zip(*told, strict=True), color=series(i), **MODEL)
    if any(m.prediction for m in measured):
        axes.plot([], [], color=light("ink"), label="predicted", **MODEL)
    if not linear:
        axes.set_xscale("log", base=2)
    name_values(axes.xaxis, [group.at(m) for m in measured], group.tick, linear)
    axes.set_xlabel(group.axis)
    time_scale(axes, [m.seconds.median for m in measured])


def _bound(axes: Any, x: Any, seconds: Sequence[float], name: str) -> None:
    if len(seconds) > 1:
        axes.plot(x, seconds, label=name, **BOUND)
    else:  # measured once, it bounds all
        axes.axhline(seconds[0], label=name, **BOUND)


def over_workers(axes: Any, group: Group) -> None:
    """Draw time over the number of workers, a line of points for each case."""
    for i, name in enumerate(names(group, group.measured)):
        found = sorted((m for m in group.measured if group.name(m) == name), key=lambda m: m.workers)
        points(axes, np.array([m.workers for m in found]), [m.seconds for m in found], name, i, joined=True)
    workers_axis(axes, sorted({m.workers for m in group.measured}), group.measured[0].kind)
    time_scale(axes, [m.seconds.median for m in group.measured])


def bars(axes: Any, group: Group, teams: Sequence[int]) -> None:
    """Draw times side by side, for one team or two, each written beside its bar; where they differ much, points on a logarithmic axis."""
    cases = names(group, group.measured)
    medians = [m.seconds.median for m in group.measured if m.workers in teams]
    logarithmic = max(medians) > DECADES * min(medians)
    high = 0.75 / len(teams)
    seen = {(group.name(m), m.workers) for m in group.measured}
    both = [name for name in cases if all((name, team) in seen for team in teams)]
    for k, workers in enumerate(teams):
        shown = {group.name(m): m for m in group.measured if m.workers == workers}
        places = [cases.index(name) + high * (k - (len(teams) - 1) / 2) * (name in both) for name in shown]
        found = list(shown.values())
        times = [m.seconds.median for m in found]
        # of two teams the smaller is pale; a bound is grey
        colours = [light("blue" if m.verified else "grey") for m in found]
        pale = 0.45 if k + 1 < len(teams) else 1.0
        if logarithmic:
            axes.scatter(times, places, c=colours, s=22, alpha=pale)
        else:
            axes.barh(places, times, color=colours, height=0.85 * high, alpha=pale)
        spread = limits([m.seconds for m in found])
        axes.errorbar(times, places, xerr=spread, fmt="none", ecolor=light("ink"), elinewidth=0.9)
        for place, m in zip(places, found, strict=True):
            beside(axes, place, units.interval(m.seconds))
        if len(teams) > 1:
            axes.scatter([], [], marker="s", color=light("blue"), alpha=pale, label=units.count(workers, found[0].kind))
    axes.set_yticks(range(len(cases)), cases)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 2, 2 * max(medians))
        log_ticks(axes.xaxis, (4 * max(medians) / min(medians)) ** 1.5)  # names are wider than high
    else:
        highest = max([m.seconds.high for m in group.measured if np.isfinite(m.seconds.high)] + medians)
        axes.set_xlim(0, 1.03 * min(highest, LONGEST * max(medians)))
        axes.xaxis.set_major_locator(MaxNLocator(4))
    time_axis(axes.xaxis)
    axes.set_xlabel("time of one operation")
