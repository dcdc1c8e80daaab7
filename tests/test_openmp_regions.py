"""The constructs of regions.py and regions.c: every delay is done as often as it should be, and a construct that fails is found."""

import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from numba import njit, prange

from parlab import catalogue
from parlab.openmp_like import gcc
from parlab.openmp_like.assembly import inner_loops
from parlab.openmp_like.regions import CONSTRUCTS, REFERENCE, Counted, delay, in_c, reference, words
from parlab.openmp_like.waiting import barrier
from parlab.records import Comparison, Conclusion, Measurement
from parlab.stats import Interval

REPS, TURNS = 200, 20
IN_C = [(name, function) for name, construct in CONSTRUCTS.items() for function in construct.gcc]


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_construct_does_each_delay_once(name: str, threads: int) -> None:
    counted = Counted(CONSTRUCTS[name], CONSTRUCTS[name].kernel, words(threads), REPS, TURNS)
    for _ in range(3):
        counted.out.fill(float("nan"))
        counted.run()
        assert counted.check() is None


@pytest.mark.parametrize(("name", "function"), IN_C)
def test_so_does_its_twin_in_c(name: str, function: str, threads: int) -> None:
    try:
        library = gcc.load("regions.c")
    except RuntimeError as error:
        pytest.skip(str(error))
    counted = Counted(CONSTRUCTS[name], in_c(library, function), words(threads), REPS, TURNS)
    counted.run()
    assert counted.check() is None


def test_the_reference_counts_and_its_loop_is_there() -> None:
    counted = Counted(REFERENCE, reference, words(1), REPS, TURNS)
    counted.run()
    assert counted.check() is None
    assert counted.out[0, 0] == REPS * TURNS
    assert additions(reference) > 0


def additions(kernel: Any) -> int:
    try:
        return sum("addsd" in line for loop in inner_loops(kernel) for line in loop.lines)
    except NotImplementedError as error:
        pytest.skip(str(error))


def test_a_delay_of_whole_numbers_would_be_removed() -> None:
    """The mutant: the compiler multiplies instead, and the check of the loop sees that it is gone."""

    @njit
    def folded(out: Any, reps: int, turns: int) -> None:
        x = 0
        for _ in range(reps):
            for _ in range(turns):
                x += 1
        out[0, 0] = x

    counted = Counted(REFERENCE, reference, words(1), REPS, TURNS)
    folded(counted.out, REPS, TURNS)
    assert counted.out[0, 0] == REPS * TURNS
    assert additions(folded) == 0


@njit(parallel=True, cache=True)
def no_lock(out: Any, state: Any, reps: int, turns: int) -> None:
    threads = out.shape[0]
    for lane in prange(threads):
        for _ in range(lane, reps, threads):
            delay(out, 0, turns)


@njit(parallel=True, cache=True)
def done_by_all(out: Any, state: Any, reps: int, turns: int) -> None:
    threads = out.shape[0]
    for lane in prange(threads):
        for _ in range(reps):
            if lane == 0:
                delay(out, 0, turns)
            barrier(state, threads)
            if lane == 1:
                delay(out, 0, turns)
            barrier(state, threads)


@njit(parallel=True, cache=True)
def one_lane_less(out: Any, state: Any, reps: int, turns: int) -> None:
    for _ in range(reps):
        for lane in prange(out.shape[0] - 1):
            delay(out, lane, turns)


@njit(parallel=True, cache=True)
def not_summed(out: Any, state: Any, reps: int, turns: int) -> None:
    for _ in range(reps):
        for lane in prange(out.shape[0]):
            delay(out, lane, turns)
        out[0, 1] += turns


