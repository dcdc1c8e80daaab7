"""From a panel to an SVG: drawn by matplotlib, made small, and put into a page (colours by name) or, with others, into a file.

Text stays text and takes the font of where it stands. Identifiers are those of the picture: a page holds many.
"""

import io
import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from parlab.panels import Panel
from parlab.theme import COLOURS, light

WIDTH, LEAST_WIDTH = 4.0, 560  # inches of a picture; points of a file, for its heading
POINTS = 72  # an inch
ACROSS, GAP = 3, 14.0  # pictures side by side in a file, and points between them
TITLE_CHARACTERS, HEADING_CHARACTER = 54, 7  # in a line; points that a character of the heading takes
LEGEND_LINE = 0.17  # inches
LEGEND: Any = {"loc": "outside lower left", "borderpad": 0.2}
STYLE: Any = {
    "font.size": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": light("ink"),
    "axes.labelcolor": light("ink"),
    "xtick.labelcolor": light("ink"),
    "ytick.labelcolor": light("ink"),
    "axes.edgecolor": light("axis"),
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": light("grid"),
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.columnspacing": 1,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.6,
    "svg.fonttype": "none",
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
LINES = "path,use{stroke-linejoin:round;stroke-linecap:butt}"
DRAWING = ("path", "use", "text")
BOX = r"M(\S+) (\S+?)L\1 (\S+?)L(\S+?) \3L\4 \2z"  # a path around a box that goes up first
UPRIGHT = r"M(\S+) (\S+?)L\1 ([^\sA-Za-z]+)"  # a line that does, as an interval
UNUSED = (  # namespaces, what is about the file, fonts, turns by nothing
    r"<\?xml[^>]*>|<!DOCTYPE[^>]*>|<metadata>.*</metadata>",
    r' xmlns(:\w+)?="[^"]*"|(?<= )xlink:',
    r' font-family: [^;"]*;| ?transform="rotate\(-?0 [^"]*"',
)
NAMES = {drawn: name for name, (drawn, _) in COLOURS.items()}


@dataclass(frozen=True)
class Picture:
    """A drawn panel: the elements of an SVG of this width and height, in points."""

    what: str
    title: str
    says: str
    width: float
    height: float
    body: str


def picture(panel: Panel) -> Picture:
    """Draw a panel."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine()
        figure = Figure(layout=layout)
        axes = figure.subplots()
        panel.draw(axes)
        axes.yaxis.label.set_rotation_mode("anchor")  # it is then centred in the reader's font, too
        height = panel.height + 0.35 + LEGEND_LINE * _legend(figure, axes)
        figure.set_size_inches(WIDTH, height)
        layout.execute(figure)
        figure.set_layout_engine("none")  # done: to save would lay it out again, and draw it twice
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True)
    return Picture(panel.what, panel.title, panel.says, WIDTH * POINTS, height * POINTS, _slim(drawn.getvalue()))


class Album:
    """Where many pictures stand together: each style is named once, a class stands for it; identifiers are numbered by picture."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.pictures = 0

    def add(self, body: str) -> str:
        """Return the body as it stands among the others."""
        self.pictures += 1
        body = re.sub(r'( id="|href="#|url\(#)@', rf"\1i{self.pictures}-", body)
        return re.sub(r'style="([^"]*)"', lambda style: f'class="{self._named(style[1])}"', body)

    def _named(self, style: str) -> str:
        return self.names.setdefault(style, f"p{len(self.names)}")

    def css(self) -> str:
        """Return the classes of all bodies so far, with the colours as drawn."""
        return LINES + "".join(f".{name}{{{style}}}" for style, name in self.names.items())


def by_name(css: str) -> str:
    """Replace each colour by its name, so that a page can show it by night, too."""
    return re.sub("#[0-9a-f]{6}", lambda found: f"var(--{NAMES[found[0]]})", css)


def combined(pictures: Sequence[Picture], heading: str, foot: str) -> str:
    """Set pictures side by side, each under the column that is shortest, in one file with a light ground of its own."""
    album = Album()
    across = min(ACROSS, len(pictures))
    wide = WIDTH * POINTS + GAP
    width = max(wide * across - GAP, LEAST_WIDTH)
    heads = textwrap.wrap(heading, int(width / HEADING_CHARACTER))
    parts = [_text(line, 0, 14 * i, 11, bold=True) for i, line in enumerate(heads)]
    down = [GAP * (1 + len(heads))] * across
    for one in pictures:
        i = down.index(min(down))
        lines = textwrap.wrap(one.title, TITLE_CHARACTERS)
        parts += [_text(line, i * wide, down[i] + 12 * n, 9) for n, line in enumerate(lines)]
        box = f'x="{i * wide:.4g}" y="{down[i] + 12 * len(lines) - 6:.4g}" width="{one.width:.4g}" height="{one.height:.4g}"'
        parts.append(f"<svg {box}><title>{escape(one.title)}</title>{album.add(one.body)}</svg>")
        down[i] += 12 * len(lines) + one.height + GAP
    parts.append(_text(foot, 0, max(down), 7))
    width, height = width + 2 * GAP, max(down) + 2 * GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-GAP} {-GAP} {width:.4g} {height:.4g}" width="{width:.4g}pt"'
        f' font-family="{FONT}" role="img"><title>{escape(heading)}</title><style>{album.css()}</style>'
        f'<rect x="{-GAP}" y="{-GAP}" width="100%" height="100%" fill="{light("ground")}"/>{"".join(parts)}</svg>\n'
    )


