"""The workflow, the hooks and the citation fit the house: targets exist, jobs end, versions agree."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def steps(kind: str) -> list[str]:
    """What the steps of all jobs run, or use."""
    return [step[kind] for job in JOBS.values() for step in job["steps"] if kind in step]


def known_to_make(command: str) -> bool:
    """Say whether the Makefile has the targets that a command names."""
    filled = re.sub(r"\$\{\{.*?\}\}", "openmpi", command)
    done = subprocess.run(["make", "-n", *shlex.split(filled)[1:]], cwd=ROOT, capture_output=True, text=True)
    return done.returncode == 0 and "Nothing to be done" not in done.stdout


@pytest.mark.parametrize("command", [*steps("run"), (ROOT / ".ci" / "run").read_text()])
def test_every_step_is_a_target_of_the_makefile(command: str) -> None:
    lines = [line.partition(" #")[0].strip() for line in command.splitlines() if line.startswith("make ")]
    assert lines
    assert all(known_to_make(line) for line in lines)


def test_an_unknown_target_is_found() -> None:
    assert not known_to_make("make coffee")
    assert not known_to_make("make labs coffee")


def test_every_job_ends_and_may_only_read() -> None:
    assert all(0 < job["timeout-minutes"] <= 60 for job in JOBS.values())
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True


def test_actions_are_pinned_to_a_commit() -> None:
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in steps("uses"))


def test_the_matrix_begins_with_the_least_python_and_has_both_mpis() -> None:
    matrix = JOBS["test"]["strategy"]["matrix"]
    least = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert matrix["python"][0] == least
    assert set(matrix["mpi"]) <= set(PROJECT["project"]["optional-dependencies"])
    assert len(matrix["mpi"]) == 2


def test_a_gpu_is_asked_for_by_hand_alone() -> None:
    assert "workflow_dispatch" in JOBS["gpu"]["if"]
    assert "self-hosted" in JOBS["gpu"]["runs-on"]


def test_the_hooks_are_programs_of_the_project_s_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"].split() for repo in config["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert len(entries) == 3
    for program, *_ in entries:
        assert program.startswith(".venv/bin/")
        assert (Path(sys.prefix) / "bin" / Path(program).name).exists()


def test_the_citation_names_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {name: citation[name] for name in ("title", "version", "license")} == {
        "title": PROJECT["project"]["name"],
        "version": PROJECT["project"]["version"],
        "license": PROJECT["project"]["license"],
    }
