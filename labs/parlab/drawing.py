"""What all pictures are drawn with: markers with intervals, axes of time, of workers and of sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from parlab import units
from parlab.stats import Interval
from parlab.theme import SERIES, light, series

MARKERS = "osD^vPX*<>hp"
DECADES = 10  # values whose largest is this many times the smallest are drawn on a logarithmic axis
FEW_DECADES = 2.5  # below this a logarithmic axis also names 2 and 5
MOST_TICKS = 6
BOUND: Any = {"color": light("grey"), "linewidth": 1.6}
IDEAL: Any = {"color": light("muted"), "linewidth": 1}
MODEL: Any = {"linestyle": "--", "linewidth": 1}


def limits(values: Sequence[Interval]) -> Any:
    """Return the lengths of the intervals to both sides, (2, n); an unbounded side gets none."""
    lengths = [[v.median - v.low for v in values], [v.high - v.median for v in values]]
    return np.nan_to_num(np.array(lengths), posinf=0.0)


def points(axes: Any, x: Any, values: Sequence[Interval], name: str, i: int, joined: bool = False) -> None:
    """Draw what was measured: a marker and its interval, by the colour and the shape of line i; joined: with a thin line between."""
    medians = [v.median for v in values]
    colour = series(i)
    if joined and len(medians) > 1:
        axes.plot(x, medians, color=colour, linewidth=0.8, alpha=0.5)
    axes.errorbar(
        x,
        medians,
        yerr=limits(values),
        fmt=MARKERS[i % len(MARKERS)],
        color=colour,
        markersize=4.5,
        markerfacecolor=light("ground") if i >= len(SERIES) else colour,
        elinewidth=1,
        label=name,
    )


def beside(axes: Any, place: float, text: str) -> None:
    """Write what a bar shows at the right of the picture."""
    axes.text(1.015, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def time_axis(axis: Any) -> None:
    """Write times with their unit."""
    axis.set_major_formatter(lambda value, _: units.seconds(value) if value else "0")


def time_scale(axes: Any, values: Sequence[float]) -> None:
    """Show times upwards: on a logarithmic axis where they differ much, else from 0."""
    if max(values) > DECADES * min(values):
        axes.set_yscale("log")
        log_ticks(axes.yaxis, max(values) / min(values))
    else:
        axes.set_ylim(0, 1.2 * max(values))
        axes.yaxis.set_major_locator(MaxNLocator(MOST_TICKS))
    time_axis(axes.yaxis)
    axes.set_ylabel("time of one operation")


def log_ticks(axis: Any, ratio: float) -> None:
    """Name the decades; where from the smallest value to the largest there are only a few, 2 and 5, too."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if np.log10(ratio) < FEW_DECADES else (1,)))
    axis.set_minor_locator(NullLocator())


def name_values(axis: Any, values: Sequence[float], write: Callable[[float], str], linear: bool) -> None:
    """Name the values at which something was measured, as far as their names do not touch."""
    kept = apart(sorted(set(values)), linear)
    axis.set_ticks(kept, [write(value) for value in kept])
    axis.set_minor_locator(NullLocator())


def apart(values: Sequence[float], linear: bool) -> list[float]:
    """Pick rising values, the largest first, that lie apart on the axis."""
    at = {value: value if linear else np.log2(value) for value in values}
    kept = [values[-1]]
    for value in reversed(values):
        if at[kept[-1]] - at[value] > (at[values[-1]] - at[values[0]]) / MOST_TICKS:
            kept.append(value)
    return kept


def workers_axis(axes: Any, workers: Sequence[int], kind: str) -> None:
    """Show numbers of workers along, each as far from the next as its double."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(workers) / 1.4, 1.4 * max(workers))
    axes.set_xticks(workers, [str(w) for w in workers])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(kind)
