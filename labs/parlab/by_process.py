"""What the process of a launch does around a lab's `main`, where the workers are threads: say why it failed, leave in order."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from parlab import witness
from parlab.bench import RUNNING, Bench
from parlab.catalogue import labs
from parlab.crew import start_layer
from parlab.errors import DONE, FAILED, BadRequest, ParlabError
from parlab.machine import cores
from parlab.options import BUDGETS, doubling


def run_process(name: str, main: Callable[[Bench], None], options: argparse.Namespace) -> int:
    """Run `main` and return its exit status."""
    out = Path(os.environ[RUNNING])
    bench = Bench(name, None, cores(), options.workers or doubling(cores()), BUDGETS[options.budget], options.seed, out)
    words, status = witness.DONE, DONE
    try:
        witness.testify(out, 0)
        try:
            bench.layer = start_layer()
        except BadRequest as error:
            if not labs()[name].layers:
                raise
            bench.skip(str(error))  # the other layers have launches of their own
        else:
            main(bench)
    except ParlabError as error:
        words, status = witness.FOR_ALL + str(error), error.status
    except BaseException as error:
        words, status = witness.FOR_ALL + witness.last_words(error), FAILED
        if options.debug:
            traceback.print_exc()
    if status:
        print(f"{name}: {words.removeprefix(witness.FOR_ALL)}", file=sys.stderr, flush=True)
    witness.say(out, 0, words)
    return status
