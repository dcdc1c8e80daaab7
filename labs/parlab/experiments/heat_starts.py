"""What each way costs before its steps: the time of a program with but one step of a small grid, from its start in the shell to its end.

It starts an interpreter, imports what the way needs, starts threads or ranks or a GPU. Compiled kernels it finds where they were kept; with
the full budget also a program that must compile them is timed.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable

from parlab import launch
from parlab.bench import Bench
from parlab.experiments.heat_names import AFRESH, GPU, HYBRID, MPI, PRANGE, SERIAL, START, TIME_OF
from parlab.experiments.heat_ranks import LOCAL
from parlab.launch import Command
from parlab.measure import Alone
from parlab.mpi.hybrid import shape

TIMES = {"smoke": 1, "quick": 1, "full": 6}  # that each is started
LIMIT = 60  # seconds
KEPT = ("NUMBA_CACHE_DIR", "CUPY_CACHE_DIR")  # the folders for compiled kernels


def measure(bench: Bench, cores: int, ways: Iterable[str]) -> None:
    """Record the seconds of each way's program, with the least budget those of the first alone."""
    programs = {way: command_of(way, cores) for way in ways}
    if bench.budget.name == "smoke":
        programs = dict([*programs.items()][:1])
    for way, command in programs.items():
        keep(bench, cores, way, command)
        if bench.budget.name == "full" and way in (SERIAL, PRANGE, GPU):
            with tempfile.TemporaryDirectory() as empty:
                afresh = Command(command.argv, command.env | dict.fromkeys(KEPT, empty))
                keep(bench, cores, way + AFRESH, afresh, once=True)


def keep(bench: Bench, cores: int, way: str, command: Command, once: bool = False) -> None:
    """Run a program a few times and record it; or say why it does not run."""
    try:
        samples = [seconds(command) for _ in range(1 if once else TIMES[bench.budget.name])]
    except (subprocess.SubprocessError, OSError) as error:
        bench.skip(f"{START}, {way}: {error}")
    else:
        bench.once(Alone(cores), {TIME_OF: START, "way": way}, samples, {})


def command_of(way: str, cores: int) -> Command:
    """Return what starts the program of a way on so many cores."""
    ranks, threads = (way == HYBRID and shape(cores)) or (cores, 1)
    by_ranks = way in (MPI, HYBRID)
    program = ["-m", "parlab.experiments.heat_first_step", way, str(threads if by_ranks else cores)]
    if by_ranks:
        return LOCAL(ranks, program)
    return launch.process(program) if way == GPU else launch.threads(cores, program)


def seconds(command: Command) -> float:
    """Run a program; return its time. subprocess.CalledProcessError where it fails."""
    begin = time.perf_counter()
    subprocess.run(command.argv, env={**os.environ, **command.env}, check=True, capture_output=True, timeout=LIMIT)
    return time.perf_counter() - begin
