"""Training that is killed and started again ends with the weights of the undisturbed run, bit by bit; also on another number of workers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

# A process that has imported torch forks the workers of one life after the other; torchrun, which starts interpreters, takes seconds for
# each. A worker is killed in its first life, at a point that training reaches or at a system call of its writing.
SCRIPT = """
import hashlib, json, os, signal, sys
from functools import partial
from pathlib import Path
import torch, torch._dynamo  # which the first optimizer imports: once, before the fork
from parlab import forked, workers
from parlab.ddp import checkpoints, corpus, elastic, models
from parlab.ddp.sharded import ZeRO1
from parlab.ddp.training import Recipe

class Dying:
    def __init__(self, calls):
        self.calls = calls
    def __getattr__(self, name):
        return partial(self.call, name) if name in ("open", "write", "fsync", "replace") else getattr(os, name)
    def call(self, name, *args):
        self.calls -= 1
        if not self.calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(os, name)(*args)

def train(rank, size, life, folder, steps, kills):
    def reached(point):
        with open(folder / f"points.{size}.{life}.{rank}", "a") as file:
            file.write(point + "\\n")
        if point.startswith("resumed"):
            torch.save(trainer.weights(), folder / f"resumed.{size}.{rank}")
        if life == 0 and [rank, point] in kills:
            os.kill(os.getpid(), signal.SIGKILL)
    for culprit, point in kills:
        if life == 0 and rank == culprit and isinstance(point, int):
            checkpoints.os = Dying(point)
    team = workers.join(rank, size, folder / f"store.{size}.{life}.{steps}")
    trainer = ZeRO1(models.gpt(models.TINY), Recipe("adamw", rate=1e-3, clip=1.0), team.group)
    batch = lambda step: corpus.passages(step, 5, 16, vocabulary=64)
    elastic.train(trainer, batch, steps, folder / "checkpoints", 4, reached)
    torch.save(trainer.weights(), folder / f"weights.{size}.{rank}")
    workers.leave(0)

def lives(folder, size, steps, kills):
    for life in range(3):
        statuses = forked.run(size, lambda rank: train(rank, size, life, folder, steps, kills), 30)
        if not any(statuses):
            return life + 1

for line in sys.stdin:
    asked = json.loads(line)
    folder = Path(asked["folder"])
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    if asked.get("forget"):  # the mutant
        whole = elastic.slices
        elastic.slices = lambda trainer: (whole(trainer)[0], {"weights": whole(trainer)[1]["weights"]})
    print(lives(folder, asked["size"], asked["steps"], asked["kills"]), flush=True)
    if asked.get("forget"):
        elastic.slices = whole
"""


class Agent:
    """Runs trainings, each in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def train(self, name: str, *kills: list[Any], size: int = 2, steps: int = 10, **more: Any) -> int:
        """Train; return how many lives it took."""
        asked = {"folder": str(self.home / name), "size": size, "steps": steps, "kills": kills, **more}
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(json.dumps(asked) + "\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())

    def off(self, name: str, other: str = "undisturbed", size: int = 2, when: str = "weights") -> float:
        """The greatest difference of any weight, at the end or when resumed, on any worker from the end of the other training."""
        import torch

        wanted = torch.load(self.home / other / "weights.2.0")
        found = [torch.load(self.home / name / f"{when}.{size}.{rank}") for rank in range(size)]
        return max(float((weights[key] - wanted[key]).abs().max()) for weights in found for key in wanted)

    def points(self, name: str, life: int, size: int = 2, rank: int = 0) -> list[str]:
        return (self.home / name / f"points.{size}.{life}.{rank}").read_text().splitlines()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Any:
    agent = Agent(tmp_path_factory.mktemp("elastic"))
    agent.train("undisturbed")
    yield agent
    agent.child.communicate(timeout=30)


# Ten steps, saved after 4 and 8: who is killed, where, and the step from which the second life goes on. A file is written by six calls.
KILLS: dict[str, tuple[list[Any], int]] = {
    "before the first checkpoint": ([1, "step 3"], 0),
    "between two": ([0, "step 6"], 4),
    "after a save": ([1, "saved 8"], 8),
    "before a shard is synced": ([1, 6 + 3], 4),
    "before a manifest gets its name": ([0, 12 + 6 + 4], 4),
}


@pytest.mark.parametrize("where", KILLS)
def test_a_kill_costs_the_steps_since_the_last_checkpoint_and_changes_no_bit(where: str, agent: Agent) -> None:
    kill, resumed = KILLS[where]
    assert agent.train(where, kill) == 2
    assert agent.points(where, 1)[0] == f"resumed {resumed}"
    assert agent.points(where, 1)[-1] == "step 10"
    assert agent.off(where) == 0


def test_four_workers_and_one_go_on_from_the_shards_of_two(agent: Agent) -> None:
    agent.train("two", steps=8)
    for size in (4, 1):
        agent.train("two", size=size)
        assert agent.points("two", 0, size) == ["resumed 8", "step 9", "step 10"]
        assert agent.off("two", "two", size, "resumed") == 0
        assert 0 < agent.off("two", size=size) < 1e-5  # sums in another order, which Adam magnifies


def test_without_the_optimizers_state_it_would_not_be_equal(agent: Agent) -> None:
    """The mutant."""
    agent.train("forgetful", [1, "step 6"], forget=True)
    assert agent.off("forgetful") > 1e-4
