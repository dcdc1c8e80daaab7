"""The terminal: heading, progress, the tables of each lab, its conclusions. Everything shown is read from records."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from parlab import machine, results, units
from parlab.catalogue import RECORDED, Lab, labs
from parlab.groups import groups, verdicts
from parlab.header import noise_words
from parlab.launch import Command
from parlab.records import PROOF, Comparison, Conclusion, Fault, Noise, Record, Row, Run, Skip, measured
from parlab.tables import SHAPES, table_of_rows

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


@contextlib.contextmanager
def progress(name: str, command: Command, log: Path) -> Iterator[Callable[[], None]]:
    """Show what a launch is doing, as told by the last line of its log, while it runs."""
    console.print(f"\n[bold]{name}[/]  [dim]{command.line()}[/]", soft_wrap=True)
    with console.status("starting") as status:

        def watch() -> None:
            with contextlib.suppress(OSError):
                lines = log.read_bytes()[-300:].decode(errors="replace").splitlines()
                if lines:
                    status.update(escape(lines[-1].strip()))

        yield watch


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
    for words in _proofs(records):
        console.print(f"  {words}", style="dim", markup=False)
    if nothing_measured := not measured(records):
        _tell(r for r in records if isinstance(r, Skip))  # what follows is not about this machine
    said, notes = verdicts(records), set()
    for group in groups(lab, records):
        table, below, note = SHAPES[group.shape](group, said)
        console.print(table)
        if below:
            console.print("\n".join(below), style="dim", markup=False)
        notes.add(note)
    for table in table_of_rows([r for r in records if isinstance(r, Row)]):
        console.print(table)
    for note in sorted(notes):
        console.print(f"  {note}", style="dim")
    last = (Fault, Conclusion) if nothing_measured else (Skip, Fault, Conclusion)
    _tell(r for r in records if isinstance(r, last))


def _tell(found: Iterable[Record]) -> None:
    """Say in a line each what was skipped, what failed and what was concluded; two launches may skip the same."""
    for r in dict.fromkeys(found):
        if isinstance(r, Skip):
            console.print(f"  skipped: {r.skipped}", style="yellow", markup=False)
        elif isinstance(r, Fault):
            console.print(f"  FAILED: {r.fault}", style="bold red", markup=False)
        elif isinstance(r, Conclusion):
            mark = {True: "[green]holds[/]", False: "[red]does not hold[/]", None: "[yellow]cannot tell[/]"}[r.holds]
            console.print(f"  {mark}: {escape(r.sentence)}")


def _proofs(records: list[Record]) -> Iterator[str]:
    """Say for each team how fast its threads were together, before and after the lab, and how far apart their cores are."""
    together: dict[tuple[str, int], list[str]] = {}
    for r in records:
        if isinstance(r, Comparison) and r.faster.get("work") == "together" and r.workers > 1:
            together.setdefault((str(r.faster[PROOF]), r.workers), []).append(units.span(r.ratio))
    trips = {(m.case[PROOF], m.workers): m.seconds for m in measured(records, work="ping-pong") if PROOF in m.case}
    for (layer, workers), ratios in together.items():
        told = f"{workers} threads of {layer}, each beside the speed of one alone: {' before, '.join(ratios)} after"
        trip = trips.get((layer, workers))
        yield told + (f"; a word to and fro takes {units.interval(trip)}" if trip else "")
