"""The terminal: heading, progress, a table for each lab, its conclusions. Everything shown is read from records."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parlab import machine, units
from parlab.bench import AGAIN
from parlab.catalogue import Lab, labs
from parlab.header import noise_words
from parlab.launch import Command
from parlab.results import Case, Comparison, Conclusion, Fault, Measurement, Noise, Run, Skip
from parlab.scaling import efficiency, karp_flatt, law, speed_up
from parlab.stats import Verdict

console = Console(width=None if Console().is_terminal else 140, highlight=False)

Says = dict[tuple[str, int], Verdict]  # by case and number of workers

MOST_COLUMNS = 8
MARKS = {"faster": "[green]▲[/]", "slower": "[red]▼[/]", "same": "=", "cannot tell": "?"}


def heading(header: dict) -> None:  # type: ignore[type-arg]
    """Say on which machine this runs, and how noisy it is."""
    console.print(f"[bold]parlab[/] on {machine.one_line(header['machine'])}")
    words, loud = noise_words(header["noise_before"], None)
    console.print(words, style="bold red" if loud else "dim")


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
                    status.update(lines[-1].strip())

        yield watch


def show(run: Run) -> None:
    """Show a whole recorded run."""
    heading(run.header)
    for name in run.labs():
        if name in labs():
            show_lab(labs()[name], run)


def show_lab(lab: Lab, run: Run) -> None:
    """Show one lab: its question, its tables, what was skipped or failed, and its conclusions."""
    records = run.of(lab.id)
    console.print(f"\n[bold]{lab.question}[/]")
    measured = [r for r in records if isinstance(r, Measurement)]
    says = {(_key(r.faster), r.workers): r.says for r in records if isinstance(r, Comparison)}
    if measured:
        {"sweep": sweep, "scaling": scaling}[lab.layout](lab, measured, says)
    for r in dict.fromkeys(
        r for r in records if isinstance(r, Skip | Fault | Conclusion)
    ):  # two launches may skip the same
        if isinstance(r, Skip):
            console.print(f"  skipped: {r.skipped}", style="yellow", markup=False)
        elif isinstance(r, Fault):
            console.print(f"  FAILED: {r.fault}", style="bold red", markup=False)
        elif isinstance(r, Conclusion):
            mark = {True: "[green]holds[/]", False: "[red]does not hold[/]", None: "[yellow]cannot tell[/]"}[r.holds]
            console.print(f"  {mark}: {escape(r.sentence)}")


def sweep(lab: Lab, measured: list[Measurement], says: Says) -> None:
    """One table for each group of equal parameters: a row for each number of workers and case, a column for each size."""
    for title, group in _groups(measured, {lab.columns, "bytes"}).items():
        shown = [m for m in group if not str(m.case[lab.columns]).endswith(AGAIN)]
        cases = Counter(int(m.case.get("bytes", 0)) for m in shown)
        sizes = sorted(cases)
        if (
            len(sizes) > MOST_COLUMNS
        ):  # a long sweep is thinned out here, to the sizes with most cases; the records hold all of it
            sizes = [size for size in sizes if cases[size] == max(cases.values())]
            sizes = sizes[:: -(-len(sizes) // MOST_COLUMNS)]
        table = _table(title)
        for heading, side in (
            (group[0].kind, "right"),
            (lab.columns, "left"),
            *((units.nbytes(size), "right") for size in sizes),
        ):
            table.add_column(heading, justify="left" if side == "left" else "right", no_wrap=True)
        cells = {(m.workers, str(m.case[lab.columns]), int(m.case.get("bytes", 0))): m for m in shown}
        for workers, name in dict.fromkeys((workers, name) for workers, name, _ in cells):
            row = [cells.get((workers, name, size)) for size in sizes]
            least = [
                min(
                    (m.seconds.median for (w, _, s), m in cells.items() if (w, s) == (workers, size) and m.verified),
                    default=0.0,
                )
                for size in sizes
            ]
            table.add_row(str(workers), name, *(_cell(m, best, says) for m, best in zip(row, least, strict=True)))
            if any(m and m.prediction for m in row):
                guesses = (units.seconds(m.prediction.seconds) + "     " if m and m.prediction else "" for m in row)
                table.add_row("", "  predicted", *guesses, style="dim")
        console.print(table)
    console.print(
        "  median ± half the 95 % interval; ▲ faster, ▼ slower, = same as the reference, ? cannot tell; bold: least",
        style="dim",
    )


def scaling(lab: Lab, measured: list[Measurement], says: Says) -> None:
    """One table for each problem: a row for each case and number of workers, against the best serial program; then the law."""
    for title, group in _groups(measured, {lab.columns}).items():
        group = [m for m in group if m.verified]  # the bound itself shows in the column that it bounds
        serial = next(m for m in group if m.case[lab.columns] == "serial")
        weak = serial.case.get("scaling") == "weak"
        table = _table(title)
        for column in (
            lab.columns,
            serial.kind,
            "time",
            "speed-up",
            "efficiency",
            "serial part e",
            "of bound",
            "rate",
            "imbalance",
        ):
            table.add_column(column, justify="left" if column == lab.columns else "right")
        told = []
        for name in dict.fromkeys(str(m.case[lab.columns]) for m in group):
            rows = [m for m in group if m.case[lab.columns] == name]
            for m in rows:
                table.add_row(*_scaling_row(name, m, serial, weak, says))
            points = {m.workers: m.samples for m in rows if not m.how["oversubscribed"]}
            if (
                name != "serial" and len(points) > 2
            ):  # with two points Karp and Flatt's e, in the table, is all there is to say
                told.append(f"  {name}: {law(points, serial.samples, weak).words}")
        console.print(table)
        if told:
            console.print("\n".join(told), style="dim", markup=False)
    bounds = {m.bound.name for m in measured if m.bound}
    console.print(
        f"  * more ranks than cores; bound: {', '.join(bounds)}; ▲ faster, ▼ slower, = same, ? cannot tell", style="dim"
    )


def _scaling_row(name: str, m: Measurement, serial: Measurement, weak: bool, says: Says) -> list[str]:
    s = speed_up(np.array(serial.samples) * (m.workers if weak else 1), m.samples)
    e = units.span(karp_flatt(s, m.workers)) if m.workers > 1 and not m.how["oversubscribed"] else ""
    share = f"{m.bound.seconds / m.seconds.median:.0%}" if m.bound else ""
    done = next(((amount, {"bytes": "B", "flops": "Flop"}.get(what, what)) for what, amount in m.work.items()), None)
    rate = units.rate(*done, m.seconds.median) if done else ""
    imbalance = f"{m.facts['imbalance']:.2f}" if "imbalance" in m.facts else ""
    crowded = "*" if m.how["oversubscribed"] else ""
    mark = _mark(m, says)
    return [
        name,
        f"{m.workers}{crowded}",
        f"{units.interval(m.seconds)} {mark}",
        units.span(s),
        units.span(efficiency(s, m.workers)),
        e,
        share,
        rate,
        imbalance,
    ]


def _table(title: str) -> Table:
    return Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1)
    )


def _groups(measured: list[Measurement], without: set[str]) -> dict[str, list[Measurement]]:
    groups = defaultdict(list)
    for m in measured:
        title = ", ".join(f"{key} {value}" for key, value in m.case.items() if key not in without)
        groups[title].append(m)
    return groups


def _cell(m: Measurement | None, best: float, says: Says) -> str:
    if m is None:
        return ""
    text = f"{units.interval(m.seconds)} {_mark(m, says) or ' '}"
    return f"[bold]{text}[/]" if m.verified and m.seconds.median == best else text if m.verified else f"[dim]{text}[/]"


def _mark(m: Measurement, says: Says) -> str:
    verdict = says.get((_key(m.case), m.workers))
    return MARKS[verdict] if verdict else ""


def _key(case: Case) -> str:
    return repr(sorted(case.items()))
