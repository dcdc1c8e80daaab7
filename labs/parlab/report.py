"""The page of a run, or of several side by side: one HTML file that loads nothing and needs no script.

Everything on it is read from records. report.html and report.css say how it looks, cards.py what stands on it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from string import ascii_uppercase

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parlab import plots, questions, results
from parlab.cards import Answer, Card, Side, cards
from parlab.catalogue import topics
from parlab.errors import BadRequest, ParlabError
from parlab.questions import Question, Recorded
from parlab.records import Conclusion
from parlab.sheet import MARKS
from parlab.stats import Verdict
from parlab.svg import Album, Picture, by_name
from parlab.telling import most_telling
from parlab.theme import COLOURS

Said = tuple[str, Conclusion]  # where, and what

FILE = "report.html"
HOLDS = {True: "holds", False: "does not hold", None: "cannot tell"}
HOLD = {True: "hold", False: "do not hold", None: "cannot tell"}  # of several


def write(folders: Sequence[Path], out: Path | None = None) -> tuple[Path, list[Path]]:
    """Write the page of the runs in these folders, and of one its pictures beside the records; return the page and the other files.

    out: where the page goes (default: report.html in the first folder). Raises ParlabError when a file cannot be written.
    """
    if len(folders) > len(ascii_uppercase):
        raise BadRequest(f"{len(folders)} runs cannot stand side by side: name at most {len(ascii_uppercase)}")
    sides = [_side(folder, i, len(folders)) for i, folder in enumerate(folders)]
    found = list(cards(sides))
    files: list[Path] = []
    for card in found if len(sides) == 1 else ():
        (answer,) = card.answers
        files += plots.save(card.lab, answer.side.run, answer.drawn, answer.side.folder)
    page = out or sides[0].folder / FILE
    try:
        page.write_text(html(sides, found), encoding="utf-8")
    except OSError as error:
        raise ParlabError(f"cannot write {page}: {error.strerror}") from None
    return page, files


def told(page: Path, files: Sequence[Path]) -> str:
    """Say what was written, and where."""
    beside = Counter(file.parent for file in files)
    lines = [f"pictures: {many} files in {folder}" for folder, many in beside.items()]
    return "\n".join([*lines, f"page:     {page.resolve()} ({page.stat().st_size / 1e6:.2g} MB, opens in any browser)"])


def _side(path: Path, i: int, many: int) -> Side:
    folder = path if path.is_dir() else path.parent
    return Side(folder.resolve().name, ascii_uppercase[i] if many > 1 else "", results.read(path), folder)


def html(sides: Sequence[Side], found: Sequence[Card]) -> str:
    """Return the page."""
    album = Album()

    def drawn(picture: Picture) -> Markup:
        """Put a picture into the page, its styles named once for all."""
        box = f"0 0 {picture.width:.4g} {picture.height:.4g}"
        return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
            box, picture.says, Markup(album.add(picture.body))
        )

    page = Environment(
        loader=PackageLoader("parlab", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page.globals |= {"drawn": drawn, "marks": MARKS, "holds": HOLDS, "hold": HOLD}
    css = page.get_template("report.css").render(colours=COLOURS, across=len(sides))
    body = page.get_template("report.html").render(
        sides=sides,
        cards=found,
        topics={topic: about for topic, about in topics().items() if any(card.lab.topic == topic for card in found)},
        facts=_facts(sides),
        summary=lambda side: _summary([a for card in found for a in card.answers if a.side is side]),
        totals=_totals(found),
        skipped=_skipped(found),
        questions=list(_index(sides)),
        telling=[(side, most_telling(side.run)) for side in sides],
        answered={card.lab.id for card in found},
        css=Markup(css),
    )
    return body.replace("/* pictures */", by_name(album.css()), 1).lstrip()


def _summary(answers: Sequence[Answer]) -> list[tuple[int, str, str]]:
    """Count the conclusions, the labs that were measured, skipped and failed: number, words, class."""
    said = Counter(one.holds for answer in answers for one in answer.conclusions)
    told = [(said[holds], HOLDS[holds] if said[holds] == 1 else HOLD[holds], HOLDS[holds]) for holds in HOLDS]
    failed = sum(bool(answer.faults) for answer in answers)
    skipped = sum(bool(answer.skipped) and not answer.conclusions and not answer.faults for answer in answers)
    told += [
        (len(answers) - skipped - failed, "labs measured", ""),
        (skipped, "skipped", ""),
        (failed, "failed", HOLDS[False]),
    ]
    return [(number, words, kind.replace(" ", "-")) for number, words, kind in told if number]


def _totals(found: Sequence[Card]) -> dict[str, dict[Verdict, int]]:
    """Count over all labs how the times of each other run compare with those of the first."""
    totals: dict[str, Counter[Verdict]] = {}
    for card in found:
        for name, counts in card.counts.items():
            totals.setdefault(name, Counter()).update(counts)
    return {name: {says: total[says] for says in MARKS} for name, total in totals.items()}


def _skipped(found: Sequence[Card]) -> dict[str, list[str]]:
    """Return for each reason the labs that were skipped for it, in whole or in part."""
    reasons: dict[str, list[str]] = {}
    for card in found:
        for reason in dict.fromkeys(reason for answer in card.answers for reason in answer.skipped):
            reasons.setdefault(reason, []).append(card.lab.id)
    return reasons


def _index(sides: Sequence[Side]) -> Iterator[tuple[Question, dict[str, list[Said]]]]:
    """Yield each question with what each lab answers in these runs: the run's letter or where else it was recorded, the conclusion."""
    for question in questions.load():
        said: dict[str, list[Said]] = {}
        for other in question.answers(_elsewhere()):
            found = [(side.mark, one) for side in sides if (one := question.concluded(other.lab, side.run))]
            said[other.lab] = found or ([(other.where, other.said)] if other.said else [])
        yield question, said


@cache
def _elsewhere() -> list[Recorded]:
    return [run for run in questions.recorded() if not run.here]


def _facts(sides: Sequence[Side]) -> list[tuple[str, list[str], bool]]:
    """Return each fact: its name, what it is in each run, and whether the runs differ in it."""
    found = [side.facts for side in sides]
    names = dict.fromkeys(name for facts in found for name in facts)
    told = [(name, [facts.get(name, "") for facts in found]) for name in names]
    return [(name, values, len(set(values)) > 1) for name, values in told]
