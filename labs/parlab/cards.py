"""What the page says: of a run (its machine, its noise), and of a lab in it (conclusions, pictures, tables, the command)."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from parlab import compare, machine, plots, results, tables, units
from parlab.catalogue import RECORDED, Lab, labs, topics
from parlab.header import noise_words
from parlab.panels import MOST
from parlab.records import Conclusion, Fault, Lanes, Noise, Run, Skip, measured
from parlab.sheet import Sheet
from parlab.stats import Verdict
from parlab.svg import Picture
from parlab.telling import strength

FEW = 8  # conclusions of a lab, all seen at once
GLIMPSE = 3  # pictures of a kind, of what was recorded elsewhere


@dataclass(frozen=True)
class Side:
    """A run on the page. mark: a letter, where there are several; folder: where its records and pictures lie."""

    name: str
    mark: str
    run: Run
    folder: Path

    @property
    def label(self) -> str:
        """Return the name, after the letter where there are several runs: folders may be named alike."""
        return f"{self.mark} {self.name}".strip()

    @property
    def machine(self) -> str:
        """Return the machine in one line."""
        return machine.one_line(self.run.header.get("machine", {}))

    @property
    def noise(self) -> tuple[str, bool]:
        """Say how noisy the machine was, and whether that is too much."""
        after = next((r.noise_after for r in self.run.records if isinstance(r, Noise)), None)
        words, loud = noise_words(self.run.header.get("noise_before", {}), after)
        others = self.run.header.get("machine", {}).get("gpus_used_by", [])
        told = [words.replace(" - NOISY", ""), *(f"another process used a GPU: {one}" for one in others)]
        return "; ".join(told), loud or bool(others)

    @property
    def asked(self) -> str:
        """Return what was asked for, when, and of which version."""
        header = self.run.header
        commit = header.get("machine", {}).get("commit", "")
        start = header.get("start", "")[:16].replace("T", " ")
        told = [header.get("command", ""), start, f"budget {header.get('budget', 'unknown')}"]
        return " · ".join([*filter(None, told), *([f"commit {commit}"] if commit else [])])

    @property
    def facts(self) -> dict[str, str]:
        """Return what is known of the run and of the machine, a line each."""
        asked = {name: self.run.header.get(name) for name in ("command", "start", "budget", "seed")}
        return dict(_lines(asked | self.run.header.get("machine", {})))


@dataclass(frozen=True)
class Answer:
    """What one run says of a lab."""

    side: Side
    conclusions: list[Conclusion]
    skipped: list[str]
    faults: list[str]
    proofs: list[str]
    drawn: plots.Drawn
    sheets: list[Sheet]
    command: str
    trace: str | None

    @property
    def seen(self) -> list[Conclusion]:
        """Return the conclusions that are not folded: all where they are few, else those that do not hold and the strongest."""
        if len(self.conclusions) <= FEW:
            return self.conclusions
        ranked = sorted(self.conclusions, key=lambda one: (one.holds is False, strength(one)), reverse=True)
        return [one for one in self.conclusions if one in ranked[: FEW - 2]]

    @property
    def folded(self) -> list[Conclusion]:
        """Return the other conclusions."""
        return [one for one in self.conclusions if one not in self.seen]

    @property
    def pictures(self) -> list[Picture]:
        """Return all pictures."""
        return [picture for found in self.drawn.values() for picture in found]


@dataclass(frozen=True)
class Card:
    """A lab on the page. recorded: what another machine says, where none of these has what the lab needs.

    counts, ratios: how the times of each other run compare with those of the first.
    """

    lab: Lab
    answers: list[Answer]
    recorded: Answer | None
    counts: dict[str, dict[Verdict, int]] = field(default_factory=dict)
    ratios: list[Sheet] = field(default_factory=list)

    @property
    def rows(self) -> list[list[Picture | None]]:
        """Return for each thing that is drawn the picture of it in each run: side by side they compare."""
        found = [
            {(kind, one.what): one for kind, drawn in answer.drawn.items() for one in drawn} for answer in self.answers
        ]
        return [[at.get(what) for at in found] for what in dict.fromkeys(what for at in found for what in at)]


def cards(sides: Sequence[Side]) -> Iterator[Card]:
    """Yield a card for each lab of the runs, by topic."""
    here = [lab for name, lab in labs().items() if any(name in side.run.labs() for side in sides)]
    for lab in sorted(here, key=lambda lab: list(topics()).index(lab.topic)):
        having = [side for side in sides if lab.id in side.run.labs()]
        (base, records), *others = [(side.label, side.run.of(lab.id)) for side in having]
        counts = {name: compare.counts(compare.matches(records, theirs)) for name, theirs in others}
        ratios = list(compare.sheets(lab, (base, records), others))
        yield Card(lab, [_answer(lab, side) for side in having], _recorded(lab, having), counts, ratios)


def _answer(lab: Lab, side: Side, most: int = MOST) -> Answer:
    records = side.run.of(lab.id)
    return Answer(
        side,
        conclusions=list(dict.fromkeys(r for r in records if isinstance(r, Conclusion))),
        skipped=list(dict.fromkeys(r.skipped for r in records if isinstance(r, Skip))),
        faults=[r.fault for r in records if isinstance(r, Fault)],
        proofs=list(tables.proofs(records)),
        drawn=plots.pictures(lab, side.run, most),
        sheets=list(tables.sheets(lab, records)),
        command=command(lab, side.run),
        trace=f"{lab.id}-trace.json" if any(isinstance(r, Lanes) for r in records) else None,
    )


def _recorded(lab: Lab, having: Sequence[Side]) -> Answer | None:
    """Return what was recorded on a machine that has what the lab needs, where none of the runs measured anything."""
    folder = RECORDED / lab.recorded
    if not lab.recorded or not folder.is_dir() or any(measured(side.run.of(lab.id)) for side in having):
        return None
    return _answer(lab, Side(f"reference/{lab.recorded}", "", _read(folder), folder), GLIMPSE)


@cache
def _read(folder: Path) -> Run:
    return results.read(folder)


def command(lab: Lab, run: Run) -> str:
    """Return the command that repeats a lab as it was asked for in a run, into a folder of its own."""
    words = iter(shlex.split(run.header.get("command", ""))[1:])
    kept = []
    for word in words:
        if word == "--out":
            next(words, None)
        elif word not in ("run", "all", *labs(), *topics()) and not word.startswith("--out="):
            kept.append(word)
    return shlex.join(["parlab", "run", lab.id, *kept])


def _lines(fields: dict[str, Any], of: str = "") -> Iterator[tuple[str, str]]:
    """Yield a name and a text for each fact, also for those within another."""
    for name, value in fields.items():
        told = f"{of} {name}".strip().replace("_", " ")
        if isinstance(value, dict):
            yield from _lines(value, told)
        elif name.endswith("_bytes"):
            yield told.removesuffix(" bytes"), units.nbytes(value)
        elif value not in (None, "", []):
            yield told, "; ".join(map(str, value)) if isinstance(value, list) else str(value)
