"""The most telling conclusions of a run: what its page, and the terminal after it, say first. From records only.

    most_telling(run)        # at most three Conclusions, the strongest first; `labs()[c.lab].question` says what each answers

A conclusion is told where it holds and names a ratio whose interval is clear, as in `5.31 [4.90, 5.62] times as fast`: the whole interval
beyond the margin within which two times are the same. It is as strong as what is certain of the ratio: by the end of the interval that is
nearer to 1, so 4.9 here; 0.2 times as fast counts as 5 times as long. A topic is told once, by its strongest conclusion; where a run has
fewer topics than room, further labs follow. So a control, which is about 1, is never told, nor what cannot be told, nor a goal missed.
"""

import re
from collections.abc import Iterable

from parlab.catalogue import labs
from parlab.records import Conclusion, Run, measured
from parlab.stats import Interval, verdict

NUMBER = r"(-?\d+(?:\.\d+)?)"
RATIO = re.compile(rf"{NUMBER} \[{NUMBER}, {NUMBER}\] times")  # as units.span writes it


def most_telling(run: Run, count: int = 3) -> list[Conclusion]:
    """Return the conclusions of a run to be told first, at most `count`, at most one of each lab."""
    ranked = sorted(_holding(run), key=strength, reverse=True)  # of equals, the one that was drawn first
    by_lab = _first_of_each(ranked, [c.lab for c in ranked])
    by_topic = _first_of_each(by_lab, [labs()[c.lab].topic for c in by_lab])
    further = [c for c in by_lab if c not in by_topic]
    return sorted((by_topic + further)[:count], key=strength, reverse=True)


def strength(conclusion: Conclusion) -> float:
    """Return what is certain of the strongest ratio that the sentence names, above 1; 0 where none is clear."""
    named = (Interval(float(m[1]), float(m[2]), float(m[3]), 0) for m in RATIO.finditer(conclusion.sentence))
    clear = (ratio for ratio in named if verdict(ratio) in ("faster", "slower"))
    return max((max(ratio.low, 1 / ratio.high) for ratio in clear if ratio.low > 0), default=0.0)


def _holding(run: Run) -> Iterable[Conclusion]:
    """Yield what holds and names a clear ratio, of the labs that measured something: the others speak of another machine."""
    here = {name for name in run.labs() if name in labs() and measured(run.of(name))}
    return (r for r in run.records if isinstance(r, Conclusion) and r.holds and r.lab in here and strength(r) > 0)


def _first_of_each(conclusions: list[Conclusion], kinds: list[str]) -> list[Conclusion]:
    """Keep the first conclusion of each kind."""
    return [c for i, c in enumerate(conclusions) if kinds[i] not in kinds[:i]]
