"""The options of a run, the same for `parlab run` and for a lab script started by hand."""

import argparse
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from parlab.errors import BAD_REQUEST


@dataclass(frozen=True)
class Budget:
    """How much time measuring may take: seconds for each case, and for a whole lab; `every` thins out a sweep of sizes."""

    name: str
    case_seconds: float
    lab_seconds: float
    every: int

    def within(self, minutes: float | None) -> "Budget":
        """Return this budget for a lab that may take only so long, where that is less than its time.

        Each case gets its share; below a half sweeps have half as many sizes, too: what checks and calibrates them is not shortened.
        """
        share = 1.0 if minutes is None else min(1.0, 60 * minutes / self.lab_seconds)
        return replace(self, case_seconds=share * self.case_seconds, every=self.every * (1 if share > 0.5 else 2))


BUDGETS = {
    b.name: b for b in (Budget("smoke", 0.004, 2.0, 6), Budget("quick", 0.06, 20.0, 2), Budget("full", 1.0, 600.0, 1))
}


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and leave with status 2."""
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(BAD_REQUEST)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what a run can be asked for."""
    parser.add_argument(
        "--workers",
        type=workers,
        metavar="1,2,4",
        help="numbers of ranks, threads or processes to measure (default: 1, 2, 4 ... all cores)",
    )
    parser.add_argument(
        "--budget",
        choices=list(BUDGETS),
        default="quick",
        help="smoke: does it work; quick: 20 s a lab; full: every size, tight intervals",
    )
    parser.add_argument(
        "--minutes",
        type=minutes,
        metavar="M",
        help="end in time: measure each case for less, leave out labs for which no time is left (default: no limit)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "gpu"],
        help="where labs of processes keep their tensors (default: both, one after the other; by hand the GPUs, where enough)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the records (default: results/TIME)")
    parser.add_argument(
        "--seed",
        type=whole,
        default=0,
        metavar="N",
        help="seed of the inputs and of the order of the cases (default: 0)",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def workers(text: str) -> list[int]:
    """Read a list such as 1,2,4; the result is sorted and without doubles."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2,4") from None
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"{counts[0]} workers cannot work: ask for 1 or more")
    return counts


def minutes(text: str) -> float:
    """Read a number of minutes above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return value


def whole(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def doubling(most: int) -> list[int]:
    """Return 1, 2, 4 ... up to and including `most`."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def size(text: str) -> int:
    """Read a number of bytes such as `8 B`, `64 KiB`, `4 MiB`."""
    match = re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 64 KiB")
    return int(match[1]) << 10 * ["B", "KiB", "MiB", "GiB"].index(match[2])