def _text(words: str, x: float, y: float, size: float, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.4g}" y="{y:.4g}" font-size="{size:g}"{weight} fill="{light("ink")}">{escape(words)}</text>'


def _legend(figure: Figure, axes: Any) -> int:
    """Put a legend under the axes, in as many columns as fit; return its lines."""
    names = axes.get_legend_handles_labels()[1]
    for columns in range(min(4, len(names)), 0, -1):
        legend = figure.legend(*axes.get_legend_handles_labels(), ncols=columns, **LEGEND)
        if columns == 1 or legend.get_window_extent().width <= WIDTH * figure.dpi:
            return -(-len(names) // columns)
        legend.remove()
    return 0


def _slim(text: str) -> str:
    """Keep the elements that draw, with short numbers; identifiers become @0, @1; neighbours of one style become one path."""
    for gone in UNUSED:
        text = re.sub(gone, "", text, flags=re.DOTALL)
    root = ET.fromstring(text)
    defined = [child for defs in root.iter("defs") for child in defs if child.tag != "style"]
    within = {id(element) for child in defined for element in child.iter()}
    drawn: list[ET.Element] = []
    for element in root.iter():
        if element.tag not in DRAWING or id(element) in within or element.get("style") == "fill: none":
            continue
        if drawn and _alike(drawn[-1], element):
            drawn[-1].set("d", drawn[-1].get("d", "") + element.get("d", ""))
        else:
            drawn.append(element)
    kept = f"<defs>{_text_of(defined)}</defs>{_text_of(drawn)}"
    names = {long: f"@{i}" for i, long in enumerate(re.findall(r' id="(\w+)"', kept))}
    return re.sub(r'(?<=[#"])\w{11}(?=[)"])', lambda found: names.get(found[0], found[0]), kept)


def _alike(before: ET.Element, element: ET.Element) -> bool:
    """Whether two elements are paths that differ in nothing but where they are."""
    return before.tag == element.tag == "path" and {**before.attrib, "d": ""} == {**element.attrib, "d": ""}


def _text_of(elements: Iterable[ET.Element]) -> str:
    """Write elements, with numbers as short as a hundredth of a point needs, a tenth where they are large."""
    for top in elements:
        for element in top.iter():
            element.tail = None
            for key in {"d", "x", "y", "transform", "width", "height"} & element.attrib.keys():
                value = re.sub(r"\s*([A-Za-z])\s*|\s+$", r"\1", element.attrib[key])
                value = re.sub(r"-?\d+\.\d+", _short, value)
                element.set(key, re.sub(UPRIGHT, r"M\1 \2V\3", re.sub(BOX, r"M\1 \2V\3H\4V\2z", value)))
    return "".join(ET.tostring(element, encoding="unicode") for element in elements)


def _short(number: re.Match[str]) -> str:
    value = float(number[0])
    return f"{round(value, 1 if abs(value) >= 10 else 2) + 0.0:g}"  # + 0.0: no -0
