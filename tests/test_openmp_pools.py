"""Every way to hand the task to workers gives the same bits, and leaves no worker and no shared memory behind, however it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path

import numba
import numpy as np
import psutil
import pytest

from parlab import launch
from parlab.errors import BadRequest
from parlab.openmp_like import interpreter_pool, orbit, pools, workload
from parlab.openmp_like.interpreter_pool import Interpreter, free_threaded
from parlab.openmp_like.layers import Refused
from parlab.openmp_like.pools import (
    Array,
    Arrays,
    Block,
    by_pickling,
    by_sharing,
    by_views,
    compiled,
    cuts,
    interpreted,
)
from parlab.openmp_like.rank_member import ORDER
from parlab.openmp_like.rank_pool import RankPool
from parlab.openmp_like.threads import pinned

COUNT, STEPS = 1000, 60
WORKERS = 3


def has_mpi() -> bool:
    try:
        launch.find_mpi()
    except BadRequest:
        return False
    return True


needs_mpi = pytest.mark.skipif(not has_mpi(), reason="needs MPI")


def some(count: int = COUNT) -> Array:
    return np.random.default_rng(1).uniform(-1, 1, count)


def orbits(values: Array, steps: int = STEPS) -> Array:
    """The task, in plain Python."""
    results = np.empty_like(values)
    interpreted(values, results, steps)
    return results


# The task


def test_the_compiled_task_gives_the_bits_of_plain_python_however_it_is_cut() -> None:
    values, expected = some(), orbits(some())
    for task in (workload.iterate, workload.released, compiled, *(partial(shared, parts) for parts in (1, 2, 3))):
        results = np.full(COUNT, np.nan)
        task(values, results, STEPS)
        np.testing.assert_array_equal(results, expected)


def shared(parts: int, values: Array, results: Array, steps: int) -> None:
    workload.shared(values, results, parts, steps)


def test_a_single_other_rounding_would_be_seen() -> None:
    """The mutant: the same polynomial in another order of its operations."""
    values = some()
    results = values.copy()
    for _ in range(STEPS):
        results = orbit.R * (results * (1 - results * results))
    assert np.mean(results != orbits(values)) > 0.99
    assert np.abs(results - orbits(values)).max() > 0.1


def test_the_task_is_odd_bounded_and_without_steps_nothing() -> None:
    values = some()
    np.testing.assert_array_equal(orbits(-values), -orbits(values))
    assert np.abs(orbits(values)).max() <= 1
    np.testing.assert_array_equal(orbits(values, 0), values)


@pytest.mark.parametrize(("task", "other_thread_ran"), [(workload.released, True), (workload.iterate, False)])
def test_released_drops_the_gil_and_iterate_keeps_it(
    task: Callable[[Array, Array, int], None], other_thread_ran: bool
) -> None:
    values, results = some(), np.empty(COUNT)
    task(values, results, 1)  # compiled
    begin, done = threading.Event(), threading.Event()

    def work() -> None:
        begin.set()
        task(values, results, 50_000)  # some 0.2 s
        done.set()

    one = threading.Thread(target=work)
    before = sys.getswitchinterval()
    sys.setswitchinterval(100)  # the GIL changes hands only where a thread lets go of it
    try:
        one.start()
        begin.wait()
        assert done.is_set() != other_thread_ran
    finally:
        sys.setswitchinterval(before)
        one.join()


def test_numbas_cache_would_confuse_two_versions_of_one_function(tmp_path: Path) -> None:
    """The mutant: why `released` is a function of its own. The second version gets the code of the first, which keeps the GIL."""
    code = """
