"""What stands for each OpenMP clause, does it mean the same, what does it cost?     python labs/openmp_clauses.py --workers 1,2,4

Every clause has a small kernel, and a check that proves its meaning before and after it is timed: that a private variable is private, that
`ordered` keeps the order, that `nowait` does not wait. The time is that of one use of the clause with its share of the region
(region_overhead takes the region away). Then programs of tasks, beside a serial thread and gcc's tasks. With --budget full, and after
`make pyomp`, each clause is also tried as PyOMP writes it, in an interpreter of its own: what the table says of it comes from that run.
"""

import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from functools import partial
from pathlib import Path
from typing import Any

from parlab import process
from parlab.bench import Bench, Case
from parlab.judge import at_once, on_free_cores
from parlab.launch import Command
from parlab.measure import Alone
from parlab.openmp_like import gcc, threads
from parlab.openmp_like.clauses_table import CLAUSES
from parlab.openmp_like.clauses_tasks import Recursion, Wavefront
from parlab.openmp_like.layers import Refused, refuse
from parlab.records import Record, Row, compared, measured
from parlab.start import lab
from parlab.units import interval, span

LARGE = {"smoke": 18, "quick": 27, "full": 32}  # the Fibonacci number computed by tasks of some us
SMALL = {"smoke": 12, "quick": 18, "full": 24}  # and by tasks to the leaf
CUTOFF = 16  # below it a task computes serially: 1600 calls
LETTERS = {"smoke": 100, "quick": 600, "full": 1200}  # of the two words of the wavefront
SIDE = 50  # of its blocks: 2500 elements, some us
BLOCKS = f"blocks of {SIDE} x {SIDE}"
BRANCHES, LEAVES = "tasks of some us", "a task for each call"
PYOMP = Path(__file__).resolve().parents[1] / ".venv-pyomp" / "bin" / "python"  # what `make pyomp` makes
WRONG, REFUSED = 3, 1  # exit status of a form of PyOMP, see pyomp_table.py
LIMIT = 30.0  # seconds, after which it hangs; it needs 2


def main(bench: Bench) -> None:
    """Prove and time the forms, then the tasks, on every team; then show the table."""
    costs: dict[str, dict[int, str]] = {clause.name: {} for clause in CLAUSES}
    for team in bench.threads(threads):
        for name, cost in clauses(bench, team).items():
            costs[name][team.size] = cost
        library = compiled(bench)
        recursion(bench, team, LEAVES, Recursion(team.size, SMALL[bench.budget.name], 2), library)
        recursion(bench, team, BRANCHES, Recursion(team.size, LARGE[bench.budget.name], CUTOFF), library)
        wavefront(bench, team, Wavefront(team.size, LETTERS[bench.budget.name], SIDE), library)
    verdicts = pyomp(bench)
    for clause in CLAUSES:
        told = {"clause": clause.name, "OpenMP": clause.openmp.removeprefix("#pragma "), "Numba": clause.numba}
        takes = costs[clause.name]
        told |= {"proved on": ", ".join(map(str, takes)), "a use takes": takes[max(takes)] if takes else ""}
        bench.row(told | {"PyOMP": verdicts[clause.name]})
    bench.conclude(judge)


def clauses(bench: Bench, team: Alone) -> dict[str, str]:
    """Contrast the forms that this layer can run; return what a use of each costs."""
    forms, left = {}, defaultdict(list)
    for clause in CLAUSES:
        try:
            refuse(*clause.wants, threads=team.size)
            forms[clause.name] = clause.form(team.size)
        except Refused as error:
            left[str(error)].append(clause.name)
    for reason, names in left.items():
        bench.skip(f"{', '.join(names)}: {reason}")
    cases = {name: Case(form.run, form.check, form.poison, units=form.units) for name, form in forms.items()}
    trials = bench.contrast(team, {"form": "Numba"}, "clause", cases, seconds=0.3)
    return {
        name: interval(trials[name].seconds.map(lambda t, uses=case.units: t / uses))  # type: ignore[misc]
        for name, case in cases.items()
    }


def compiled(bench: Bench) -> CDLL | None:
    """Return gcc's tasks, on the layer with which it shares its threads."""
    try:
        return gcc.load("tasks.c") if bench.layer == "omp" else None
    except RuntimeError as error:
        bench.skip(str(error))
        return None


