"""What a lab script sees: cases, contrasts, conclusions (parlab.start runs it).

def main(bench):
    for comm in bench.communicators():
        bench.contrast(comm, {"op": "barrier"}, "algorithm", {"library": Case(comm.Barrier), ...}, against="library")
    bench.conclude(judge)
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import numpy as np

from parlab import records, results, units, witness
from parlab.errors import CheckFailed
from parlab.gauge import waiting_gauge
from parlab.measure import Alone, Array, Clock, Team, Trials, interleave
from parlab.options import Budget, size
from parlab.stats import Interval, median_interval, paired_ratio, verdict

if TYPE_CHECKING:
    from mpi4py import MPI
    from torch import Tensor

    from parlab.crew import Crew
    from parlab.gpus import Device
    from parlab.measure import Gpus
    from parlab.workers import Workers

RUNNING = "PARLAB_RUN"  # set by `parlab run` for the processes it starts: the folder of the run they add to
MORE = "PARLAB_MORE"  # set where another launch of the same lab follows, which will draw the conclusions
POISON = 0x5A  # for whole numbers, which have no NaN; it fits every type
POLITE = "workqueue"  # the layer whose calling thread does no share of the work, but calls sched_yield until it is done
AGAIN = " again"  # marks the control: the reference, measured against itself

Judge = Callable[[list[records.Record]], Iterable[tuple[str, bool | None]]]


@dataclass(frozen=True)
class Case:
    """One way to do what a contrast is about.

    run: the function to time. check: called after one run on poisoned outputs, before any timing and after all of it; says what is
    wrong, or None. poison: arrays that the run must overwrite. inputs: arrays that are changed before every round. units: operations
    in one run (2 for a ping-pong of which one way is meant). work: bytes or flops of one operation. share: its bound, as a share of
    the time of the contrast's floor. prediction: (model, seconds). facts: what is counted beside the time, asked for at the end.
    busy: cores that one run keeps busy from begin to end, 0 where it waits: a trial that got less of their time is disturbed.
    clock: what times the run, where it is not the clock of this process (the events of a GPU). label: parameters of this case, where
    the cases of a contrast differ in more than the one axis; they stand beside the common ones, in place of the axis' own.
    """

    run: Callable[[], object]
    check: Callable[[], str | None] | None = None
    poison: "Sequence[Array | Tensor]" = ()
    inputs: "Sequence[Array | Tensor]" = ()
    units: int = 1
    work: Mapping[str, float] = field(default_factory=dict)
    share: float | None = None
    prediction: tuple[str, float] | None = None
    facts: Callable[[], dict[str, float]] = dict
    busy: int = 0
    clock: Clock | None = None
    label: Mapping[str, str | int | float] = field(default_factory=dict)


class Bench:
    """One lab's run as one of its workers sees it. Rank 0 keeps the records."""

    def __init__(
        self,
        lab: str,
        world: "MPI.Intracomm | Workers | None",
        cores: int,
        workers: list[int],
        budget: Budget,
        seed: int,
        out: Path,
    ) -> None:
        self.lab, self.world, self.cores, self.workers, self.budget = lab, world, cores, workers, budget
        self.seed, self.out = seed, out
        self.first = world is None or world.rank == 0
        self.writer = results.Writer(out)
        self.kind = (
            "threads" if world is None else "ranks"
        )  # what the workers are; by_process and by_worker know better
        self.layer = ""  # Numba's threading layer, where the workers are threads
        self.start = time.perf_counter()
        self._skipped: set[str] = set()

    def communicators(self, *sizes: int) -> "Iterator[MPI.Intracomm]":
        """Yield the communicators of the scaling curve (or of the given sizes) that this rank belongs to."""
        from parlab.ranks import curve

        world = cast("MPI.Intracomm", self.world)
        return curve(world, [p for p in sizes or self.workers if p <= world.size])

    def groups(self, *sizes: int) -> "Iterator[Workers]":
        """Yield the groups of processes of the scaling curve (or of the given sizes) that this worker belongs to."""
        from parlab.workers import curve

        world = cast("Workers", self.world)
        return curve(world, [p for p in sizes or self.workers if p <= world.size])

    def threads(self, crew: "Crew | None" = None, *sizes: int) -> Iterator[Alone]:
        """Yield teams of threads of this process, of the numbers asked for (or those of them that `sizes` names).

        crew: knows how to pin them and how to prove that they have a core each; without it they are left where they are.
        """
        from parlab.crew import teams

        return teams(self, crew, [p for p in self.workers if not sizes or p in sizes])

    def gpus(self, device: "Device", *sizes: int) -> Iterator["Gpus"]:
        """Yield teams of GPUs of this process, of the numbers asked for (or those of them that `sizes` names).

        device: knows what the GPUs are, and whether they can be used.
        """
        from parlab.gpus import teams

        return teams(self, device, [p for p in self.workers if not sizes or p in sizes])

    def sizes(self, least: str, most: str, steps: int = 1, full: str | None = None) -> list[int]:
        """Return sizes in bytes from `least` to `most` (in full to `full`), each 2**steps times the last; a smaller budget takes fewer."""
        low, high = size(least), size(full if full and self.budget.name == "full" else most)
        factor = 2 ** (steps * self.budget.every)
        found = [low]
        while found[-1] * factor < high:
            found.append(found[-1] * factor)
        return [*found, high]

    def random(self, count: int) -> Array:
        """Return `count` seeded random numbers, different on every rank: written memory, not the zero page."""
        rank = self.world.rank if self.world else 0
        return np.random.default_rng((self.seed, rank)).uniform(0.5, 1.5, count)

    def contrast(
        self,
        team: "MPI.Intracomm | Workers | Alone",
        common: records.Case,
        axis: str,
        cases: Mapping[Any, Case],
        *,
        against: str | None = None,
        control: bool = False,
        floor: tuple[str, Case] | None = None,
        seconds: float = 1.0,
    ) -> dict[Any, Trials]:
        """Check every case, then time them against each other, and record measurements and comparisons.

        common: the parameters that all cases share. axis: the one in which they differ; its values are the keys of `cases`.
        against: the case that the others are compared with, and itself too where `control` asks for it. floor: the run that
        bounds all cases: nothing that does their work can take less than their share of its time. seconds: scales the time
        budget. Returns the trials, the same on all ranks.
        Raises CheckFailed on all ranks when any rank saw a wrong result.
        """
        told = ", ".join(f"{key} {value}" for key, value in common.items())
        witness.reached(told or axis)
        members, workers = self._members(team), team.size
        pinned = isinstance(team, Alone) and team.pinned
        listed: dict[Any, Case] = dict(cases)
        if against and control:
            listed[against + AGAIN] = cases[against]
        if floor:
            listed[floor[0]] = floor[1]
        usual: Clock | None = getattr(team, "clock", None)  # of processes with GPUs
        training = self.kind == "processes" or usual is not None
        inputs = list({id(x): x for case in cases.values() for x in case.inputs}.values())
        self._verify(cases, members)
        trials = interleave(
            {name: case.run for name, case in listed.items()},
            members,
            limit=self.budget.case_seconds * seconds * len(listed),
            # The order of the cases must be the same on all workers, and a rank may have sat out earlier contrasts.
            seed=crc32(f"{self.seed} {workers} {common}".encode()),
            refresh=lambda: _change(inputs),
            # Who is not pinned may be moved by its own; processes have threads of gloo or NCCL beside the one that computes.
            gate=workers <= self.cores and not training and (self.kind != "threads" or pinned),
            busy={name: case.busy for name, case in listed.items()},
            clocks={name: clock for name, case in listed.items() if (clock := case.clock or usual)},
            gauge=waiting_gauge() if pinned else None,
            polite=int(self.layer == POLITE),
        )
        self._verify(cases, members)
        if self.first:
            bound = floor and (floor[0], trials[floor[0]].seconds.median / floor[1].units)
            labels = {name: {**common, **(case.label or {axis: name})} for name, case in listed.items()}
            for name, case in listed.items():
                self._measured(labels[name], case, trials[name], workers, bound)
            for name in listed:
                if against and name != against and not (floor and name == floor[0]):
                    ratio = paired_ratio(*(trials[n].samples / listed[n].units for n in (against, name)))
                    self._compared(labels[name], labels[against], workers, ratio)
            seconds_so_far = f"{time.perf_counter() - self.start:5.1f} s"
            print(f"  {seconds_so_far}  {units.count(workers, self.kind)}  {told}", file=sys.stderr, flush=True)
        members.barrier()  # a rank that fails from here on cannot take down rank 0 before this is in the file
        return trials

    def once(
        self, team: "Workers | Alone", case: records.Case, samples: Sequence[float], facts: Mapping[str, float]
    ) -> None:
        """Record what takes too long to be repeated in rounds, as a restart does: the seconds of each time, and what was counted."""
        how = {"batch": 1, "disturbed": 0, "dropped": 0, "oversubscribed": team.size > self.cores}
        seconds, facts = median_interval(samples), dict(facts)
        self.writer.write(
            records.Measurement(
                self.lab, case, team.size, self.kind, seconds, [*samples], {}, verified=True, how=how, facts=facts
            )
        )

    def row(self, row: Mapping[str, str]) -> None:
        """Record one line of a table of findings: text by column."""
        if self.first:
            self.writer.write(records.Row(self.lab, dict(row)))

    def lanes(
        self,
        team: "Workers | Alone",
        case: records.Case,
        lanes: Iterable[tuple[str, Iterable[tuple[float, float, str]]]],
    ) -> None:
        """Record a timeline: for each lane its spans (begin, end, label), in seconds from a common zero."""
        listed = [(name, [(float(begin), float(end), label) for begin, end, label in spans]) for name, spans in lanes]
        self.writer.write(records.Lanes(self.lab, case, team.size, listed))

    def curve(
        self,
        title: str,
        x_name: str,
        y_name: str,
        lines: Mapping[str, Iterable[Sequence[float]]],
        *,
        logx: bool = False,
        logy: bool = False,
    ) -> None:
        """Record a picture of findings along a number: for each line its points (x, y, low, high), or (x, y) where a model says so.

        A line without points is left out.
        """
        listed = {name: [tuple(map(float, point)) for point in points] for name, points in lines.items()}
        found = {name: points for name, points in listed.items() if points}
        if self.first and found:
            self.writer.write(records.Curve(self.lab, title, x_name, y_name, found, logx, logy))

    def skip(self, reason: str) -> None:
        """Record that a part of the lab cannot run here; the same reason once."""
        if self.first and reason not in self._skipped:
            self._skipped.add(reason)
            self.writer.write(records.Skip(self.lab, reason))

    def conclude(self, judge: Judge) -> None:
        """Draw conclusions from all records of this lab: `judge` yields sentences and whether they hold (None: cannot tell)."""
        if self.first and MORE not in os.environ:
            for sentence, holds in judge(results.read(self.out).of(self.lab)):
                self.writer.write(records.Conclusion(self.lab, sentence, holds))

    def _members(self, team: "MPI.Intracomm | Workers | Alone") -> Team:
        if hasattr(team, "slowest"):
            return cast(Team, team)
        from parlab.ranks import Ranks

        return Ranks(team)

    def _verify(self, cases: Mapping[Any, Case], team: Team) -> None:
        for name, case in cases.items():
            for array in case.poison:
                _poison(array)
            team.barrier()  # nobody may write into an array before its owner has poisoned it
            case.run()
            if wrong := team.words(case.check() if case.check else None):
                rank, text = min(wrong.items())
                raise CheckFailed(f"{self.lab}: {name} is wrong on {len(wrong)} workers; worker {rank}: {text}")

    def _measured(
        self, label: records.Case, case: Case, trials: Trials, workers: int, bound: tuple[str, float] | None
    ) -> None:
        how: dict[str, Any] = {
            "batch": trials.batch,
            "disturbed": trials.disturbed,
            "dropped": trials.dropped,
            "oversubscribed": workers > self.cores,
        }
        how |= {"layer": self.layer} if self.layer else {}
        how |= {"clock": case.clock.name} if case.clock else {}
        if self.world is not None:
            how |= {"across": "slowest", "sync": "barrier" if workers > 1 else "none"}
        self.writer.write(
            records.Measurement(
                lab=self.lab,
                case=label,
                workers=workers,
                kind=self.kind,
                seconds=trials.seconds.map(lambda t: t / case.units),
                samples=[float(t) / case.units for t in trials.kept],
                work=dict(case.work),
                verified=case.check is not None,
                bound=records.Limit(bound[0], case.share * bound[1]) if bound and case.share is not None else None,
                prediction=records.Limit(*case.prediction) if case.prediction else None,
                how=how,
                facts=case.facts(),
            )
        )

    def _compared(self, label: records.Case, other: records.Case, workers: int, ratio: Interval) -> None:
        self.writer.write(records.Comparison(self.lab, label, other, workers, ratio, verdict(ratio)))


def _poison(array: Any) -> None:
    if hasattr(array, "fill_"):  # a tensor of torch; numpy and CuPy agree
        array.fill_(np.nan if array.is_floating_point() else POISON)
    else:
        array.fill(np.nan if array.dtype.kind in "fc" else POISON)


def _change(arrays: Iterable[Any]) -> None:
    """Give the next round other inputs of the same size: a run that repeated an old answer would fail the last check."""
    for array in arrays:
        if hasattr(array, "neg_"):
            array.neg_()
        else:
            np.negative(array, out=array)
