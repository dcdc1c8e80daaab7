"""Run a lab of GPUs on the stand-in:  python tests/standin/run.py labs/ID.py [--budget smoke] [--workers 1]

The lab's records go to the folder named by PARLAB_RUN, or a temporary one, and are shown. Its times are virtual: only results, the order
of operations and the lab's own logic can be judged by them.
"""

import os
import runpy
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "labs")]


def main() -> None:
    """Run the script as a launch of `parlab run` would."""
    from parlab import gpus, results, table
    from parlab.catalogue import labs

    out = Path(os.environ.setdefault("PARLAB_RUN", tempfile.mkdtemp()))
    results.Writer(out).begin({"machine": {"cpu": "stand-in"}, "noise_before": {}, "seed": 0})
    gpus.missing = lambda count: None
    script = sys.argv[1]
    sys.argv = sys.argv[1:]
    name = Path(script).stem
    if "--workers" not in sys.argv:
        sys.argv += ["--workers", ",".join(map(str, labs()[name].workers or [1]))]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        table.show_lab(labs()[name], results.read(out))


if __name__ == "__main__":
    main()
