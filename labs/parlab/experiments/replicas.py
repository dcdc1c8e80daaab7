"""A step of workers that each hold the whole network, as a case of a contrast: together by a mode, or each of them alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log

from parlab import units
from parlab.bench import Case
from parlab.ddp import models
from parlab.ddp.data_parallel import Replica, TorchDDP
from parlab.ddp.proof import Proof, first_loss
from parlab.ddp.training import Single
from parlab.ddp.workload import Workload
from parlab.records import Measurement
from parlab.workers import Workers

Mode = Callable[..., Replica]
STEPS = 4  # in a run, where costs are told apart


def by_all(team: Workers, task: Workload, mode: Mode, parts: int = 1, right: bool = True) -> Case:
    """Return a step of all workers. right: it must equal the single process."""
    trainer = mode(task.model(apart=mode is TorchDDP), task.recipe, team.group)
    proof = Proof(mode, team.group, task, parts)
    run = partial(trainer.step, *task.batch(team.size), parts=parts)
    work = {"flops": task.flops(team.size)}
    return Case(run, proof.check if right else None, work=work, share=1.0, facts=lambda: proof.found)


def alone(team: Workers, task: Workload, together: bool) -> Case:
    """Return a step of the single process on a worker's batch. together: each worker does one by itself; else only the first."""
    single = Single(task.model(), task.recipe)

    def guesses() -> str | None:
        """Let it guess as a network must that has learned nothing."""
        scores = models.STD**2 * task.shape.width  # their variance: the norm before the head makes that of each input 1
        loss, guess = first_loss(task, team.size + 1), log(task.shape.vocabulary) + scores / 2
        return None if abs(loss - guess) < 0.1 else f"its first loss is {loss:.3f}, not about {guess:.3f}"

    run = partial(single.step, *task.batch(1)) if together or team.rank == 0 else lambda: None
    return Case(run, guesses, work={"flops": task.flops(1)})


def repeated(case: Case) -> Case:
    """Return a case of several steps a run."""
    return replace(case, run=lambda: [case.run() for _ in range(STEPS)], units=STEPS)


def who(m: Measurement) -> str:
    """Say who trained what."""
    return f"{units.count(m.workers, m.kind)}, GPT {m.case['GPT']}, {m.case['a worker']}"
