"""What the machine works with: streams and their operations, how long each takes, what may come next, and who chooses.

Source of the adversary: S. Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, ASPLOS 2010 (ranks
that change now and then).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._graphs import Capture

Action = Callable[[], object]
Engine = tuple[int, str]  # device, and what of it
STYLES = ("random", "last", "lazy")


def nothing() -> None:
    """Do it."""


@dataclass
class Profile:
    """What takes how long. Rates in bytes/s, times in seconds."""

    issue: float = 3e-6  # the host's time for each operation that it issues
    query: float = 1e-6  # and for asking whether something is done
    copy_latency: float = 2e-6
    pinned: float = 55e9
    pageable_h2d: float = 7e9
    pageable_d2h: float = 10e9
    d2d: float = 2e12
    peer: float = 300e9
    kernel_latency: float = 3e-6
    thread: float = 1e-12
    host_function: float = 10e-6
    kernel_seconds: Callable[[str, int], float | None] | None = (
        None  # (kernel's name, threads): seconds, None: as above
    )

    def kernel(self, name: str, threads: int) -> float:
        """Return the seconds of a kernel."""
        asked = self.kernel_seconds(name, threads) if self.kernel_seconds else None
        return self.kernel_latency + threads * self.thread if asked is None else asked


@dataclass(eq=False)
class Queue:
    """A stream. tail: what the next operation waits for. Number 0 is the null stream of its device."""

    number: int
    device: int
    blocking: bool = True
    priority: int = 0
    destroyed: bool = False
    tail: list["Operation"] = field(default_factory=list, repr=False)
    capture: "Capture | None" = field(default=None, repr=False)


@dataclass(eq=False)
class Operation:
    """A thing to do: what, by which engine (None: by any, at once), when it was issued, and what it waits for.

    patient: it watches host memory (a gate), and so runs only when it is wanted; it ends in virtual time when the host waits for it.
    """

    stage: str
    queue: Queue
    action: Action = field(repr=False, default=nothing)
    seconds: float = 0.0
    engine: Engine | None = None
    patient: bool = False
    after: list["Operation"] = field(default_factory=list, repr=False)
    capture: "Capture | None" = field(default=None, repr=False)
    held: object = field(default=None, repr=False)  # kept alive until it has run
    number: int = 0
    issued: float = 0.0
    least: float = 0.0  # when it ends at the earliest
    begin: float = inf
    end: float = inf


class Frontier:
    """What may come next: the operations of which all that they wait for has passed."""

    def __init__(self) -> None:
        self.open: dict[Operation, None] = {}
        self._missing: dict[Operation, int] = {}
        self._followers: dict[Operation, list[Operation]] = {}

    def __contains__(self, operation: Operation) -> bool:
        """Tell whether an operation has not passed."""
        return operation in self._followers

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._followers)

    def add(self, operation: Operation) -> None:
        """Enter an operation, after all that it waits for."""
        before = [o for o in set(operation.after) if o in self._followers]
        self._followers[operation] = []
        self._missing[operation] = len(before)
        for o in before:
            self._followers[o].append(operation)
        if not before:
            self.open[operation] = None

    def passed(self, operation: Operation) -> None:
        """Open what waited for this one last."""
        del self.open[operation], self._missing[operation]
        for follower in self._followers.pop(operation):
            self._missing[follower] -= 1
            if not self._missing[follower]:
                self.open[follower] = None


class Adversary:
    """Who chooses. random: streams have ranks that change now and then; last: the newest stream first; lazy: nothing that is not wanted."""

    def __init__(self, style: str = "random", seed: int = 0) -> None:
        if style not in STYLES:
            raise ValueError(f"an adversary is one of {STYLES}: {style}")
        self.style = style
        self._random = Random(seed)
        self._rank: dict[Queue, float] = {}

    def choose(self, operations: Iterable[Operation]) -> Operation:
        """Return one of the operations."""
        if self.style == "last":
            return max(operations, key=lambda o: (o.queue.number, -o.number))
        chosen = max(operations, key=lambda o: (self._rank.setdefault(o.queue, self._random.random()), -o.number))
        if self._random.random() < 0.25:
            self._rank[chosen.queue] = self._random.random()
        return chosen
