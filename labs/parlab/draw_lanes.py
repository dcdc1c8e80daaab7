"""Pictures of timelines: who did what when."""

from typing import Any

from matplotlib.ticker import MaxNLocator

from parlab.drawing import time_axis
from parlab.records import Lanes
from parlab.theme import series

CHARACTER = 0.017  # share of a timeline's width that a character takes
FINEST = 1 / 800  # share of it that the eye still sees


def timeline(axes: Any, kept: Lanes, right: float) -> None:
    """Draw a lane for each worker, a box for each span, up to `right` seconds.

    The spans of "h2d 0", "h2d 1" ... have one colour in every lane and picture, their first word's; where labels are of one word, the
    lane's. Neighbours differ in strength.
    """
    words = list(dict.fromkeys(label.split(" ")[0] for _, spans in kept.lanes for *_, label in spans))
    small = min(6.0, 130 / len(kept.lanes))
    for row, (_, spans) in enumerate(kept.lanes):
        boxes: dict[tuple[str, float], list[tuple[float, float]]] = {}
        for i, (begin, end, label) in enumerate(spans):
            word, _, rest = label.partition(" ")
            colour = series(words.index(word) if rest else row % 4)
            strength = (0.66, 0.38)[(int(rest) if rest.isdigit() else i) % 2]
            boxes.setdefault((colour, strength), []).append((begin, end - begin))
            for text in (label, rest):  # what fits
                if text and end - begin > CHARACTER * max(2, len(text)) * right:
                    axes.text((begin + end) / 2, row, text, ha="center", va="center", fontsize=small)
                    break
        for (colour, strength), places in boxes.items():  # the edges show thin ones
            faces = {"facecolors": (colour, strength), "edgecolors": colour, "linewidth": 0.3}
            axes.broken_barh(_seen(places, FINEST * right), (row - 0.38, 0.76), **faces)
    axes.set_xlim(0, right)
    names = [name for name, _ in kept.lanes]
    axes.set_yticks(range(len(names)), names, fontsize=min(8.0, 230 / len(names)))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    time_axis(axes.xaxis)
    axes.set_xlabel("time")


def _seen(places: list[tuple[float, float]], finest: float) -> list[tuple[float, float]]:
    """Join the boxes (begin, length) of one colour between which no gap is seen."""
    joined: list[tuple[float, float]] = []
    for begin, length in sorted(places):
        if joined and begin - sum(joined[-1]) < finest and joined[-1][1] < finest:
            joined[-1] = joined[-1][0], begin + length - joined[-1][0]
        else:
            joined.append((begin, length))
    return joined
