"""One panel of a picture: points with intervals where something was measured, lines where a model or a bound is."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from parlab import units
from parlab.groups import Group
from parlab.records import Curve, Lanes, Measurement
from parlab.scaling import law
from parlab.stats import Interval

MARKERS = "osD^vPX*<>hp"
BOUND = "#888888"
MOST_TICKS = 6
DECADES = 10  # values whose largest is this many times the smallest are drawn on a logarithmic axis
FEW_DECADES, FEWER_DECADES = (
    2.5,
    1.8,
)  # below this a logarithmic axis also names 2 and 5: upright, and along the narrow side
MOST_CURVES = 12  # more cannot be told apart: they become bars, for the largest team
LABEL_POINTS = 170  # points of height for the labels of all rows together
NARROW = 1024  # a sweep from 0 up to this is drawn on a linear axis, so that the 0 has a place
MOST_POINTS = 20  # of a line of findings that are drawn one by one
CHARACTER = 0.009  # share of a timeline's width that a character takes


def sweep(axes: Any, group: Group, workers: int) -> None:
    """Time along the swept parameter; dashed: predicted."""
    linear = 0 in map(group.at, group.measured) and max(map(group.at, group.measured)) <= NARROW
    drawn = [m for m in group.measured if (linear or group.at(m) > 0) and "'s " not in group.name(m)]
    measured = [m for m in drawn if m.workers == workers]
    bounded = any(m.verified for m in measured)
    for i, name in enumerate(_names(group, drawn)):  # of all teams: a case keeps its colour from panel to panel
        points = sorted((m for m in measured if group.name(m) == name), key=group.at)
        if not points:
            continue
        x = np.array([group.at(m) for m in points])
        if bounded and not points[0].verified:  # the floor: a line, for nothing lies below it
            bound = {"color": BOUND, "linewidth": 1.5, "label": f"{name} (bound)"}
            if len(points) > 1:
                axes.plot(x, [m.seconds.median for m in points], **bound)
            else:  # measured once, it bounds all
                axes.axhline(points[0].seconds.median, **bound)
            continue
        _errorbar(axes, x, [m.seconds for m in points], name, i)
        told = [(group.at(m), m.prediction.seconds) for m in points if m.prediction]
        if told:
            axes.plot(*zip(*told, strict=True), color=_colour(i), linestyle="--", linewidth=0.9)
    if not linear:
        axes.set_xscale("log", base=2)
    _time_scale(axes, [m.seconds.median for m in measured])
    ticks = sorted({group.at(m) for m in measured})
    ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
    axes.set_xticks(ticks, [group.tick(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(group.along.replace("_", " ").replace("bytes", "size").strip())
    _seconds_axis(axes.yaxis)
    axes.set_ylabel("time of one operation" + (" (dashed: predicted)" if any(m.prediction for m in measured) else ""))
    crowded = any(m.how["oversubscribed"] for m in measured)
    many = units.count(workers, group.measured[0].kind) + (" (more than cores)" if crowded else "")
    _finish(axes, f"{group.title}, {many}".removeprefix(", "))


def scaling(axes: Any, group: Group) -> None:
    """Speed-up over the workers against the best serial program, with the ideal line and the law of the best case."""
    verified = [m for m in group.measured if m.verified]
    serial = group.serial(0)
    workers = sorted({m.workers for m in verified})
    axes.plot(workers, workers, color=BOUND, linewidth=1, label="ideal")
    names = [name for name in _names(group, verified) if name != "serial"]
    best, best_speed = "", 0.0
    for i, name in enumerate(names):
        points = sorted((m for m in verified if group.name(m) == name), key=lambda m: m.workers)
        ups = [group.speed_up(m) for m in points]
        spread = 1 + 0.012 * (i - len(names) / 2)  # side by side, not on top of each other
        _errorbar(axes, spread * np.array([m.workers for m in points]), ups, name, i)
        if ups[-1].median > best_speed:
            best, best_speed = name, ups[-1].median
    samples = {m.workers: m.samples for m in verified if group.name(m) == best and not m.how["oversubscribed"]}
    if len(samples) > 2:
        fitted = law(samples, serial.samples, group.weak)
        p = np.geomspace(1, max(samples), 50)
        up = [serial.seconds.median * (q if group.weak else 1) / fitted.predict(q) for q in p]
        axes.plot(p, up, color="#333333", linestyle="--", linewidth=1, label=f"{fitted.model}, {best}")
    crowded = [m.workers for m in verified if m.how["oversubscribed"]]
    if crowded:
        axes.axvspan(
            min(crowded) / 1.3,
            max(crowded) * 1.3,
            color="#f3e3c3",
            alpha=0.5,
            zorder=0,
            label="more workers than cores",
        )
    _workers_axis(axes, workers, serial.kind)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.set_ylabel("speed-up")
    _finish(axes, f"{group.title}\nserial: {units.interval(serial.seconds)}".strip())


def bars(axes: Any, group: Group) -> None:
    """Times side by side: bars for one team of workers, curves over the workers where there are more."""
    workers = sorted({m.workers for m in group.measured})
    names = _names(group, group.measured)
    if len(workers) > 2 and len(names) <= MOST_CURVES:
        for i, name in enumerate(names):
            points = sorted((m for m in group.measured if group.name(m) == name), key=lambda m: m.workers)
            _errorbar(axes, np.array([m.workers for m in points]), [m.seconds for m in points], name, i, "-")
        _workers_axis(axes, workers, group.measured[0].kind)
        _time_scale(axes, [m.seconds.median for m in group.measured])
        _seconds_axis(axes.yaxis)
        axes.set_ylabel("time of one operation")
        _finish(axes, group.title)
        return
    shown = {group.name(m): m for m in group.measured if m.workers == workers[-1]}
    medians = [m.seconds.median for m in shown.values()]
    places = np.arange(len(shown))[::-1]
    axes.barh(places, medians, color=[_colour(0) if m.verified else BOUND for m in shown.values()], height=0.6)
    axes.errorbar(medians, places, xerr=_limits([m.seconds for m in shown.values()]), fmt="none", ecolor="#333333")
    axes.set_yticks(places, list(shown), fontsize=min(9, LABEL_POINTS / len(shown)))
    axes.grid(axis="y", visible=False)
    if max(medians) > DECADES * min(medians):
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 3)
        _log_ticks(axes.xaxis, 3 * max(medians) / min(medians), FEWER_DECADES)
    _seconds_axis(axes.xaxis)
    axes.set_xlabel("time of one operation")
    many = units.count(workers[-1], group.measured[0].kind)
    axes.set_title(f"{group.title}, {many}".removeprefix(", "), fontsize=9)


def timeline(axes: Any, kept: Lanes, right: float) -> None:
    """Who did what when: a lane for each worker, a box for each span, up to `right` seconds.

    The spans of "h2d 0", "h2d 1" ... have one colour in every lane and panel: their first word's. Where labels are of one word, the lane's.
    """
    words = list(dict.fromkeys(label.split(" ")[0] for _, spans in kept.lanes for *_, label in spans))
    small = min(9, LABEL_POINTS / len(kept.lanes))
    for row, (_, spans) in enumerate(kept.lanes):
        boxes, colours = [], []
        for i, (begin, end, label) in enumerate(spans):
            word, _, rest = label.partition(" ")
            hue = words.index(word) % 5 if rest else row % 4
            colours.append(mpl.color_sequences["tab20c"][4 * hue + (int(rest) if rest.isdigit() else i) % 2])
            boxes.append((begin, end - begin))
            for text in (label, rest):  # what fits
                if text and end - begin > CHARACTER * max(2, len(text)) * right:
                    axes.text((begin + end) / 2, row, text, ha="center", va="center", fontsize=min(5, small))
                    break
        axes.broken_barh(
            boxes, (row - 0.35, 0.7), facecolors=colours, edgecolors=colours, linewidth=0.3
        )  # thin ones show
    axes.set_xlim(0, right)
    axes.set_yticks(range(len(kept.lanes)), [name for name, _ in kept.lanes], fontsize=small)
    axes.set_ylim(len(kept.lanes) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    _seconds_axis(axes.xaxis)
    axes.set_xlabel("time")
    axes.set_title(kept.title, fontsize=9)


def curve(axes: Any, kept: Curve) -> None:
    """Findings along a number: points with intervals, where there are many a line in a band; dashed: what a model says."""
    for i, (name, points) in enumerate(kept.lines.items()):
        x, y, *limits = np.array(sorted(points)).T
        if not limits:
            axes.plot(x, y, "--", color="#333333", linewidth=1, label=name)
        elif len(points) > MOST_POINTS:
            axes.plot(x, y, color=_colour(i), linewidth=1, label=name)
            axes.fill_between(x, *limits, color=_colour(i), alpha=0.2, linewidth=0)
        else:
            values = [Interval(middle, low, high, 0) for middle, low, high in zip(y, *limits, strict=True)]
            _errorbar(axes, x, values, name, i, "-")
    axes.set_xlabel(kept.x)
    axes.set_ylabel(kept.y)
    if kept.logx:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if kept.logy:
        axes.set_yscale("log")
        found = [point[1] for points in kept.lines.values() for point in points]
        _log_ticks(axes.yaxis, max(found) / min(found), FEW_DECADES)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _finish(axes, kept.title)


def _names(group: Group, measured: list[Measurement]) -> list[str]:
    return list(dict.fromkeys(group.name(m) for m in measured))


def _colour(i: int) -> Any:
    return mpl.color_sequences["tab20"][(2 * i + i // 10) % 20]  # the ten strong colours, then the ten light ones


def _limits(values: list[Interval]) -> Any:
    """Return the lengths of the bars to both sides; an unbounded side gets none."""
    lengths = [[v.median - v.low for v in values], [v.high - v.median for v in values]]
    return np.nan_to_num(np.array(lengths), posinf=0.0)


def _errorbar(axes: Any, x: Any, values: list[Interval], name: str, i: int, line: str = "") -> None:
    axes.errorbar(
        x,
        [v.median for v in values],
        yerr=_limits(values),
        fmt=MARKERS[i % len(MARKERS)] + line,
        color=_colour(i),
        markersize=4.5,
        linewidth=0.8,
        elinewidth=1,
        label=name,
    )


def _workers_axis(axes: Any, workers: list[int], kind: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(workers, [str(w) for w in workers])
    axes.set_xlabel(kind)


def _time_scale(axes: Any, values: list[float]) -> None:
    """Show times on a logarithmic axis where they differ much, else from 0."""
    if max(values) > DECADES * min(values):
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, max(values) / min(values), FEW_DECADES)
    else:
        axes.set_ylim(0, 1.2 * max(values))


def _log_ticks(axis: Any, ratio: float, few: float) -> None:
    """Name the decades; where from the smallest value to the largest there are only a few, 2 and 5, too."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if np.log10(ratio) < few else (1,)))
    axis.set_minor_locator(NullLocator())


def _seconds_axis(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: units.seconds(value) if value else "0")


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9)
    beside: Any = (
        {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(axes.get_legend_handles_labels()[1]) > 4 else {}
    )
    axes.legend(fontsize=7, frameon=False, **beside)
