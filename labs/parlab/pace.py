"""How long a run of labs takes: what share of its usual time each may measure, so that the whole ends in time, and how much is left.

Nothing is known of this machine before its first lab has ended. So the plan begins with what labs took elsewhere, and is corrected by what
they take here: `slowness`, one factor for all of them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf

from parlab.catalogue import Lab
from parlab.options import BUDGETS, Budget


@dataclass(frozen=True)
class Usual:
    """What a lab usually takes, in seconds: `fixed` to start, compile and check; `measuring` in contrasts, which can be cut short."""

    fixed: float
    measuring: float

    def at(self, share: float) -> float:
        """Return the seconds in all where only a share of the usual time is measured."""
        return self.fixed + share * self.measuring


# By what a lab needs: the mean of such labs at budget quick, kernels yet to be compiled, on 2 cores of an AMD EPYC; and with how many
# numbers of workers (1, 2, 4: three). With more of them a lab takes longer.
USUAL = {
    "ranks": (3, Usual(8.0, 12.0)),
    "threads": (2, Usual(11.0, 4.0)),
    "gpu": (1, Usual(5.0, 15.0)),
    "processes": (3, Usual(14.0, 4.0)),
    "torchrun": (1, Usual(22.0, 2.0)),
}
PREDICTED = Usual(0.5, 0.0)  # a lab of GPUs where there is none
LEAST = 0.25  # share of the usual time below which intervals tell nothing more: rather leave out a lab
SPARE = 0.05  # of the limit: the plan leaves it for what takes longer than planned
BELIEF = 60.0  # seconds that labs must have taken here before they weigh as much as the plan
PAGE, PAGE_OF_LAB = 1.0, 0.5  # seconds for the page with its pictures, and for each lab on it


def in_turns(labs: Iterable[Lab]) -> list[Lab]:
    """Order labs so that the topics take turns: where the time does not suffice for all, no topic is left out whole."""
    seen: Counter[str] = Counter()
    placed = []
    for lab in labs:
        seen[lab.topic] += 1
        placed.append((seen[lab.topic], lab))
    return [lab for _, lab in sorted(placed, key=lambda place: place[0])]


def usual(need: str, numbers: int, budget: Budget) -> Usual:
    """Return what a lab usually takes with so many numbers of workers; its contrasts follow the budget's time for a case, and its sizes."""
    quick, (counted, one) = BUDGETS["quick"], USUAL[need]
    more = max(1.0, numbers / counted)
    longer = budget.case_seconds / quick.case_seconds * quick.every / budget.every
    return Usual(more * one.fixed, more * one.measuring * longer)


@dataclass
class Pace:
    """The plan of a run. ahead: the labs that have not begun. limit: seconds for the whole run. ending: seconds after the last lab.

    `now` is always the time in seconds since the run began. Labs begin in the order of `ahead`, one after the other.
    """

    ahead: list[Usual]
    limit: float = inf
    ending: float = 0.0
    running: Usual | None = None  # with what it may measure
    since: float = 0.0
    took: float = BELIEF
    planned: float = BELIEF

    def fits(self, now: float) -> bool:
        """Tell whether there is time for what the next lab takes at least."""
        return now + self.slowness * self.ahead[0].at(LEAST) + self.ending <= self.limit

    def skip(self) -> None:
        """Leave out the next lab."""
        self.ahead.pop(0)

    def begin(self, now: float) -> float:
        """Begin the next lab; return the share of its usual time that it may measure."""
        share, lab = self._share(now), self.ahead.pop(0)
        self.running, self.since = replace(lab, measuring=share * lab.measuring), now
        return share

    def end(self, now: float) -> float:
        """End the lab that runs; return how long it took."""
        self.took, self.planned, self.running = self.took + now - self.since, self.planned + self._whole, None
        return now - self.since

    def left(self, now: float) -> float:
        """Return how long the rest will take, the lab that runs included; for labs that do not fit there is no time, so they take none.

        Where that lab has passed its time, this machine is slower than was thought: the labs ahead will take longer, too.
        """
        gone = now - self.since if self.running else 0.0
        slowness = max(self.slowness, (self.took + gone) / (self.planned + self._whole))
        this, share = max(0.0, slowness * self._whole - gone), self._share(now)
        ahead = slowness * sum(lab.at(share) for lab in self.ahead)
        return min(this + ahead + self.ending, max(this + self.ending, self.limit - now))

    @property
    def slowness(self) -> float:
        """Return how many times as long as planned the labs have taken so far."""
        return self.took / self.planned

    @property
    def _whole(self) -> float:
        return self.running.at(1.0) if self.running else 0.0

    def _share(self, now: float) -> float:
        """Return the share of their usual time that the labs ahead may measure, so that the whole run ends in time."""
        measuring = sum(lab.measuring for lab in self.ahead)
        room = ((1 - SPARE) * self.limit - self.ending - now) / self.slowness - sum(lab.fixed for lab in self.ahead)
        return min(1.0, max(LEAST, room / measuring)) if measuring else 1.0
