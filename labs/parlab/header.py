"""The first and the last line of a results file: what was asked, on which machine, and how noisy it was before and after."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from parlab import machine
from parlab.noise import LOUD, lost_share
from parlab.records import Noise
from parlab.results import Writer


def begin(writer: Writer, options: argparse.Namespace, more: dict[str, Any]) -> dict[str, Any]:
    """Gather the facts, probe the noise and start the file; `more` is what the caller knows of the machine, e.g. its MPI."""
    header = {
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "parlab"), *sys.argv[1:]]),
        "start": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "budget": options.budget,
        "seed": options.seed,
        "machine": machine.facts() | more,
        "noise_before": lost_share(),
    }
    writer.begin(header)
    return header


def end(writer: Writer) -> None:
    """Probe the noise again and write it down."""
    writer.write(Noise(lost_share()))


def noise_words(before: dict[str, float], after: dict[str, float] | None) -> tuple[str, bool]:
    """Say how much of the cores' time went to others, worst core of each probe, and whether that is too much to trust a figure."""
    worst = [max(shares.values(), default=0.0) for shares in (before, after) if shares is not None]
    told = " before, ".join(f"{share:.0%}" for share in worst) + (" after" if len(worst) > 1 else " before")
    loud = max(worst, default=0.0) > LOUD
    return f"time lost to others on the busiest core: {told}" + (
        " - NOISY: read the intervals, not the medians" if loud else ""
    ), loud
