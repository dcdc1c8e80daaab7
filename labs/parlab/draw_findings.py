"""Pictures of findings that are not times: along a number, and what was counted beside what a law says."""

from collections.abc import Callable, Mapping
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from parlab import units
from parlab.drawing import MOST_TICKS, beside, log_ticks, name_values, points
from parlab.records import Curve
from parlab.stats import Interval
from parlab.theme import light, series

MOST_POINTS = 20  # of a line that are drawn one by one
LABEL = 34  # characters of an upright label, in a line
DASHES = ("--", "-.", ":")  # of models


def curve(axes: Any, kept: Curve) -> None:
    """Draw findings along a number: points with intervals, where there are many a line in a band; dashed: what a model says."""
    models = 0
    for i, (name, found) in enumerate(kept.lines.items()):
        x, y, *edges = np.array(sorted(found)).T
        if not edges:
            axes.plot(x, y, DASHES[models % len(DASHES)], color=light("ink"), linewidth=1, label=name)
            models += 1
        elif len(found) > MOST_POINTS:
            axes.plot(x, y, color=series(i), linewidth=1, label=name)
            axes.fill_between(x, *edges, color=series(i), alpha=0.2, linewidth=0)
        else:
            values = [Interval(middle, low, high, 0) for middle, low, high in zip(y, *edges, strict=True)]
            points(axes, x, values, name, i, joined=True)
    axes.set_xlabel(kept.x)
    axes.set_ylabel("\n".join(wrap(kept.y, LABEL)))
    _x_axis(axes, kept)
    if kept.logy and kept.y == "bytes":
        axes.set_yscale("log", base=2)
    elif kept.logy:
        axes.set_yscale("log")
        heights = [point[1] for line in kept.lines.values() for point in line]
        log_ticks(axes.yaxis, max(heights) / min(heights))
    axes.yaxis.set_major_formatter(lambda value, _: _writer(kept.y)(value))


def _x_axis(axes: Any, kept: Curve) -> None:
    """Name the values at which something was found, where these are whole and few, or on a logarithmic axis."""
    x = sorted({point[0] for line in kept.lines.values() for point in line})
    whole = all(value == int(value) for value in x)
    if kept.logx:
        axes.set_xscale("log", base=2 if whole else 10)
    if whole and (kept.logx or len(x) <= MOST_TICKS):
        name_values(axes.xaxis, x, _writer(kept.x), not kept.logx)
    elif kept.logx:
        log_ticks(axes.xaxis, max(x) / min(x))
        axes.xaxis.set_major_formatter(lambda value, _: _number(value))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS, integer=whole))


def _writer(what: str) -> Callable[[float], str]:
    return units.nbytes if what == "bytes" else _number


def _number(value: float) -> str:
    """Write a number without a unit; a large one with a prefix."""
    return f"{value:g}" if abs(value) < 1e4 else str(EngFormatter(sep="")(float(f"{value:.3g}")))


def against_law(axes: Any, found: Mapping[str, tuple[float, float]], what: str) -> None:
    """Draw what was counted as bars, and across each the law. found: by case what was counted and what the law says."""
    places = range(len(found))
    counted, laws = zip(*found.values(), strict=True)
    axes.barh(places, counted, color=light("teal"), height=0.6, label="counted")
    axes.plot(laws, places, "|", markersize=13, markeredgewidth=1.6, color=light("ink"), label="law")
    for place, (value, _) in zip(places, found.values(), strict=True):
        beside(axes, place, f"{value:.4g}")
    axes.set_yticks(places, list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0, 1.08 * max(*counted, *laws))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(what)
