"""The questions of questions.toml, those that mention some words, and what recorded runs answer."""

import contextlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parlab import results
from parlab.catalogue import HERE, RECORDED
from parlab.errors import BadRequest
from parlab.machine import one_line
from parlab.records import Conclusion, Run


@dataclass(frozen=True)
class Recorded:
    """A run of which the conclusions were read. here: it stands in results/, was measured here; else in reference/."""

    folder: str
    run: Run
    here: bool

    @property
    def words(self) -> str:
        """Say where and on what it was measured."""
        machine = one_line(self.run.header.get("machine", {}))
        return f"measured here, on {machine}: {self.folder}" if self.here else f"recorded on {machine}: {self.folder}"


@dataclass(frozen=True)
class Answer:
    """What a lab says to a question: its conclusion, and in which run (`where`); None and "" where it was never measured."""

    lab: str
    command: str
    said: Conclusion | None
    where: str


@dataclass(frozen=True)
class Question:
    """A question in English and Chinese. labs: by the id of each that answers it, what its answer says, a regular expression."""

    id: str
    en: str
    zh: str
    labs: dict[str, str]

    def mentions(self, word: str) -> bool:
        """Tell whether a word stands in the question, in either language, in its id or in the name of a lab."""
        return word.casefold() in "\n".join([self.id, self.en, self.zh, *self.labs]).casefold()

    def concluded(self, lab: str, run: Run) -> Conclusion | None:
        """Return what a run concluded: of all that answers the question the last, for most workers, that could be told."""
        of_lab = (r for r in run.records if isinstance(r, Conclusion) and r.lab == lab)
        said = [r for r in of_lab if re.search(self.labs[lab], r.sentence)]
        return next((r for r in reversed(said) if r.holds is not None), said[-1] if said else None)

    def answers(self, runs: Iterable[Recorded]) -> Iterator[Answer]:
        """Yield the answer of each lab, from the first of these runs that has one."""
        for lab in self.labs:
            found = ((said, r.words) for r in runs if (said := self.concluded(lab, r.run)))
            yield Answer(lab, f"parlab run {lab}", *next(found, (None, "")))


def load() -> list[Question]:
    """Return all questions, in the order of the file; none where a folder of labs of one's own has no such file."""
    path = HERE / "questions.toml"
    return [Question(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["question"]] if path.exists() else []


def find(words: Sequence[str]) -> list[Question]:
    """Return the questions that mention all words. Raises BadRequest where none does."""
    found = [question for question in load() if all(map(question.mentions, words))]
    if words and not found:
        raise BadRequest(f"no question mentions {' and '.join(words)}; `parlab questions` lists all {len(load())}")
    return found


def recorded() -> list[Recorded]:
    """Return the runs in results/, then those in reference/, the latest first; what is no results file is left out."""
    return [*_latest_first(Path("results"), here=True), *_latest_first(RECORDED, here=False)]


def _latest_first(parent: Path, here: bool) -> list[Recorded]:
    found = []
    for path in parent.glob(f"*/{results.FILE}"):
        with contextlib.suppress(BadRequest):
            found.append(Recorded(f"{parent.name}/{path.parent.name}", results.read(path, '"sentence"'), here))
    return sorted(found, key=lambda r: str(r.run.header.get("start")), reverse=True)


def show(found: Iterable[Question], languages: Sequence[str]) -> None:
    """Print questions, in "en", "zh" or both, each with the commands of its labs and what they say."""
    from rich.markup import escape
    from rich.padding import Padding

    from parlab.table import concluded, console

    runs = recorded()
    for question in found:
        console.print()
        for language in languages:
            console.print(getattr(question, language), style="bold", markup=False)
        for answer in question.answers(runs):
            console.print(f"  {answer.command}", style="cyan")
            said = (concluded(answer.said), f"[dim]{escape(answer.where)}[/]") if answer.said else ("not measured yet",)
            for words in said:
                console.print(Padding(words, (0, 0, 0, 4), expand=False))
