"""What the commands that only tell must not import: each of these packages takes a part of a second, or several."""

import subprocess
import sys

import pytest

COUNTING = {"numpy", "rich"}
HEAVY = {"numba", "scipy", "torch", "mpi4py", "matplotlib", "cupy", "sklearn", "jinja2"}


@pytest.mark.parametrize(
    ("words", "barred"),
    [
        ("--help", HEAVY | COUNTING),
        ("list", HEAVY | COUNTING),
        ("list --json", HEAVY | COUNTING),
        ("questions ring", HEAVY),
    ],
)
def test_a_command_that_only_tells_imports_nothing_heavy(words: str, barred: set[str]) -> None:
    code = f"""
import sys
from parlab import cli
sys.argv = ["parlab", *{words.split()}]
try:
    cli.main()
finally:
    print("imported:", *[name for name in {sorted(barred)} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"
