"""Whether every figure in the documents equals its record: python -m parlab.quotes [FILES]. CONTRIBUTING.md says how to mark one."""

import os
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

from rich.text import Text

from parlab import results, table
from parlab.catalogue import labs
from parlab.errors import BAD_REQUEST, DONE, FAILED, BadRequest
from parlab.figures import Figure, by_kind, scan
from parlab.marks import Mark, Passage, passages
from parlab.records import Run

ROOT = Path(__file__).resolve().parents[2]
PAPER = 140  # columns that parlab prints where there is no terminal
ENDLESS = 100_000  # columns: no number is parted from its unit at the end of a line
HEADING = ""  # in place of a lab: what stands above all labs of a run


def errors(document: str) -> list[tuple[int, str]]:
    """Return what is wrong with the figures of a Markdown text: the line and the words."""
    wrong: list[tuple[int, str]] = []
    unused: dict[Mark, set[Figure]] = {}
    for passage in passages(document):
        mark = passage.mark
        if mark and mark not in unused:
            unused[mark] = {*mark.given}
            wrong += [(mark.line, why) for source in mark.sources if (why := missing(source))]
        if passage.output:
            wrong += _not_printed(passage)
            continue
        for figure in scan(passage.text):
            line = passage.line + passage.text.count("\n", 0, figure.at)
            if mark and (given := {g for g in mark.given if (g.kind, g.value) == (figure.kind, figure.value)}):
                unused[mark] -= given
            elif figure.counts:
                continue
            elif not mark:
                wrong.append((line, f"{figure.text}: no mark says where it comes from"))
            elif not any(figure.among(_numbers(*part)) for part in _parts(mark)):
                wrong.append((line, f"{figure.text}: not in {mark.words}"))
    wrong += [(mark.line, f"{g.text}: given, but it does not occur") for mark, rest in unused.items() for g in rest]
    return sorted(wrong)


def _not_printed(passage: Passage) -> Iterator[tuple[int, str]]:
    if not passage.mark:
        yield passage.line, "output: no mark says from which record"
        return
    lines = set().union(*(_lines(*part) for part in _parts(passage.mark)))
    for number, line in enumerate(passage.text.splitlines(), passage.line):
        if line != "..." and line not in lines:
            yield number, f"{line.strip()[:50]}: not a line of {passage.mark.words}"


def _parts(mark: Mark) -> Iterator[tuple[str, str]]:
    """Yield what may hold the figures, one after the other: the heading of each run, its lab or all of them."""
    for source in mark.sources:
        if not missing(source):
            folder, _, lab = source.partition(" ")
            yield folder, HEADING
            yield from ((folder, name) for name in _run(folder).labs() if name in labs() and lab in ("", name))


@cache
def missing(source: str) -> str | None:
    """Say what is wrong with a source: there is no such record, or it holds nothing of that lab."""
    folder, _, lab = source.partition(" ")
    try:
        return f"{folder} holds nothing of {lab}" if lab and lab not in _run(folder).labs() else None
    except BadRequest as error:
        return str(error)


@cache
def _numbers(folder: str, lab: str) -> dict[str, set[Decimal]]:
    machine = _run(folder).header["machine"] if lab == HEADING else {}
    versions = " ".join([machine.get("python", ""), machine.get("mpi", ""), *machine.get("versions", {}).values()])
    short = re.sub(r"(\d+\.\d+)\.\d+", r"\1", versions)  # "Python 3.11" is enough of 3.11.7
    return by_kind(scan(f"{short}\n{_printed(folder, lab, ENDLESS)}"))


@cache
def _lines(folder: str, lab: str) -> set[str]:
    return {line.rstrip() for line in _printed(folder, lab, PAPER).splitlines()}


def _printed(folder: str, lab: str, width: int) -> str:
    before, table.console.width = table.console.width, width
    with table.console.capture() as capture:
        if lab == HEADING:
            table.heading(_run(folder).header)
        else:
            table.show_lab(labs()[lab], _run(folder))
    table.console.width = before
    return Text.from_ansi(capture.get()).plain


@cache
def _run(folder: str) -> Run:
    return results.read(ROOT / folder)


def documents() -> list[Path]:
    """Return the documents of the repository."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md")])


def main(arguments: list[str]) -> int:
    """Check these files, or all documents; print what is wrong, and return the exit status."""
    try:
        texts = {path: path.read_text(encoding="utf-8") for path in map(Path, arguments or documents())}
    except OSError as error:
        print(f"cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        return BAD_REQUEST
    found = 0
    for path, text in texts.items():
        for line, words in errors(text):
            print(f"{os.path.relpath(path)}:{line}: {words}")
            found += 1
    print(f"{found} to mend" if found else "every figure in the documents equals its record")
    return FAILED if found else DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