import numpy as np, sys, threading
from numba import njit
from parlab.openmp_like import orbit
values, results = np.zeros(1000), np.zeros(1000)
njit(cache=True)(orbit.iterate)(values, results, 1)
released = njit(nogil=True, cache=True)(orbit.iterate)
released(values, results, 1)
begin, done = threading.Event(), threading.Event()
one = threading.Thread(target=lambda: [begin.set(), released(values, results, 50_000), done.set()])
sys.setswitchinterval(100)
one.start()
begin.wait()
print(done.is_set())
"""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_fresh_team_comes_and_goes() -> None:
    workload.fresh_team(2)
    before = threading.active_count()
    for _ in range(3):
        workload.fresh_team(2)
    assert threading.active_count() == before


def test_cuts_cover_everything_once_and_evenly() -> None:
    for count in (0, 1, 7, 1000):
        for parts in (1, 2, 3, 8):
            found = list(cuts(count, parts))
            assert [i for first, last in found for i in range(first, last)] == list(range(count))
            sizes = [last - first for first, last in found]
            assert max(sizes) - min(sizes) <= 1


# The ways

Run = Callable[[int, int, int], object]  # count, parts, steps


@pytest.fixture(scope="module")
def block() -> Iterator[Block]:
    with Block(COUNT) as made:
        made.arrays.values[:] = some()
        yield made


@pytest.fixture(scope="module")
def own() -> Arrays:
    return Arrays(some(), np.empty(COUNT))


@pytest.fixture(scope="module")
def by_threads() -> Iterator[Executor]:
    with pools.threads(WORKERS) as pool:
        yield pool


@pytest.fixture(scope="module")
def by_processes() -> Iterator[Executor]:
    with pools.processes(WORKERS, "forkserver") as pool:
        yield pool


@pytest.fixture(scope="module")
def by_ranks(block: Block) -> Iterator[RankPool]:
    with closing(RankPool(block, WORKERS, launch.ranks)) as pool:
        yield pool


def check(run: Run, arrays: Arrays) -> None:
    """Do the task in several parts, of all and of some of the values, and without steps; the rest must stay as it was."""
    for count, parts, steps in (
        (COUNT, 1, STEPS),
        (COUNT, WORKERS, STEPS),
        (COUNT - 1, 2, 3),
        (2, 3, 5),
        (COUNT, 2, 0),
    ):
        arrays.results.fill(np.nan)
        run(count, parts, steps)
        np.testing.assert_array_equal(arrays.results[:count], orbits(arrays.values[:count], steps))
        assert np.isnan(arrays.results[count:]).all()


@pytest.mark.parametrize("task", [compiled, interpreted, workload.released])
def test_threads_that_see_the_arrays(by_threads: Executor, own: Arrays, task: pools.Task) -> None:
    check(partial(by_views, by_threads, own, task=task), own)


@pytest.mark.parametrize("task", [compiled, interpreted])
def test_processes_that_are_sent_their_part(by_processes: Executor, own: Arrays, task: pools.Task) -> None:
    check(partial(by_pickling, by_processes, own, task=task), own)


@pytest.mark.parametrize("task", [compiled, interpreted])
def test_processes_that_share_the_memory(by_processes: Executor, block: Block, task: pools.Task) -> None:
    check(partial(by_sharing, by_processes, block, task=task), block.arrays)


@needs_mpi
def test_ranks(by_ranks: RankPool, block: Block) -> None:
    check(by_ranks.run, block.arrays)


def test_another_interpreter(own: Arrays) -> None:
    with closing(Interpreter(own, WORKERS, sys.executable)) as pool:
        check(pool.run, own)


def fails(values: Array, results: Array, steps: int) -> None:
    raise ArithmeticError("in the task")


def test_what_a_task_raises_is_raised_here(by_threads: Executor, own: Arrays) -> None:
    with pytest.raises(ArithmeticError, match="in the task"):
        by_views(by_threads, own, COUNT, 2, 1, fails)


# Starting


def test_processes_load_numpy_but_nothing_heavy_before_the_first_compiled_step(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom parlab.openmp_like import pools\n"
        "def loaded(*_):\n    print({'numba', 'mpi4py', 'torch'} & set(sys.modules), 'numpy' in sys.modules, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    import numba\n"
        "    for start in ('spawn', 'forkserver'):\n"
        "        with pools.processes(1, start) as pool: pool.submit(loaded).result()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set() True\nset() True\n", done.stderr


def test_all_workers_are_there_when_the_pool_is() -> None:
    with pools.processes(3, "forkserver"):
        assert len([child for child in psutil.Process().children(recursive=True) if is_worker(child)]) >= 3


def is_worker(process: psutil.Process) -> bool:
    return any("spawn_main" in part or "forkserver" in part for part in process.cmdline())


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_children_have_all_cores_unless_they_are_started_while_threads_are_pinned() -> None:
    numba.set_num_threads(2)
    every = os.sched_getaffinity(0)
    with pools.processes(1) as outside, pinned(2), pools.processes(1) as inside:
        assert outside.submit(os.sched_getaffinity, 0).result() == every
        narrowed = inside.submit(os.sched_getaffinity, 0).result()
    assert len(narrowed) == 1  # the trap: on omp the caller is one of the threads


def test_fork_after_a_region_is_refused() -> None:
    workload.shared(some(), np.empty(COUNT), 2, 0)
    if numba.threading_layer() != "omp":
        pytest.skip("only GNU OpenMP minds")
    with pytest.raises(Refused, match="GNU OpenMP kills the child"):
        pools.processes(1, "fork")


@needs_mpi
def test_ranks_that_do_not_start_are_told_in_one_line(block: Block) -> None:
    def broken(count: int, program: object) -> launch.Command:
        return launch.Command([sys.executable, "-c", "import sys; print('noise'); sys.exit('ImportError: no library')"])

    with pytest.raises(RuntimeError, match=r"^only 0 of 2 MPI ranks came: ImportError: no library$"):
        RankPool(block, 2, broken)


# Ending


def gone(processes: list[psutil.Process], seconds: float = 20) -> bool:
    """Wait until all have ended; those that have not are killed."""
    _, left = psutil.wait_procs(processes, timeout=seconds)
    for one in left:
        one.kill()
    return not left


def again_and_again(run: Callable[[], object]) -> None:
    for _ in range(100):
        run()
        time.sleep(0.05)


def test_a_worker_that_is_killed_is_noticed(own: Arrays) -> None:
    with pools.processes(2) as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            again_and_again(lambda: by_pickling(pool, own, COUNT, 2, 0))


@needs_mpi
def test_a_rank_that_is_killed_is_noticed_and_the_others_end(block: Block) -> None:
    pool = RankPool(block, 2, launch.ranks)
    ranks = psutil.Process(pool.launcher.pid).children(recursive=True)
    ranks[-1].kill()
    with pytest.raises(RuntimeError, match=r"^the MPI ranks gave no answer: [^\n]+$"):
        again_and_again(lambda: pool.run(COUNT, 2, 1))
    pool.close()
    assert gone(ranks)


@needs_mpi
def test_ranks_that_are_cut_off_while_one_waits_for_another_end(block: Block) -> None:
    pool = RankPool(block, 2, launch.ranks)
    ranks = psutil.Process(pool.launcher.pid).children(recursive=True)
    pool.ranks[0].sendall(ORDER.pack(COUNT, 2, 1))  # rank 0 scatters, and rank 1 will never hear of it
    for line in pool.ranks.values():
        line.close()
    assert gone(ranks)
    pool.close()


@needs_mpi
def test_ranks_sleep_between_two_runs(by_ranks: RankPool) -> None:
    by_ranks.run(COUNT, WORKERS, 1)
    ranks = psutil.Process(by_ranks.launcher.pid).children(recursive=True)
    before = [sum(rank.cpu_times()[:2]) for rank in ranks]
    time.sleep(1)
    assert max(sum(rank.cpu_times()[:2]) - used for rank, used in zip(ranks, before, strict=True)) < 0.3


def test_an_interpreter_that_ends_is_noticed(own: Arrays) -> None:
    pool = Interpreter(own, 2, sys.executable)
    pool.server.kill()
    with pytest.raises(RuntimeError, match=r"ended with status -9$"):
        pool.run(COUNT, 2, 1)
    pool.close()


PROGRAM = """
import sys
from contextlib import closing
from parlab import launch
from parlab.openmp_like.interpreter_pool import Interpreter
from parlab.openmp_like.pools import Block, by_sharing, processes
from parlab.openmp_like.rank_member import ORDER
from parlab.openmp_like.rank_pool import RankPool

