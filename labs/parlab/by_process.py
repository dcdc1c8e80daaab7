"""What the process of a launch does around a lab's `main`: say why it failed, leave in order.

Its workers are its threads, GPUs, or processes that it starts by torchrun.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from parlab import witness
from parlab.bench import RUNNING, Bench
from parlab.catalogue import Lab, labs
from parlab.crew import start_layer
from parlab.errors import BAD_REQUEST, DONE, FAILED, BadRequest, ParlabError
from parlab.machine import cores
from parlab.options import BUDGETS, doubling


def run_process(
    name: str, main: Callable[[Bench], None], predict: Callable[[Bench], None] | None, options: argparse.Namespace
) -> int:
    """Run `main`, or where it needs a GPU and there is none `predict`, and return the exit status."""
    out = Path(os.environ[RUNNING])
    bench = Bench(
        name,
        None,
        cores(),
        options.workers or doubling(cores()),
        BUDGETS[options.budget].within(options.minutes),
        options.seed,
        out,
    )
    words, status = witness.DONE, DONE
    try:
        witness.testify(out, 0)
        if "torchrun" in labs()[name].needs:
            bench.kind = "processes"
            main(bench)
        elif labs()[name].gpus:
            bench.kind = "GPUs"
            if not labs()[name].missing():
                main(bench)
            elif predict:
                predict(bench)
        elif _layer_started(bench, labs()[name]):
            main(bench)
    except ParlabError as error:
        words, status = witness.FOR_ALL + str(error), error.status
    except MemoryError as error:
        words, status = f"{witness.FOR_ALL}not enough memory: {error}", BAD_REQUEST
    except BaseException as error:
        words, status = witness.FOR_ALL + witness.last_words(error), FAILED
        if options.debug:
            traceback.print_exc()
    if status:
        print(f"{name}: {words.removeprefix(witness.FOR_ALL)}", file=sys.stderr, flush=True)
    witness.say(out, 0, words)
    return status


def _layer_started(bench: Bench, lab: Lab) -> bool:
    """Start Numba's threads; False where this layer is not here and the lab has launches on others."""
    try:
        bench.layer = start_layer()
    except BadRequest as error:
        if not lab.layers:
            raise
        bench.skip(str(error))
        return False
    return True
