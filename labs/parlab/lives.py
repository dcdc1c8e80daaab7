"""When the workers of a training reached what, over all their lives: each writes stamps, which outlive it; and what a restart consists of.

All processes of a machine have one clock, so that stamps of several, and of their successors, can be compared.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

# The points of a life, in their order; those of RESUMED, STEP and SAVED carry a number of steps: "step 7", "saved 5", "resumed 5".
STARTED, IMPORTED, JOINED, READY, RESUMED = "started", "imported", "joined", "ready", "resumed"
STEP, SAVED, KILLED = "step", "saved", "killed"
# What a worker does before it reaches them: in a timeline, and in a recovery.
DOING = {
    IMPORTED: "start import",
    JOINED: "start join",
    READY: "start model",
    RESUMED: "load",
    STEP: "step",
    SAVED: "save",
}
RECOVERING = {
    STARTED: "notice, end, start",
    IMPORTED: "import",
    JOINED: "join",
    READY: "model",
    RESUMED: "load",
    STEP: "first step",
}


class Stamp(NamedTuple):
    """A worker, in one of its lives (0 is the first), reached a point at that time, in seconds."""

    worker: int
    life: int
    point: str
    at: float

    @property
    def kind(self) -> str:
        """Return the point without its number."""
        return self.point.split(" ")[0]

    @property
    def step(self) -> int:
        """Return the number of a point that has one."""
        return int(self.point.split(" ")[1])


class Stamps:
    """Writes the stamps of one worker in one life, each to be seen though the worker be killed right after it."""

    def __init__(self, folder: Path, worker: int, life: int) -> None:
        self.worker, self.life = worker, life
        self.file = os.open(folder / f"worker {worker}.stamps", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def reached(self, point: str, at: float | None = None) -> None:
        """Note that a point was reached, now or at a time that is known otherwise."""
        stamp = Stamp(self.worker, self.life, point, time.perf_counter() if at is None else at)
        os.write(self.file, json.dumps(stamp).encode() + b"\n")


def process_start() -> float:
    """Return when this process was started, on the clock of the stamps, to 0.01 s; elsewhere than on Linux when it is asked."""
    now = time.perf_counter()
    if not Path("/proc/self/stat").exists():
        return now
    ticks = (
        Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    )  # since the machine was started; see proc(5)
    return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK"))


def read(folder: Path) -> list[Stamp]:
    """Return all stamps in the order of time."""
    lines = [line for path in folder.glob("*.stamps") for line in path.read_text().splitlines()]
    return sorted((Stamp(*json.loads(line)) for line in lines), key=lambda stamp: stamp.at)


class Recovery(NamedTuple):
    """From a kill to the first step after it. phases: seconds by what was done; the slowest worker counts. killed, resumed: after steps."""

    phases: dict[str, float]
    killed: int
    resumed: int

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return sum(self.phases.values())

    @property
    def lost(self) -> int:
        """Return how many steps had to be done again."""
        return self.killed - self.resumed


def recoveries(stamps: Sequence[Stamp]) -> Iterator[Recovery]:
    """Yield what became of each kill. stamps: in the order of time."""
    for kill in (stamp for stamp in stamps if stamp.kind == KILLED):
        before = [stamp.step for stamp in stamps if stamp[:2] == kill[:2] and stamp.kind == STEP]
        after = [stamp for stamp in stamps if stamp.life == kill.life + 1]
        first = min(stamp.step for stamp in after if stamp.kind == STEP)
        last = {stamp.kind: stamp for stamp in after if stamp.kind != STEP or stamp.step == first}
        reached = [kill, *(last[kind] for kind in RECOVERING if kind in last)]
        phases = {RECOVERING[then.kind]: then.at - now.at for now, then in pairwise(reached)}
        yield Recovery(phases, max(before), last[RESUMED].step)


def lanes(stamps: Sequence[Stamp]) -> list[tuple[str, list[tuple[float, float, str]]]]:
    """Return a timeline: for each worker its spans, from the first stamp of any."""
    zero = min(stamp.at for stamp in stamps)
    found = []
    for worker in sorted({stamp.worker for stamp in stamps}):
        mine = [stamp for stamp in stamps if stamp.worker == worker and stamp.kind != KILLED]
        spans = [(now.at - zero, then.at - zero, _doing(now, then)) for now, then in pairwise(mine)]
        found.append((f"worker {worker}", spans))
    return found


def _doing(now: Stamp, then: Stamp) -> str:
    if then.life > now.life:
        return f"gone after {now.point}"
    return " ".join([DOING[then.kind], *then.point.split(" ")[1:]])
