"""Words that conclusions are made of: where curves cross, how much communication hid, whether the threads had their cores."""

from collections.abc import Iterable, Sequence
from math import exp, inf, log

from parlab.records import LAYERS, PROOF, Record, compared, measured
from parlab.stats import Interval

FREE = 0.9  # threads that reach this share of what they do alone have a core each; two on one core reach a half


def crossing(sizes: Sequence[float], first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the size at which `second` becomes the smaller of two curves, both positive; None where it never does.

    Between two sizes the curves are taken as straight in logarithms; the first change of order counts.
    """
    gaps = [log(a / b) for a, b in zip(first, second, strict=True)]  # above 0: second is the smaller
    for i in range(1, len(gaps)):
        if gaps[i - 1] <= 0 < gaps[i]:
            share = -gaps[i - 1] / (gaps[i] - gaps[i - 1])
            return exp(log(sizes[i - 1]) + share * log(sizes[i] / sizes[i - 1]))
    return None


def within(value: Interval, low: float = -inf, high: float = inf) -> bool | None:
    """Tell whether the whole interval meets a goal, low <= value <= high; False where all of it misses, None where a part does."""
    return True if low <= value.low and value.high <= high else False if value.high < low or value.low > high else None


def every(verdicts: Iterable[bool | None]) -> bool | None:
    """Tell whether all of them hold: False where one does not; None where one cannot be told, or there is none."""
    found = set(verdicts)
    return False if False in found else None if None in found or not found else True


def hidden_share(communicate: Interval, compute: Interval, both: Interval) -> Interval:
    """Return (communicate + compute - both) / communicate: 1 where all of the communication was hidden, 0 where none.

    The bounds take the three intervals at their worst, so they are wider than 95 % asks for.
    """
    return Interval(
        (communicate.median + compute.median - both.median) / communicate.median,
        (communicate.low + compute.low - both.high) / communicate.high,
        (communicate.high + compute.high - both.low) / communicate.low,
        both.n,
    )


def on_free_cores(records: Sequence[Record], threads: int, holds: bool | None, layer: str | None = None) -> bool | None:
    """Return `holds`, or None where the proofs before and after the measurements do not allow it.

    For what needs whole cores, as a speed-up does. A goal that was reached speaks for the cores by itself: threads that ran at once are
    enough. One that was missed needs every proof to show, by its whole interval, that the threads had a core each: those on the two
    halves of one core get as little done as those that take turns. layer: of which the proofs are; None: of all.
    """
    proofs = [r for r in compared(records, threads) if r.faster.get(PROOF) in ({layer} if layer else LAYERS)]
    together = [r.ratio.low for r in proofs if r.faster["work"] == "together"]
    free = threads == 1 or (together and min(together) >= FREE)
    return at_once(records, threads, holds, layer) if holds else holds if free else None


def at_once(records: Sequence[Record], threads: int, holds: bool | None, layer: str | None = None) -> bool | None:
    """Return `holds`, or None where a proof before or after the measurements shows that the threads had to take turns.

    For what needs threads that run at the same time, be it on the two halves of one core, as false sharing and ratios between ways do:
    enough trials of the proof had the processors' whole time. With one thread there is nothing to prove.
    """
    proofs = [
        m for m in measured(records, threads, work="together") if m.case.get(PROOF) in ({layer} if layer else LAYERS)
    ]
    running = proofs and all(
        m.how["dropped"] == m.how["disturbed"] for m in proofs
    )  # else all were kept: too few were quiet
    return holds if threads == 1 or running else None
