"""The stand-in for CuPy keeps its promises: tests/standin/check_standin.py, in a process of its own.

Its addresses are real, and some of its checks break what a GPU would forbid: a slip must not take the memory of all tests with it.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_stand_in_keeps_its_promises() -> None:
    asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "standin/check_standin.py"]
    done = subprocess.run(asked, cwd=HERE, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
