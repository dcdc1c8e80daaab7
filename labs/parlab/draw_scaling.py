"""Pictures of scaling: the speed-up over the workers against the best serial program, with the ideal, the law and the bound."""

from typing import Any

import numpy as np

from parlab.draw_times import names
from parlab.drawing import BOUND, IDEAL, MODEL, points, workers_axis
from parlab.groups import Group
from parlab.scaling import law
from parlab.theme import light


def best(group: Group) -> str:
    """Return the case with the largest speed-up."""
    return max((group.speed_up(m).median, group.name(m)) for m in group.measured if m.verified)[1]


def scaling(axes: Any, group: Group) -> None:
    """Draw the speed-up of each case: points with intervals; lines: ideal, the bound, and the law of the best case."""
    verified = [m for m in group.measured if m.verified]
    workers = sorted({m.workers for m in verified})
    axes.plot(workers, workers, label="ideal", **IDEAL)
    cases = [name for name in names(group, verified) if name != "serial"]
    for i, name in enumerate(cases):
        found = sorted((m for m in verified if group.name(m) == name), key=lambda m: m.workers)
        beside = 1 + 0.012 * (i - len(cases) / 2)  # not on top of each other
        points(axes, beside * np.array([m.workers for m in found]), [group.speed_up(m) for m in found], name, i)
    ups = [group.speed_up(m).median for m in verified]
    _bound(axes, group)
    _law(axes, group)
    crowded = [m.workers for m in verified if m.how["oversubscribed"]]
    if crowded:
        axes.axvspan(min(crowded) / 1.3, max(crowded) * 1.3, color=light("shade"), zorder=0, label="more than cores")
    workers_axis(axes, workers, verified[0].kind)
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(ups) / 1.4, 1.4 * max(*ups, *workers))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
    axes.set_ylabel("speed-up")


def _law(axes: Any, group: Group) -> None:
    """Draw the law of the best case, where it has the points to carry one."""
    name, serial = best(group), group.serial(0)
    samples = {m.workers: m.samples for m in group.measured if group.name(m) == name and not m.how["oversubscribed"]}
    if name == "serial" or len(samples) < 3:
        return
    fitted = law(samples, serial.samples, group.weak)
    p = np.geomspace(1, max(samples), 40)
    up = [serial.seconds.median * (q if group.weak else 1) / fitted.predict(q) for q in p]
    axes.plot(p, up, color=light("ink"), label=f"{fitted.model}, {name}", **MODEL)


def _bound(axes: Any, group: Group) -> None:
    """Draw the speed-up that a program at the bound would have, where one was measured beside the cases."""
    serial = group.serial(0)
    bounds = {m.workers: m.bound for m in group.measured if m.verified and m.bound and group.name(m) != "serial"}
    if len(bounds) > 1:
        up = [serial.seconds.median * (p if group.weak else 1) / b.seconds for p, b in sorted(bounds.items())]
        label = f"bound: {next(iter(bounds.values())).name}"
        axes.plot(sorted(bounds), up, label=label, **(BOUND | {"linewidth": 1, "linestyle": ":"}))
