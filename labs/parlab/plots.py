"""The pictures of a lab, drawn from records: of its groups, a panel each, of its curves and of its timelines, where it kept any.

Timelines are written as a trace, too: a picture cannot be zoomed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from parlab import machine, trace
from parlab.catalogue import Lab, labs
from parlab.errors import ParlabError
from parlab.groups import Group, groups
from parlab.panels import DECADES, bars, curve, scaling, sweep, timeline
from parlab.records import Curve, Lanes, Run

WIDTH, HEIGHT = 5.6, 4.2  # inches of a panel
LEAST_WIDTH = 8.2  # inches, for the question and the machine to fit in one line
ACROSS = 3  # panels side by side
MOST_PANELS = 9
STYLE: Any = {
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}

Panel = Callable[[Any], None]


def draw_all(run: Run, folder: Path) -> list[Path]:
    """Draw every lab of a run; return the files."""
    return [path for name in run.labs() if name in labs() for path in draw(labs()[name], run, folder)]


def draw(lab: Lab, run: Run, folder: Path) -> list[Path]:
    """Write folder/LAB.svg, LAB-curves.svg, LAB-timeline.svg and LAB-trace.json there, each where there is something to show.

    Raises ParlabError when a file cannot be written.
    """
    kept = [r for r in run.of(lab.id) if isinstance(r, Lanes)]
    found = [r for r in run.of(lab.id) if isinstance(r, Curve)]
    pictures: dict[str, Sequence[Panel]] = {
        f"{lab.id}.svg": _panels(groups(lab, run.of(lab.id))),
        f"{lab.id}-curves.svg": [partial(curve, kept=one) for one in found[:MOST_PANELS]],
        f"{lab.id}-timeline.svg": _timelines(kept),
    }
    files = [_save(lab, run, panels, folder / name) for name, panels in pictures.items() if panels]
    return [*files, trace.write(kept, folder / f"{lab.id}-trace.json")] if kept else files


def told(path: Path) -> str:
    """Say what a file is."""
    return f"picture: {path}" if path.suffix == ".svg" else f"trace:   {path}  (https://ui.perfetto.dev opens it)"


def _panels(found: list[Group]) -> Sequence[Panel]:
    """Draw every group; where there are too many, first those that were predicted, which show most."""
    if len(found) > MOST_PANELS:
        found = sorted(found, key=lambda group: not any(m.prediction for m in group.measured))
    return [_panel(group) for group in found][:MOST_PANELS]


def _panel(group: Group) -> Panel:
    """Choose how a group is drawn: a sweep for the largest team whose workers have a core each."""
    if group.shape == "sweep":
        apart = {m.workers for m in group.measured if not m.how["oversubscribed"]}
        return partial(sweep, group=group, workers=max(apart or {m.workers for m in group.measured}))
    return partial(scaling if group.shape == "scaling" else bars, group=group)


def _timelines(kept: list[Lanes]) -> Sequence[Panel]:
    """Draw all on one axis of time, so that lengths compare; what is over ten times as long as the shortest has its own."""
    ends = [lanes.end for lanes in kept[:MOST_PANELS]]
    common = max((end for end in ends if end <= DECADES * min(ends)), default=1.0)
    return [partial(timeline, kept=lanes, right=max(end, common)) for lanes, end in zip(kept, ends, strict=False)]


def _save(lab: Lab, run: Run, panels: Sequence[Panel], path: Path) -> Path:
    with mpl.rc_context(STYLE):
        across = min(ACROSS, len(panels))
        down = -(-len(panels) // across)
        layout = ConstrainedLayoutEngine(
            rect=(0, 0.04 / down, 1, 1 - 0.1 / down)
        )  # room for the question above and the machine below
        figure = Figure(figsize=(max(WIDTH * across, LEAST_WIDTH), HEIGHT * down), layout=layout)
        grid = list(np.atleast_1d(figure.subplots(down, across)).flat)
        for draw_panel, axes in zip(panels, grid, strict=False):
            draw_panel(axes)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.suptitle(lab.question, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.text(0.01, 0.005, machine.one_line(run.header["machine"]), fontsize=7, color="#555555")
        try:
            figure.savefig(path)
        except OSError as error:
            raise ParlabError(f"cannot write {path}: {error.strerror}") from None
    return path
