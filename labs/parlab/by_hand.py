"""A lab whose workers were started by hand, by mpirun or torchrun: the run is the first worker's to begin and to show."""

import argparse
from typing import Any

from parlab import header, results
from parlab.bench import Bench
from parlab.catalogue import labs
from parlab.errors import BadRequest


def begin(bench: Bench, started: int, options: argparse.Namespace, more: dict[str, Any], starter: str) -> str | None:
    """Write the header of a run of its own; return why it cannot begin, or None.

    started: the number of workers there are. more: what is known of what carries their messages. starter: `mpirun -n`, say.
    """
    try:
        if (most := max(bench.workers, default=2)) > started:
            raise BadRequest(f"{bench.lab} on {most} workers needs {starter} {most}, this is {starter} {started}")
        header.begin(bench.writer, options, more)
    except BadRequest as error:
        return str(error)
    return None


def end(bench: Bench) -> None:
    """Close the run and show it."""
    from parlab import table

    header.end(bench.writer)
    run = results.read(bench.out)
    table.heading(run.header)
    table.show_lab(labs()[bench.lab], run)
    table.ending(run, bench.writer.path)