if __name__ == "__main__":
    with (
        Block(1000) as block,
        processes(2, "spawn") as spawned,
        processes(2, "forkserver") as forked,
        closing(Interpreter(block.arrays, 2, sys.executable)) as other,
        closing(RankPool(block, 2, launch.ranks)) as ranks,
    ):
        print(block.name, flush=True)
        while True:
            for run in (lambda *a: by_sharing(spawned, block, *a), lambda *a: by_sharing(forked, block, *a), ranks.run, other.run):
                run(1000, 2, 0)
            if "fail" in sys.argv:
                raise ArithmeticError
"""


@needs_mpi
@pytest.mark.parametrize("end", ["exception", "Ctrl-C", "kill"])
def test_no_worker_and_no_memory_is_left(end: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), *(["fail"] if end == "exception" else [])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as one:
        assert one.stdout
        name = one.stdout.readline().strip()
        family = psutil.Process(one.pid).children(recursive=True)
        time.sleep(0.3)
        if end == "Ctrl-C":
            os.killpg(one.pid, signal.SIGINT)  # as a terminal does: all of the group get it
        elif end == "kill":
            one.kill()
        assert gone(family)
        _, told = one.communicate(timeout=20)
    assert not Path("/dev/shm", name).exists()
    raised = {"exception": "ArithmeticError", "Ctrl-C": "KeyboardInterrupt"}.get(end)
    if raised:
        assert told.strip().splitlines()[-1] == raised
        assert "leaked" not in told


def test_a_block_ends_with_its_with_although_an_array_on_it_lives_on() -> None:
    with Block(10) as block:
        array = block.arrays.values
        array[:] = 1
        assert Path("/dev/shm", block.name).exists()
    assert not Path("/dev/shm", block.name).exists()
    assert array.sum() == 10


# A Python without the GIL


def fake(folder: Path, name: str, answer: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {answer}\n")
    path.chmod(0o755)


def test_a_free_threaded_python_is_one_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    free_threaded.cache_clear()
    assert free_threaded() is None
    fake(tmp_path, "python3.14t", "True")  # built without the GIL, but run with it
    free_threaded.cache_clear()
    assert free_threaded() is None
    fake(tmp_path, "python3.13t", "False")
    free_threaded.cache_clear()
    assert free_threaded() == str(tmp_path / "python3.13t")
    free_threaded.cache_clear()


def test_the_member_of_another_interpreter_needs_only_the_standard_library() -> None:
    folder = Path(interpreter_pool.__file__).parent
    code = f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(folder)!r}]\n"
    code += "import interpreter_member, orbit; print({'numpy', 'numba', 'parlab'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
