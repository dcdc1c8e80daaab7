"""What a table says, in plain text: one content for the terminal (table.py) and for the page (report.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parlab.stats import Verdict

Tone = Literal["", "least", "aside", "predicted"]

MARKS: dict[Verdict, str] = {"faster": "▲", "slower": "▼", "same": "=", "cannot tell": "?"}
LEGEND = "▲ faster, ▼ slower, = same as the reference, ? cannot tell"


@dataclass(frozen=True)
class Cell:
    """One cell. spread: half the interval of what was measured. says: a verdict, shown as its mark.

    tone: "least" of its rivals, stressed; "aside": a bound, and "predicted": what a model says, both set back.
    """

    text: str = ""
    spread: str = ""
    says: Verdict | None = None
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """A heading, and how its cells are set: names flush left, numbers flush right, text flush left and broken where it must."""

    name: str
    holds: Literal["names", "numbers", "text"] = "numbers"


@dataclass(frozen=True)
class Sheet:
    """A table. below: lines that stand under it. note: how to read it, the same for all of its kind."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    below: Sequence[str] = ()
    note: str = ""


def filled(rows: Sequence[Mapping[str, Cell]], text: bool = False) -> tuple[list[Column], list[list[Cell]]]:
    """Return the columns in which any row has something to say, and the cells of each row. text: all columns hold text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(row[name].text for row in rows if name in row)]
    columns = [Column(name, "text" if text else "numbers" if i else "names") for i, name in enumerate(names)]
    return columns, [[row.get(name, Cell()) for name in names] for row in rows]
