"""Overlap by itself: layers that sleep send their gradients over a link that sleeps too; steps are held to the law."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from parlab import units
from parlab.bench import Bench, Case
from parlab.ddp import exposed, link
from parlab.ddp.buckets import Send
from parlab.ddp.data_parallel import Bucketed
from parlab.ddp.proof import Proof
from parlab.ddp.training import Recipe
from parlab.ddp.workload import Asleep
from parlab.judge import every, within
from parlab.predictions import Verdict
from parlab.records import Measurement, Record, measured
from parlab.stats import paired_ratio
from parlab.workers import Workers

SLEEP = {"smoke": 2e-4, "quick": 2e-3, "full": 1e-2}  # seconds that the forward of a sleeping layer takes
DEPTH, WIDTH = 8, 1024  # of the sleeping layers


def measure(bench: Bench, team: Workers) -> None:
    """Contrast numbers of buckets: backward takes twice as long as forward, the link three quarters of that."""
    seconds = SLEEP[bench.budget.name]
    gradients, rate = 4 * WIDTH * DEPTH, 4 * WIDTH / (1.5 * seconds)
    links = {n: link.Link(team.group, rate) for n in (1, 2, 4, 8)}

    def case(n: int, send: Send) -> Case:
        mode = partial(Bucketed, cap=gradients // n, first=gradients // n, send=send)
        asleep = Asleep(DEPTH, WIDTH, seconds)
        return Case(
            partial(mode(asleep.network(), Recipe(rate=0.0), team.group).step, *asleep.few(0, team.size)),
            Proof(mode, team.group, replace(asleep, seconds=0.0)).check,
            prediction=("overlap", link.law(DEPTH * seconds, 2 * DEPTH * seconds, gradients / rate, n)),
            label={"way": "bucketed", "buckets": n},
            facts=lambda: {"seconds asleep": 3 * DEPTH * seconds, "seconds on the link": gradients / rate},
        )

    cases = {n: case(n, slow) for n, slow in links.items()}
    unsent: dict[str, str | int] = {"way": "not sent", "buckets": 1}
    cases[0] = replace(case(1, exposed.nothing), check=None, prediction=None, label=unsent)
    bench.contrast(team, {"layers": "asleep", "link": "emulated"}, "buckets", cases, seconds=3.0)
    for slow in links.values():
        slow.close()


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Hold the steps of each number of workers to the law."""
    for asleep in measured(records, link="emulated", way="not sent"):
        yield overlapped(asleep, measured(records, asleep.workers, link="emulated", way="bucketed"))


def overlapped(asleep: Measurement, found: Sequence[Measurement]) -> Verdict:
    """Hold steps over the emulated link to the law, round by round, from how long sleeping took beside them: a busy machine wakes late."""
    each, late = {}, asleep.seconds.median / asleep.facts["seconds asleep"]
    for m in found:
        n, total = int(m.case["buckets"]), m.facts["seconds on the link"]
        each[n] = paired_ratio(m.samples, [link.law(a / 3, 2 * a / 3, total, n) for a in asleep.samples])
    told = ", ".join(f"{n}: {units.span(ratio, 3)}" for n, ratio in each.items())
    words = f"over the emulated link a step is to forward + backward + sums / buckets as, by buckets, {told}"
    holds = every(within(ratio, 0.95, 1.05) for ratio in each.values())
    return (
        f"{words} (goal: within 5 %); asleep {late:.2f} times as long as asked for",
        holds if holds or late < 1.06 else None,
    )
