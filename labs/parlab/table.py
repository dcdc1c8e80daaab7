"""The terminal: heading, progress, the tables of each lab, its conclusions. Everything shown is read from records."""

from collections.abc import Iterable
from pathlib import Path
from textwrap import wrap

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from parlab import machine, results
from parlab.catalogue import RECORDED, Lab, labs
from parlab.header import noise_words
from parlab.records import Conclusion, Fault, Noise, Record, Run, Skip, measured
from parlab.sheet import MARKS, Cell, Sheet
from parlab.tables import proofs, sheets
from parlab.telling import most_telling

VERDICTS = {"faster": "green", "slower": "red", "same": "", "cannot tell": ""}
TONES = {"": "", "least": "bold", "aside": "dim", "predicted": "dim"}

console = Console(width=None if Console().is_terminal else 140, highlight=False)


def heading(header: dict) -> None:  # type: ignore[type-arg]
    """Say on which machine this runs, and how noisy it is."""
    console.print(f"[bold]parlab[/] on {machine.one_line(header['machine'])}")
    words, loud = noise_words(header["noise_before"], None)
    console.print(words, style="bold red" if loud else "dim")
    for other in header["machine"].get("gpus_used_by", []):
        console.print(f"another process uses a GPU: {other} - NOISY", style="bold red")


def ending(run: Run, path: Path) -> None:
    """Say how noisy the machine was, and where the records are."""
    after = next((r.noise_after for r in run.records if isinstance(r, Noise)), None)
    words, loud = noise_words(run.header["noise_before"], after)
    console.print(f"\n{words}", style="bold red" if loud else "dim")
    console.print(f"records: {path}")


def show_telling(run: Run) -> None:
    """Say what the run tells most clearly, each under the question that it answers."""
    if found := most_telling(run):
        console.print("\n[bold]What this machine told most clearly[/]")
    for conclusion in found:
        console.print(f"  {labs()[conclusion.lab].question}  [dim]{conclusion.lab}[/]")
        for line in wrap(conclusion.sentence, console.width - 4):
            console.print(f"    {line}", markup=False)


def show(run: Run) -> None:
    """Show a whole recorded run."""
    heading(run.header)
    for name in run.labs():
        if name in labs():
            show_lab(labs()[name], run)


def show_recorded(lab: Lab, whole: bool) -> None:
    """Show what was recorded of a lab on a machine that has what is missing here, and say that it was not measured here.

    whole: with its tables, else the conclusions alone.
    """
    folder = RECORDED / lab.recorded
    if not lab.recorded or not folder.is_dir():
        return
    run = results.read(folder)
    told = f"recorded on {machine.one_line(run.header['machine'])}, not measured here"
    console.print(f"\n[bold yellow]{escape(told)}[/]  [dim]parlab report reference/{lab.recorded}[/]", soft_wrap=True)
    if whole:
        show_lab(lab, run)
    else:
        _tell(r for r in run.of(lab.id) if isinstance(r, Conclusion))


def show_lab(lab: Lab, run: Run) -> None:
    """Show one lab: its question, its tables, what was skipped or failed, and its conclusions."""
    records = run.of(lab.id)
    console.print(f"\n[bold]{lab.question}[/]")
    for words in proofs(records):
        console.print(f"  {words}", style="dim", markup=False)
    if nothing_measured := not measured(records):
        _tell(r for r in records if isinstance(r, Skip))  # what follows is not about this machine
    told = list(sheets(lab, records))
    for sheet in told:
        console.print(printed(sheet))
        for line in sheet.below:
            console.print(f"  {line}", style="dim", markup=False)
    for note in sorted({sheet.note for sheet in told if sheet.note}):
        console.print(f"  {note}", style="dim", markup=False)
    last = (Fault, Conclusion) if nothing_measured else (Skip, Fault, Conclusion)
    _tell(r for r in records if isinstance(r, last))


def printed(sheet: Sheet) -> Table:
    """Set a table for the terminal."""
    title = escape(sheet.title) or None
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
    for column in sheet.columns:
        right, text = column.holds == "numbers", column.holds == "text"
        table.add_column(escape(column.name), justify="right" if right else "left", no_wrap=not text)
    for row in sheet.rows:
        table.add_row(*map(_words, row))
    return table


def _words(cell: Cell) -> Text:
    """Write a cell; after a time stands its mark or the room for one, so that times end in one place."""
    words = Text(" ".join(filter(None, [cell.text, cell.spread])), TONES[cell.tone])
    if cell.says:
        words.append(f" {MARKS[cell.says]}", VERDICTS[cell.says])
    elif cell.spread:
        words.append("  ")
    elif cell.tone == "predicted":
        words.append("     ")  # no interval, no mark
    return words


def concluded(r: Conclusion) -> str:
    """Write a conclusion behind its verdict, in rich's markup."""
    mark = {True: "[green]holds[/]", False: "[red]does not hold[/]", None: "[yellow]cannot tell[/]"}[r.holds]
    return f"{mark}: {escape(r.sentence)}"


def _tell(found: Iterable[Record]) -> None:
    """Say in a line each what was skipped, what failed and what was concluded; two launches may skip the same."""
    for r in dict.fromkeys(found):
        if isinstance(r, Skip):
            console.print(f"  skipped: {r.skipped}", style="yellow", markup=False)
        elif isinstance(r, Fault):
            console.print(f"  FAILED: {r.fault}", style="bold red", markup=False)
        elif isinstance(r, Conclusion):
            console.print(f"  {concluded(r)}")