def recursion(bench: Bench, team: Alone, size: str, program: Recursion, library: CDLL | None) -> None:
    """Contrast calls with tasks, in Numba and in C; the time is that of one task, or of as many calls as it stands for."""

    def case(run: Any, check: Any = program.check, busy: int = 0) -> Case:
        facts = {"tasks": float(program.tasks)}
        return Case(run, check, [program.result], units=program.tasks, facts=lambda: facts, busy=busy)

    ways = {"Numba": {"serial": case(program.serial, busy=1), "tasks": case(program.run, program.all_done)}}
    if library:
        calls, tasks = (partial(program.in_c, library, cutoff) for cutoff in (program.n + 1, program.cutoff))
        ways["gcc"] = {"serial": case(calls, busy=1), "tasks": case(tasks)}
    for language, cases in ways.items():
        bench.contrast(team, {"recursion": size, "in": language}, "clause", cases, against="serial")


def wavefront(bench: Bench, team: Alone, program: Wavefront, library: CDLL | None) -> None:
    """Contrast the table filled row by row with its blocks as tasks."""

    def case(run: Any, busy: int = 0) -> Case:
        return Case(run, program.check, [program.table], busy=busy)

    cases = {"serial": case(program.serial, 1), "tasks": case(program.run)}
    if library:
        cases["gcc tasks"] = case(partial(program.in_c, library))
    bench.contrast(team, {"wavefront": BLOCKS}, "clause", cases, against="serial")


def pyomp(bench: Bench) -> dict[str, str]:
    """Try each clause as PyOMP writes it, two at a time, each in a process of its own; return what became of it."""
    names = [clause.name for clause in CLAUSES]
    if not PYOMP.exists():
        bench.skip("PyOMP is not set up: make pyomp")
        return dict.fromkeys(names, "not set up: make pyomp")
    if bench.budget.name != "full":
        bench.skip("PyOMP's forms, a process each: with --budget full")
        return dict.fromkeys(names, "")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as two:
        logs = [Path(folder) / f"{i}.log" for i in range(len(names))]
        return dict(zip(names, two.map(attempt, names, logs), strict=True))


def attempt(name: str, log: Path) -> str:
    """Run one form of PyOMP and say how it ended."""
    env = {"PYTHONPATH": str(Path(__file__).resolve().parent), "OMP_NUM_THREADS": "2"}
    command = Command([str(PYOMP), "-m", "parlab.openmp_like.pyomp_table", name], env)
    ended = process.run(command, limit=LIMIT, log=log)
    last = (ended.output.strip().splitlines() or [""])[-1].rpartition(":: ")[2]
    if ended.timed_out:
        return f"hangs: no end in {LIMIT:g} s"
    if ended.status < 0:
        return f"aborts ({signal.Signals(-ended.status).name}): {last}"
    return {0: "works", WRONG: f"silently wrong: {last}", REFUSED: f"refused: {last}"}[ended.status]


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say what was proved, what tasks cost and gain, and what became of PyOMP."""
    proved = measured(records, form="Numba")
    for p in sorted({m.workers for m in proved}):
        here = sum(m.verified for m in proved if m.workers == p)
        words = f"{here} of {len(CLAUSES)} clauses have a form in Numba whose meaning was proved"
        yield f"{threads_of(p)}: {words}", True if here == len(CLAUSES) else None
        yield from of_tasks(records, p)
    tried = [r.row["PyOMP"].split(":")[0].split(" (")[0] for r in records if isinstance(r, Row) and "PyOMP" in r.row]
    counts = {how: tried.count(how) for how in ("works", "refused", "aborts", "silently wrong", "hangs")}
    if sum(counts.values()):
        yield f"PyOMP: {', '.join(f'{count} {how}' for how, count in counts.items() if count)}", True


def of_tasks(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """Compare the cost of a task with that of gcc's, and the programs of tasks with the serial ones."""
    small = {str(m.case["in"]): m.seconds for m in measured(records, p, recursion=LEAVES, clause="tasks")}
    if len(small) == 2:
        mine, other = small["Numba"], small["gcc"]
        holds = True if mine.high < other.low else False if mine.low > other.high else None
        words = f"a task takes {interval(mine)} with hardly any work in it, gcc's {interval(other)}: ours takes less"
        yield f"{threads_of(p)}: {words}", at_once(records, p, holds)
    programs = {"recursion": {"recursion": BRANCHES, "in": "Numba"}, "wavefront": {"wavefront": BLOCKS}}
    for name, case in programs.items() if p > 1 else ():
        for c in compared(records, p, clause="tasks", **case):
            holds = None if c.says == "cannot tell" else c.says == "faster"
            words = f"the {name} by tasks is {span(c.ratio)} times as fast as the serial program: {c.says}"
            yield f"{threads_of(p)}: {words}", on_free_cores(records, p, holds)


def threads_of(p: int) -> str:
    """Write a number of threads."""
    return f"{p} thread{'s' * (p > 1)}"


if __name__ == "__main__":
    lab("openmp_clauses", main)
