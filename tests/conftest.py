"""The markers `ranks(n)` and `workers(n)`: run a test by n processes, over MPI or torch.distributed, bounded in time.

A failure shows the traceback of the rank that failed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from parlab import catalogue, launch, process, results
from parlab.records import Record

# Threads for teams of up to four, whatever the machine has; kernels compiled once for each state of their sources.
os.environ.update({name: value for name, value in launch.threads(4, []).env.items() if name.startswith("NUMBA_")})
os.environ.update(launch.process([]).env)  # as the labs of GPUs have it
os.environ["OMPI_MCA_mpi_yield_when_idle"] = "1"  # who waits leaves the core: two tests may run at a time (pytest -n 2)  # noqa: SIM112

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHILD = "PARLAB_TEST_RANK"  # set in the ranks: there the test runs as it stands
QUIET = [
    "-q",
    "-x",
    "--no-header",
    "-rs",
    "--color=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:hypothesispytest",
    "-p",
    "no:xdist",
    "-o",
    "timeout=0",
]


@pytest.fixture(params=[1, 2, 3, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """A number of threads, set and pinned: some are more than the cores of a small machine."""
    with several(request.param):
        yield request.param


@pytest.fixture
def two() -> Iterator[int]:
    """Two threads, set and pinned."""
    with several(2):
        yield 2


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> None:
    """Skip the test where there is no GPU that Python can use, or another test might; `@pytest.mark.gpu(2)` asks for two."""
    from parlab.gpus import missing

    marker = request.node.get_closest_marker("gpu")
    if reason := missing(marker.args[0] if marker and marker.args else 1):
        pytest.skip(reason)
    if hasattr(request.config, "workerinput"):  # one of several pytests
        pytest.skip("tests on GPUs run one at a time: make test-gpu")


class Standin:
    """Runs things on the stand-in for CuPy (tests/standin), each in a process of its own."""

    def __init__(self, file: Path) -> None:
        self.file, self.home = file, Path(__file__).parent / "standin"

    def tests(self, style: str, seed: int, *, before: str = "", chosen: str = "", **env: str) -> str:
        """Run the tests of the asking file that are marked gpu, under an adversary; return what pytest said. All must pass.

        before: code that changes the stand-in; chosen: as pytest's -k has it; env: STANDIN_... as the stand-in has them.
        """
        code = f"{before}\nfrom parlab import gpus; gpus.missing = lambda count: None\n"
        code += f"import pytest; sys.exit(pytest.main([{str(self.file)!r}, '-m', 'gpu', '-k', {chosen!r}, *{QUIET}]))"
        return self._run(code, STANDIN_ADVERSARY=style, STANDIN_SEED=str(seed), **env)

    def lab(self, name: str, out: Path, *, before: str = "", **env: str) -> str:
        """Run a lab at the least budget; its records go to the folder `out`. Returns what it printed."""
        script = str(self.file.parent.parent / "labs" / f"{name}.py")
        code = f"{before}\nimport runpy; sys.argv = ['run.py', {script!r}, '--budget', 'smoke']\n"
        code += f"runpy.run_path({str(self.home / 'run.py')!r}, run_name='__main__')"
        return self._run(code, PARLAB_RUN=str(out), **env)

    def _run(self, code: str, **env: str) -> str:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(self.home)!r})\n{code}"]
        done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        return done.stdout


@pytest.fixture
def standin(request: pytest.FixtureRequest) -> Standin:
    """Return what runs this file's tests for a GPU, or a lab, on the stand-in; skips where no C++ compiler is."""
    if shutil.which("g++") is None:
        pytest.skip("the stand-in for CuPy needs a C++ compiler")
    return Standin(request.path)


@pytest.fixture
def judged(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Sequence[Record]], list[tuple[str, bool | None]]]:
    """Return what the asking file's LAB concludes from records that it reads from a file, as after a run."""

    def conclusions(records: Sequence[Record]) -> list[tuple[str, bool | None]]:
        lab: str = request.module.LAB
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        writer = results.Writer(folder)
        writer.begin({"budget": "quick"})
        for record in records:
            writer.write(record)
        return list(catalogue.script(lab).judge(results.read(folder).of(lab)))

    return conclusions