MUTANTS = [("lock", no_lock), ("single", done_by_all), ("region", one_lane_less), ("reduction", not_summed)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core threads hardly meet")
@pytest.mark.parametrize(("name", "kernel"), MUTANTS)
def test_a_construct_that_fails_is_found(name: str, kernel: Callable[..., None], two: int) -> None:
    counted = Counted(CONSTRUCTS[name], kernel, words(two), 20_000 if name == "lock" else REPS, TURNS)
    found = []
    for _ in range(20):  # on a busy machine the two may miss each other now and then
        counted.run()
        found.append(counted.check())
    assert any(found)


LAYERED = """
import sys, numba
from parlab.openmp_like import layers, threads
from parlab.openmp_like.regions import CONSTRUCTS, Counted, words
try:
    layers.use(sys.argv[1])
    layers.refuse("waiting", threads=2)
except layers.Refused as error:
    sys.exit(f"SKIP {error}")
numba.set_num_threads(2)
for name, construct in CONSTRUCTS.items():
    counted = Counted(construct, construct.kernel, words(2), 100, 5)
    for _ in range(20):
        counted.run()
        if told := counted.check():
            sys.exit(f"{name}: {told}")
print(threads.layer())
"""


@pytest.mark.parametrize("layer", ["tbb", "workqueue"])
def test_the_constructs_hold_on_the_other_layers(layer: str) -> None:
    done = subprocess.run([sys.executable, "-c", LAYERED, layer], capture_output=True, text=True, timeout=100)
    if done.stderr.startswith("SKIP"):
        pytest.skip(done.stderr[5:])
    assert done.stdout.strip() == layer, done.stderr


@pytest.fixture(scope="module")
def lab() -> ModuleType:
    return catalogue.script("region_overhead")


def around(value: float) -> Interval:
    return Interval(value, 0.99 * value, 1.01 * value, 24)


def records(times: dict[str, float], layer: str, p: int, at_once: bool = True) -> list[Any]:
    """Make up what a launch would record; at_once: whether its threads had the processors' whole time."""
    lab, proof = "region_overhead", {"a core each": layer, "work": "together"}
    how = {"layer": layer, "disturbed": 20, "dropped": 20 if at_once else 0}
    made: list[Any] = [Measurement(lab, proof, p, "threads", around(1e-3), [1e-3] * 24, {}, True, how=how)]
    for name, t in times.items():
        case = {"layer": layer, "construct": name}
        made.append(Measurement(lab, case, p, "threads", around(t), [t] * 24, {}, True, how=how))
        if name != "reference":
            made.append(Comparison(lab, case, case, p, around(times["reference"] / t), "slower"))
    return made


DELAYS = {"reference": 1e-7, "twice the delay": 2e-7, "gcc reference": 1e-7, "gcc twice the delay": 2e-7}
TIMES = DELAYS | {"region": 11e-7, "barrier": 4e-7, "atomic": 3e-8}
RIVALS = {"gcc parallel": 6e-7, "gcc barrier": 4e-7, "gcc atomic": 3e-8}


def told(lab: ModuleType, made: list[Any]) -> dict[str, bool | None]:
    return {c.sentence: c.holds for c in (Conclusion("region_overhead", *pair) for pair in lab.judge(made))}


def test_the_overhead_is_the_time_beyond_the_reference(lab: ModuleType) -> None:
    found = lab.recorded(records(TIMES | RIVALS, "omp", 2), 2, "omp")
    assert found["region"].median == pytest.approx(1e-6)
    assert found["gcc barrier"].median == pytest.approx(3e-7)
    assert found["atomic"].median == pytest.approx(3e-8)  # it has no delay, so nothing is taken off
    assert found["region"].low < 1e-6 < found["region"].high


def test_goals_hold_fail_or_cannot_be_told(lab: ModuleType) -> None:
    def holds(word: str, verdicts: dict[str, bool | None]) -> bool | None:
        return next(holds for sentence, holds in verdicts.items() if word in sentence)

    good = told(lab, records(TIMES | RIVALS, "omp", 2))
    assert all(holds(word, good) for word in ("no reference was removed", "region adds", "barrier adds", "atomic adds"))
    bad = told(lab, records(TIMES | RIVALS | {"barrier": 9e-7, "atomic": 5e-8}, "omp", 2))
    assert [holds(word, bad) for word in ("region adds", "barrier adds", "atomic adds")] == [True, False, False]
    busy = told(lab, records(TIMES | RIVALS | {"barrier": 9e-7}, "omp", 2, at_once=False))
    assert [holds(word, busy) for word in ("omp: region adds", "barrier adds", "atomic adds")] == [None] * 3


def test_a_reference_that_was_removed_is_told(lab: ModuleType) -> None:
    verdicts = told(lab, records(TIMES | RIVALS | {"twice the delay": 1e-7}, "omp", 2))
    assert verdicts[next(s for s in verdicts if "no reference was removed" in s)] is False
