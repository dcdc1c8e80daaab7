"""The commands in README.md and CONTRIBUTING.md work, as a reader would type them.

Each one in a block of shell is run, in a folder that looks like a clone; or, where it is long, needs a cluster or installs something, it is
checked in the way that CHECKS names. One that CHECKS does not know fails. README.zh-CN.md holds the same commands (test_readme.py).
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from parlab import catalogue, launch
from parlab.options import Parser, add_run_options

ROOT = Path(__file__).resolve().parents[1]
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
KEPT = "mpi_farm"  # of the recorded runs; the whole would take seconds to draw
RUN_BY_PARLAB = ("threads", "gpu", "processes")  # needs of the scripts that, started plainly, are `parlab run`

TINY = '''"""A lab of ranks of the same name and layout that measures nothing."""
from parlab.bench import Case
from parlab.start import lab


def main(bench):
    for comm in bench.communicators():
        bench.contrast(comm, {{"n": 1}}, "{columns}", {{"one": Case(int), "other": Case(float)}}, against="one")


lab("{id}", main)
'''


def blocks(text: str, language: str) -> list[str]:
    """What stands in the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """The commands of a block of shell, without their comments."""
    return [" ".join(shlex.split(line, comments=True, posix=False)) for line in block.splitlines()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone that is set up, with small labs and small records in place of the real ones."""
    folder = tmp_path_factory.mktemp("clone")
    for name in (".venv", ".venv-mpich"):
        (folder / name).symlink_to(sys.prefix)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "labs").mkdir()
    shutil.copy(ROOT / "labs" / "labs.toml", folder / "labs")
    for lab in catalogue.labs().values():
        (folder / "labs" / f"{lab.id}.py").write_text(TINY.format(id=lab.id, columns=lab.columns))
    for run in [*(ROOT / "reference").glob("*/results.jsonl")]:
        short = folder / "reference" / run.parent.name
        short.mkdir(parents=True)
        lines = run.read_text().splitlines(keepends=True)
        (short / run.name).write_text("".join([lines[0], *(line for line in lines if f'"lab": "{KEPT}"' in line)]))
    shutil.copytree(folder / "reference" / "epyc-2", folder / "results" / "latest")
    (folder / "cluster").mkdir()
    (folder / "cluster" / "srun").touch(0o755)
    return folder


class Reader:
    """Types commands, one after the other, in a clone."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        ours = ("SLURM_", "MAKE", "MFLAGS")  # `make test` runs this: its children would be its sub-makes, and say so
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = os.pathsep.join([str(clone / ".venv" / "bin"), os.environ["PATH"]])
        self.env = {**env, "PATH": path}

    def checks(self, command: str) -> None:
        """Check one command in the way that is meant for it."""
        ways = [way for pattern, way in CHECKS.items() if re.fullmatch(pattern, command)]
        assert len(ways) == 1, f"{command}: {len(ways)} ways to check it"
        ways[0](self, command)

    def types(self, command: str, **env: str) -> str:
        """Run a command as it stands, and return what it printed."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.clone, env=self.env | env, capture_output=True, text=True, timeout=110
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def dry(self, command: str) -> None:
        """Print what it would start."""
        assert self.types(f"{command} --dry-run")

    def makes(self, command: str) -> None:
        """Check each command of the recipe."""
        for line in self.types(command.replace("make", "make -n", 1)).splitlines():
            self.checks(" ".join(shlex.split(line, posix=False)))

    def sets_up(self, command: str) -> None:
        """Leave it to test_bootstrap.py."""

    def collects(self, command: str) -> None:
        """Collect the tests of one file."""
        self.types(f"{command} --collect-only tests/test_gpus.py")

    def installs(self, command: str) -> None:
        """Read the options of pip, which are uv's too; what is asked for is an extra of the project or a pinned version."""
        reads = argparse.ArgumentParser(allow_abbrev=False)
        reads.add_argument("--python")
        reads.add_argument("--torch-backend", choices=["auto", "cpu"])
        for flag in ("--quiet", "--no-deps", "--disable-pip-version-check"):
            reads.add_argument(flag, action="store_true")
        reads.add_argument("--constraint", type=Path, required=True)
        reads.add_argument("--editable", action="store_true")
        reads.add_argument("action", choices=["install"])
        reads.add_argument("what")
        options = reads.parse_args(shlex.split(command.partition(" pip ")[2]))
        constraints = (self.clone / options.constraint).read_text()
        extras = tomllib.loads((self.clone / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert (
            options.what in [f".[{extra}]" for extra in extras]
            if options.editable
            else f"\n{options.what}==" in constraints
        )

    def plain(self, command: str) -> None:
        """See what the script would start: it hands its options to `parlab run`."""
        self.dry(f"parlab run {self.script(command, *RUN_BY_PARLAB)}")

    def by_ranks(self, command: str) -> None:
        """Start the small lab of the same name."""
        self.script(command, "ranks")
        root = {name: value for name, value in launch.ranks(2, []).env.items() if "ROOT" in name}
        assert "results.jsonl" in self.types(f"{command} --budget smoke", PARLAB_LABS="labs", **root)

    def by_torchrun(self, command: str) -> None:
        """Let torchrun read its options; tests/test_labs.py starts a lab by it."""
        run = pytest.importorskip("torch.distributed.run")
        options = run.get_args_parser().parse_args(shlex.split(command)[1:])
        self.script(shlex.join([options.training_script, *options.training_script_args]), "processes")

    def script(self, command: str, *needs: str) -> str:
        """Let a lab's script that has one of these needs read its options; return its name and the options."""
        found = re.search(r"\blabs/(\w+)\.py(.*)", command)
        assert found
        assert set(needs) & set(catalogue.labs()[found[1]].needs)
        parser = Parser()
        add_run_options(parser)
        parser.parse_args(shlex.split(found[2]))
        return found[1] + found[2]

    def in_slurm(self, command: str) -> None:
        """Read salloc's options, and see what would be started inside the allocation."""
        salloc = argparse.ArgumentParser(allow_abbrev=False)
        salloc.add_argument("--nodes", type=int, required=True)
        salloc.add_argument("--ntasks-per-node", type=int, required=True)
        options, inside = salloc.parse_known_args(shlex.split(command)[1:])
        assert inside[0].endswith("parlab")
        nodes, cpus = str(options.nodes), str(options.ntasks_per_node)
        path = os.pathsep.join([str(self.clone / "cluster"), self.env["PATH"]])
        allocation = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": nodes, "SLURM_CPUS_ON_NODE": cpus, "PATH": path}
        started = self.types(f"{shlex.join(inside)} --dry-run", **allocation)
        assert "srun" in started
        assert "--overcommit" not in started


CHECKS: dict[str, Callable[[Reader, str], object]] = {
    r"make .*": Reader.makes,
    r"\S+ -I labs/parlab/bootstrap\.py \.venv(-mpich)? (openmpi|mpich)": Reader.sets_up,
    r"\S+ -m pytest .*": Reader.collects,
    r"\S+ -m pip .*|\S+/uv pip .*": Reader.installs,
    r"(\S*parlab|\S+ -m parlab) run .*(?<!--dry-run)": Reader.dry,
    r"parlab run .* --dry-run|\S*parlab (list|machine|show|report|questions)( .*)?": Reader.types,
    r"python labs/.*": Reader.plain,
    r"mpirun -n \d+ python -m mpi4py labs/.*": Reader.by_ranks,
    r"torchrun .*": Reader.by_torchrun,
    r"salloc .*": Reader.in_slurm,
    r"printf .* > hosts\.txt|\. \.venv/bin/activate": Reader.types,
}


@pytest.mark.parametrize("block", blocks(README, "sh"), ids=lambda block: commands(block)[0])
def test_every_command_works(block: str, clone: Path) -> None:
    reader = Reader(clone)
    for command in commands(block):
        reader.checks(command)


WRONG = [
    "parlab dance",
    "make coffee",
    "make mpi ARGS='--wurkers 1'",
    "parlab run mpi_hallo",
    "parlab run mpi_halo --budget tiny --dry-run",
    "parlab show reference/nowhere",
    "mpirun -n 2 python -m mpi4py labs/nothing.py",
    "mpirun -n 2 python -m mpi4py labs/mpi_halo.py --limit 3",
    "python labs/mpi_halo.py",
    "torchrun --procs-per-node 2 labs/data_parallel.py",
    "salloc --knots 2 --ntasks-per-node 16 parlab run mpi",
    "salloc --nodes 2 --ntasks-per-node 4 parlab run mpi_halo --workers 16",
]


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_is_found(command: str, clone: Path) -> None:
    with pytest.raises((AssertionError, KeyError, SystemExit)):
        Reader(clone).checks(command)


def test_the_lab_that_contributing_shows_works_as_it_stands(clone: Path, tmp_path: Path) -> None:
    (script,), (entry,), (shell,) = (blocks(CONTRIBUTING, language) for language in ("python", "toml", "sh"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "labs.toml").write_text(entry)
    (mine / f"{tomllib.loads(entry)['lab'][0]['id']}.py").write_text(script)
    reader = Reader(clone)
    reader.clone = tmp_path
    root = {name: value for name, value in launch.ranks(2, []).env.items() if "ROOT" in name}
    told = reader.types(
        "set -e\n" + re.sub("^(parlab|mpirun) .*", r"\g<0> --budget smoke", shell, flags=re.MULTILINE), **root
    )
    assert told.count("one call is") > 6
    assert told.count("results.jsonl") == 2
    assert re.search(r"2 ranks, 8 B: one call is [\d.]+ \[", told.replace("\n", " "))