@pytest.fixture
def parlab(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return the command line as a function of its words, run in this process: its exit status."""

    def run(*arguments: str) -> int:
        from parlab import cli

        monkeypatch.setattr(sys, "argv", ["parlab", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return run


@pytest.fixture
def faulty(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parlab: Callable[..., int]
) -> Iterator[Callable[[str, float], int]]:
    """Return what runs the lab of faulty.py, to leave in some way, for so many seconds at most; its records go to tmp_path/out.

    It is alone in the catalogue; its workers are what the asking file NEEDS.
    """
    (tmp_path / "labs.toml").write_text(
        '[topics]\nfaults = ""\nempty = ""\n[[lab]]\nid = "faulty"\ntopic = "faults"\ncolumns = "case"\n'
        f'question = "?"\nquestion_zh = "?"\nneeds = ["{request.module.NEEDS}"]\n'
    )
    shutil.copy(Path(__file__).parent / "faulty.py", tmp_path)
    monkeypatch.setattr(catalogue, "HERE", tmp_path)
    monkeypatch.setenv("PARLAB_LABS", str(tmp_path))
    arguments = ["run", "faulty", "--workers", "2", "--budget", "smoke", "--out", str(tmp_path / "out")]

    def leave(way: str, limit: float) -> int:
        monkeypatch.setenv("PARLAB_TEST_WAY", way)
        return parlab(*arguments, "--limit", str(limit))

    catalogue.labs.cache_clear()
    catalogue.topics.cache_clear()
    yield leave
    catalogue.labs.cache_clear()
    catalogue.topics.cache_clear()


class Nursery:
    """A process that has imported what is slow to import, and forks the workers of one test after the other."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).parent / "nursery.py"), *QUIET]
        env = {**os.environ, **launch.workers([]).env, CHILD: "1"}
        self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, n: int, test: str, limit: float, folder: Path, on_gpus: bool) -> process.Outcome:
        """Have a test run by n workers; its outcome has the worst status, and what all of them printed."""
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(json.dumps([n, test, limit, str(folder), on_gpus]) + "\n")
        self.child.stdin.flush()
        statuses, timed_out = json.loads(self.child.stdout.readline())
        output = "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
        return process.Outcome(max(map(abs, statuses)), timed_out, output)


@cache
def nursery() -> Nursery:
    """Return the one of this session; it ends with it, since its standard input is then closed."""
    return Nursery()


@pytest.fixture
def team(pytestconfig: pytest.Config) -> Any:
    """Return the workers of a test that is marked workers(n), as parlab.workers.Workers; None where they are yet to be forked."""
    return getattr(pytestconfig, "team", None)


@contextmanager
def several(threads: int) -> Iterator[None]:
    """Use so many threads; each test that asks sets the session's number anew."""
    import numba  # here: a rank must not pay for it to run a test of MPI

    from parlab.openmp_like.threads import pinned

    numba.set_num_threads(threads)
    with pinned(threads):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Replace the call of a marked test by an mpirun of that very test."""
    marker = pyfuncitem.get_closest_marker("ranks") or pyfuncitem.get_closest_marker("workers")
    if marker is None or CHILD in os.environ:
        return None
    n, limit = marker.args[0], marker.kwargs.get("timeout", 60)
    with tempfile.TemporaryDirectory() as folder:
        if marker.name == "ranks":
            command = launch.ranks(n, ["-m", "pytest", *QUIET, pyfuncitem.nodeid])
            command.env[CHILD] = "1"
            ended = process.run(command, limit=limit, log=Path(folder) / "ranks.log")
        else:
            pytest.importorskip("torch")
            on_gpus = pyfuncitem.get_closest_marker("gpu") is not None
            ended = nursery().run(n, pyfuncitem.nodeid, limit, Path(folder), on_gpus)
    if ended.timed_out:
        pytest.fail(f"{n} ranks gave no answer in {limit} s (a deadlock?)\n{ended.output}", pytrace=False)
    passed, skipped = (ended.output.count(f"1 {word}") for word in ("passed", "skipped"))
    if skipped == n:
        pytest.skip(re.findall(r"SKIPPED \[1\] \S+ (.*)", ended.output)[0])
    if ended.status or passed != n:
        pytest.fail(f"{passed} of {n} ranks passed, status {ended.status}\n{ended.output}", pytrace=False)
    return True
