"""The measuring loop on runs whose time is known: a clock that only the runs move."""

import itertools
import resource
import time
from collections.abc import Callable

import numpy as np
import pytest

from parlab import measure
from parlab.measure import CLOCK_STEPS, LEAST, MOST_ROUNDS, Alone, Array, Gpus, Part, Trials, interleave, part_clock


class Clock:
    """A clock that stands still until a run moves it, and counts involuntary switches on request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.switches = 0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.now)
        monkeypatch.setattr(measure, "clock_step", lambda: 1e-7)
        monkeypatch.setattr(resource, "getrusage", lambda _: type("Usage", (), {"ru_nivcsw": self.switches}))

    def takes(self, seconds: float | Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds() if callable(seconds) else seconds

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_time_of_one_operation_is_found_and_sampling_stops_when_it_is_known(clock: Clock) -> None:
    trials = interleave({"a": clock.takes(3e-3), "b": clock.takes(1e-3)}, Alone(), limit=60, seed=0)
    assert trials["a"].seconds.median == pytest.approx(3e-3)
    assert trials["b"].seconds.median == pytest.approx(1e-3)
    assert len(trials["a"].samples) < MOST_ROUNDS


def test_a_short_operation_is_timed_in_batches_of_enough_clock_steps(clock: Clock) -> None:
    trials = interleave({"short": clock.takes(1e-7), "long": clock.takes(1.0)}, Alone(), limit=1e9, seed=0)
    assert trials["short"].batch * 1e-7 >= CLOCK_STEPS * 1e-7
    assert trials["short"].batch < 16 * CLOCK_STEPS
    assert trials["long"].batch == 1
    assert trials["short"].seconds.median == pytest.approx(1e-7)


def test_cases_run_interleaved_in_an_order_that_changes_and_that_the_seed_fixes(clock: Clock) -> None:
    def order(seed: int) -> str:
        seen: list[str] = []

        def run(name: str) -> Callable[[], None]:
            def go() -> None:
                seen.append(name)
                clock.now += 1.0

            return go

        interleave({name: run(name) for name in "abc"}, Alone(), limit=1e9, seed=seed)
        return "".join(seen)

    one = order(1)
    rounds = [one[i : i + 3] for i in range(6, len(one), 3)]  # two calls of each for warming up and calibrating
    assert all(sorted(r) == list("abc") for r in rounds)
    assert len(set(rounds)) > 3
    assert order(1) == one
    assert order(2) != one


def test_a_case_that_never_settles_stops_at_its_time_limit(clock: Clock) -> None:
    values = itertools.cycle([1e-3, 1e-2])
    trials = interleave({"wild": clock.takes(lambda: next(values))}, Alone(), limit=0.2, seed=0)
    assert LEAST <= len(trials["wild"].samples) < MOST_ROUNDS
    assert clock.now < 0.3


def test_a_case_that_takes_far_longer_than_its_limit_stops_with_what_it_has(clock: Clock) -> None:
    trials = interleave({"slow": clock.takes(10.0)}, Alone(), limit=1.0, seed=0)
    assert len(trials["slow"].samples) < LEAST
    assert trials["slow"].seconds.high == float("inf")


def disturbed_every(clock: Clock, period: int) -> Callable[[], None]:
    count = itertools.count(1)

    def run() -> None:
        hit = next(count) % period == 0
        clock.switches += 5 if hit else 0
        clock.now += 1.0 if hit else 1e-3

    return run


def test_trials_that_the_scheduler_disturbed_are_dropped_and_counted(clock: Clock) -> None:
    trials = interleave({"a": disturbed_every(clock, 3)}, Alone(), limit=1e9, seed=0)["a"]
    assert trials.disturbed == trials.dropped > 0
    assert trials.kept.max() == pytest.approx(1e-3)


def test_without_the_gate_they_stay(clock: Clock) -> None:
    trials = interleave({"a": disturbed_every(clock, 3)}, Alone(), limit=1e9, seed=0, gate=False)["a"]
    assert trials.dropped == 0
    assert trials.kept.max() == pytest.approx(1.0)


def test_where_nearly_all_are_disturbed_all_are_kept(clock: Clock) -> None:
    trials = interleave({"a": disturbed_every(clock, 1)}, Alone(), limit=30.0, seed=0)["a"]
    assert trials.disturbed >= LEAST
    assert trials.dropped == 0


def test_the_inputs_change_before_every_round(clock: Clock) -> None:
    changes: list[int] = []
    trials = interleave({"a": clock.takes(1.0)}, Alone(), limit=1e9, seed=0, refresh=lambda: changes.append(1))
    assert len(changes) == 1 + len(trials["a"].samples)  # once ahead of them all: what it needs is compiled then


class Two(Alone):
    """A team of which the other worker is always slower."""

    def slowest(self, values: Array) -> Array:
        return np.maximum(values, np.where(values > 0, 7e-3, 0))


def test_the_slowest_worker_counts(clock: Clock) -> None:
    trials = interleave({"a": clock.takes(1e-3)}, Two(), limit=1e9, seed=0)
    assert trials["a"].seconds.median == pytest.approx(7e-3)


def test_a_computing_run_that_got_too_little_of_its_core_is_disturbed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = itertools.cycle([1.0, 0.5])
    cpu = 0.0

    def run() -> None:
        nonlocal cpu
        clock.now += 0.01
        cpu += 0.01 * next(shares)

    monkeypatch.setattr(time, "process_time", lambda: cpu)
    assert interleave({"a": run}, Alone(), limit=1e9, seed=0, busy={"a": 1})["a"].disturbed > 5
    assert interleave({"a": run}, Alone(), limit=1e9, seed=0)["a"].disturbed == 0


def test_the_clock_is_real() -> None:
    assert 0 < measure.clock_step() < 1e-3


def test_dropped_trials_keep_the_rounds_paired() -> None:
    trials = Trials(np.array([1.0, np.nan, 3.0]), 1, 1)
    assert list(trials.kept) == [1.0, 3.0]
    assert trials.dropped == 1


@pytest.mark.ranks(3)
def test_ranks_of_any_history_agree_on_the_order_of_cases_and_on_when_to_stop() -> None:
    """A rank that sat out the smaller communicators must still run the same cases in the same order as the others."""
    from mpi4py import MPI

    from parlab.bench import Bench, Case
    from parlab.options import BUDGETS

    world = MPI.COMM_WORLD
    seen: list[str] = []

    def case(name: str, comm: MPI.Intracomm) -> Case:
        def run() -> None:
            seen.append(name)
            comm.Barrier()

        return Case(run)

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench("mpi_farm", world, 99, [1, 2, 3], BUDGETS["smoke"], 0, Path(folder))
        for comm in bench.communicators():
            seen.clear()
            bench.contrast(comm, {}, "way", {name: case(name, comm) for name in "abcdef"})
            assert len(set(comm.allgather("".join(seen)))) == 1
    assert world.allreduce(1) == 3


def test_only_the_middle_of_a_part_counts_and_everything_is_done_each_time(clock: Clock) -> None:
    part = Part(clock.takes(0.25), before=clock.takes(5.0), after=clock.takes(7.0))
    assert part_clock().time(part, 3) == 0.75
    assert clock.now == 3 * 12.25


def test_a_team_of_gpus_waits_for_them_before_each_run() -> None:
    waited: list[int] = []
    timer = measure.Clock("none", lambda run, batch: 1.0, 1e-7)
    Gpus(2, events=timer, gated=timer, settle=waited.append).barrier()
    assert waited == [2]
