"""Does gloo's abort at exit never show?     python tests/stress_exit.py [100]

So many runs of DistributedDataParallel on two processes, one after the other. Where the interpreter takes itself down, a third of such runs
end by SIGABRT (see parlab.workers.leave). None of ours may. Not a test of pytest: a run takes a second.
"""

import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import torch._dynamo  # DistributedDataParallel imports it when first used
from torch.nn.parallel import DistributedDataParallel

from parlab import forked, workers
from parlab.ddp import corpus, models


def worker(store: Path, rank: int) -> int:
    """Train for three steps, and leave."""
    team = workers.join(rank, 2, store)
    model = DistributedDataParallel(models.gpt(models.TINY), process_group=team.group)
    for step in range(3):
        model(*corpus.passages(step, 4, 16, vocabulary=64)).backward()
    workers.leave(0)


def main(runs: int) -> int:
    """Count how the processes ended; return 0 where all ended well."""
    ended: Counter[int] = Counter()
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            ended.update(forked.run(2, partial(worker, Path(folder) / "store"), limit=60))
    told = ", ".join(f"status {status}: {count}" for status, count in sorted(ended.items()))
    print(f"{runs} runs of 2 processes over torch {torch.__version__}: {told}")
    return int(set(ended) != {0})


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
