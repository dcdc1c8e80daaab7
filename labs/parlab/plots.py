"""One picture of each lab, drawn from records: points with intervals where something was measured, lines where a model or a bound is.

A sweep becomes time against size, a panel for each number of workers; a scaling lab becomes speed-up against workers, a panel for
each problem, with the ideal line and the law of the best case.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from parlab import machine, units
from parlab.bench import AGAIN
from parlab.catalogue import Lab, labs
from parlab.errors import ParlabError
from parlab.results import Measurement, Run
from parlab.scaling import law, speed_up

WIDTH, HEIGHT = 4.6, 4.2  # inches of a panel
LEAST_WIDTH = 8.2  # inches, for the question and the machine to fit in one line
MOST_PANELS = 3
STYLE: Any = {
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}
MARKERS = "osD^vPX*<>hp"


def draw_all(run: Run, folder: Path) -> list[Path]:
    """Draw every lab of a run; return the files."""
    return [path for name in run.labs() if name in labs() and (path := draw(labs()[name], run, folder))]


def draw(lab: Lab, run: Run, folder: Path) -> Path | None:
    """Write folder/LAB.svg; None where the lab measured nothing. Raises ParlabError when the file cannot be written."""
    measured = [r for r in run.of(lab.id) if isinstance(r, Measurement)]
    if not measured:
        return None
    with mpl.rc_context(STYLE):
        figure = {"sweep": _sweep, "scaling": _scaling}[lab.layout](lab, measured)
        figure.suptitle(lab.question, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.text(0.01, 0.005, machine.one_line(run.header["machine"]), fontsize=7, color="#555555")
        path = folder / f"{lab.id}.svg"
        try:
            figure.savefig(path)
        except OSError as error:
            raise ParlabError(f"cannot write {path}: {error.strerror}") from None
    return path


def _sweep(lab: Lab, measured: list[Measurement]) -> Figure:
    """Time against size for the contrast with the most cases, at the largest numbers of workers."""
    names: dict[str, set[str]] = {}
    for m in measured:
        names.setdefault(_title(m, lab), set()).add(str(m.case[lab.columns]))
    headline = max(names, key=lambda title: len(names[title]))
    group = [m for m in measured if _title(m, lab) == headline and m.case.get("bytes", 0)]
    group = [m for m in group if not str(m.case[lab.columns]).endswith(AGAIN) and "'s " not in str(m.case[lab.columns])]
    workers = sorted({m.workers for m in group if m.workers > 1})[-MOST_PANELS:]
    figure, panels = _figure(len(workers))
    cases = list(dict.fromkeys(str(m.case[lab.columns]) for m in group))
    for panel, count in zip(panels, workers, strict=True):
        for i, name in enumerate(cases):
            points = sorted((m for m in group if m.workers == count and m.case[lab.columns] == name), key=_bytes)
            if points:
                _points(panel, points, name, i)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        ticks = sorted({_bytes(m) for m in group})
        panel.set_xticks(ticks[:: -(-len(ticks) // 6)], [units.nbytes(n) for n in ticks[:: -(-len(ticks) // 6)]])
        panel.minorticks_off()
        panel.set_xlabel("size of the message or vector")
        panel.yaxis.set_major_formatter(lambda value, _: units.seconds(value))
        crowded = any(m.how["oversubscribed"] for m in group if m.workers == count)
        panel.set_title(
            f"{headline.partition(' ')[2]}, {count} {group[0].kind}" + (" (more than cores)" if crowded else ""),
            fontsize=9,
        )
    panels[0].set_ylabel("time of one operation")
    return _legend(figure, panels, "dashed: predicted by Hockney's model" if any(m.prediction for m in group) else "")


def _points(panel: Any, points: list[Measurement], name: str, i: int) -> None:
    x = np.array([_bytes(m) for m in points])
    y, below, above = np.array([[m.seconds.median, m.seconds.low, m.seconds.high] for m in points]).T
    if not points[0].verified:  # the floor: a line, for nothing lies below it
        panel.plot(x, y, color="#888888", linewidth=1.5, label=f"{name} (bound)")
        return
    limits = np.nan_to_num([y - below, above - y], posinf=0.0)
    colour = mpl.color_sequences["tab20" if i >= 10 else "tab10"][i % 10]
    panel.errorbar(
        x, y, yerr=limits, fmt=MARKERS[i % len(MARKERS)], color=colour, markersize=4.5, elinewidth=1, label=name
    )
    if any(m.prediction for m in points):
        told = [(n, m.prediction.seconds) for n, m in zip(x, points, strict=True) if m.prediction]
        panel.plot(*zip(*told, strict=True), color=colour, linestyle="--", linewidth=0.9)


def _scaling(lab: Lab, measured: list[Measurement]) -> Figure:
    """Speed-up against the best serial program, a panel for each problem."""
    groups: dict[str, list[Measurement]] = {}
    for m in measured:
        if m.verified:
            groups.setdefault(_title(m, lab), []).append(m)
    figure, panels = _figure(len(groups))
    cases = [
        name for name in dict.fromkeys(str(m.case[lab.columns]) for m in measured if m.verified) if name != "serial"
    ]
    for panel, (title, group) in zip(panels, groups.items(), strict=True):
        serial = next((m for m in group if m.case[lab.columns] == "serial"), None)
        if serial is None:
            continue
        weak = serial.case.get("scaling") == "weak"
        workers = np.array(sorted({m.workers for m in group}))
        panel.plot(workers, workers, color="#888888", linewidth=1, label="ideal")
        best, best_speed = "", 0.0
        for i, name in enumerate(cases):
            points = sorted((m for m in group if m.case[lab.columns] == name), key=lambda m: m.workers)
            ups = [speed_up(np.array(serial.samples) * (m.workers if weak else 1), m.samples) for m in points]
            y, low, high = np.array([[s.median, s.low, s.high] for s in ups]).T
            limits = np.nan_to_num([y - low, high - y], posinf=0.0)
            spread = 1 + 0.012 * (i - len(cases) / 2)  # side by side, not on top of each other
            colour = mpl.color_sequences["tab10"][i % 10]
            x = spread * np.array([m.workers for m in points])
            panel.errorbar(x, y, yerr=limits, fmt=MARKERS[i], color=colour, markersize=4.5, elinewidth=1, label=name)
            if y[-1] > best_speed:
                best, best_speed = name, float(y[-1])
        _law(panel, [m for m in group if m.case[lab.columns] == best], serial, weak)
        crowded = [m.workers for m in group if m.how["oversubscribed"]]
        if crowded:
            panel.axvspan(min(crowded) / 1.3, max(crowded) * 1.3, color="#f3e3c3", alpha=0.5, zorder=0)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xticks(workers, [str(w) for w in workers])
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.set_xlabel(f"{serial.kind}")
        panel.set_title(f"{title}\nserial: {units.interval(serial.seconds)}", fontsize=9)
    panels[0].set_ylabel("speed-up against the best serial program")
    return _legend(figure, panels, "shaded: more workers than cores")


def _law(panel: Any, points: list[Measurement], serial: Measurement, weak: bool) -> None:
    samples = {m.workers: m.samples for m in points if not m.how["oversubscribed"]}
    fitted = law(samples, serial.samples, weak)
    if len(samples) > 2:
        p = np.geomspace(1, max(samples), 50)
        up = [serial.seconds.median * (q if weak else 1) / fitted.predict(q) for q in p]
        panel.plot(p, up, color="#333333", linestyle="--", linewidth=1, label=f"{fitted.model}, best case")


def _figure(count: int) -> tuple[Figure, list[Any]]:
    layout = ConstrainedLayoutEngine(rect=(0, 0.04, 1, 0.94))  # room for the question above and the machine below
    figure = Figure(figsize=(max(WIDTH * count + 2.0, LEAST_WIDTH), HEIGHT), layout=layout)
    return figure, list(np.atleast_1d(figure.subplots(1, count, sharey=True)))


def _legend(figure: Figure, panels: list[Any], note: str) -> Figure:
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside right center",
        fontsize=8,
        frameon=False,
        title=note,
        title_fontsize=7,
    )
    return figure


def _title(m: Measurement, lab: Lab) -> str:
    return ", ".join(f"{key} {value}" for key, value in m.case.items() if key not in (lab.columns, "bytes"))


def _bytes(m: Measurement) -> float:
    return float(m.case["bytes"])
