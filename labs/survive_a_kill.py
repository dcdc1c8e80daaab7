"""A worker is killed in the middle of training: what is lost, and how long until training goes on?     python labs/survive_a_kill.py

Two workers train a GPT by ZeRO-1 and save as they go. One of them kills itself by SIGKILL; torchrun ends the other and starts both anew,
and they go on from the latest complete checkpoint. The same is done by a process that has imported torch already and forks them again.
Either way they must end with the weights and the optimizer's state of the undisturbed run, bit by bit. Where torchft is installed, the
other worker goes on meanwhile. Beside it: what a checkpoint costs, how often to save, and whether processes that are killed at random
moments of their saving lose anything.
"""

import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from math import isfinite
from pathlib import Path

import torch

from parlab import forked, lives, results, units
from parlab.bench import Bench, Case
from parlab.ddp import checkpoint_interval, checkpoints, savers
from parlab.ddp.mortal import EVERY, Training
from parlab.ddp.sharded import ZeRO1
from parlab.errors import CheckFailed
from parlab.experiments import restarts
from parlab.judge import hidden_share, within
from parlab.measure import Alone, Part, part_clock
from parlab.predictions import Verdict, over
from parlab.records import Record, Row, compared, measured
from parlab.start import lab
from parlab.units import span
from parlab.workers import Workers

ATOMIC, KILLED = "atomically", "a SIGKILL"
KILLS = {"smoke": 3, "quick": 10, "full": 100}  # of processes that do nothing but save
JOBS = 2, 1024, 16384  # GPUs
NEAR = 1e-3  # of losses: where a gradient is 0 but for rounding, Adam makes a whole step of it


def main(bench: Bench) -> None:
    """Train undisturbed, then with a kill in several ways; measure what saving costs, and kill processes while they save."""
    team = Alone(2)
    with tempfile.TemporaryDirectory(dir=bench.out) as name:  # on the disk that the reader has chosen
        home = Path(name)
        calm = training(bench, home / "undisturbed", kill=False)
        restarts.by_forks(calm, partial(costs, bench, calm))
        ways: dict[str, Callable[[Training], None]] = {
            "torchrun": partial(restarts.torchrun, log=bench.out / "torchrun.log"),
            "forked anew": restarts.by_forks,
        }
        for way, run in ways.items():
            killed = training(bench, home / way)
            run(killed)
            show_recovery(bench, team, way, killed, {"saved every": EVERY, "numbers that differ": unlike(calm, killed)})
        if find_spec("torchft") is None:
            bench.skip("torchft is not installed, which goes on without a dead worker: pip install torchft-nightly")
        else:
            killed = training(bench, home / "torchft")
            restarts.torchft(killed, bench.out / "torchft.log")
            off = abs(calm.loss(torch.load(home / "torchft" / "weights")) - calm.loss(calm.state()["weights"]))
            show_recovery(bench, team, "torchft", killed, {"loss off by": off})
        resharded(bench, calm)
        kill_savers(bench, ATOMIC, savers.atomic, home)
        kill_savers(bench, "in place", savers.in_place, home)
    best_intervals(bench)
    bench.conclude(judge)


def training(bench: Bench, folder: Path, kill: bool = True) -> Training:
    """Make a place for a training."""
    (folder / "checkpoints").mkdir(parents=True)
    return Training(str(folder), bench.budget.name, kill)


def unlike(calm: Training, killed: Training) -> int:
    """Return how many numbers of a state differ from the undisturbed run's. CheckFailed where any does."""
    wanted, found = calm.state(), killed.state()
    count = sum(int((wanted[name] != found[name]).sum()) for name in wanted)
    if count:
        raise CheckFailed(f"{killed.folder}: {count} numbers are not those of the undisturbed run")
    return count


def show_recovery(bench: Bench, team: Alone, way: str, killed: Training, facts: dict[str, float]) -> None:
    """Record what the kill cost, and where the time went."""
    stamps = lives.read(Path(killed.folder))
    (found,) = lives.recoveries(stamps)
    bench.once(team, {"after": KILLED, "way": way}, [found.seconds], {"steps lost": found.lost, **facts})
    phases = {
        name: units.seconds(found.phases[name]) if name in found.phases else "" for name in lives.RECOVERING.values()
    }
    bench.row({"recovery": way, "seconds": f"{found.seconds:.2f} s", **phases})
    bench.lanes(team, {"recovery": way}, lives.lanes(stamps))


def costs(bench: Bench, training: Training, team: Workers, trainer: ZeRO1) -> None:
    """Measure what a checkpoint costs beside a step, on the two workers that have just trained."""
    from parlab.ddp.ways_to_save import Ways  # it imports for a second, which workers that are killed need not wait for

    own = Bench(bench.lab, team, bench.cores, [2], bench.budget, bench.seed, bench.out)
    own.kind = bench.kind
    ways = Ways(trainer, Path(training.folder), training.batch(1))
    saved = {"bytes": ways.nbytes}
    later, clock = partial(ways.wrong, "background"), part_clock()
    cases = {
        "save": Case(ways.at_once, partial(ways.wrong, "at once"), work=saved, share=1.0),
        "begin to save": Case(Part(ways.begin, after=ways.background.finish), later, work=saved, clock=clock),
        "step": Case(ways.step),
        "step beside a save": Case(ways.beside),
        "in place, unsafe": Case(ways.in_place, partial(ways.wrong, "in place"), work=saved, share=1.0),
        "DCP of torch": Case(ways.by_torch, partial(ways.wrong, "by torch"), work=saved, share=1.0),
        "load": Case(ways.load, partial(ways.wrong, "at once"), work=saved),
    }
    floor = "write and fsync", Case(ways.raw_bytes, work=saved)
    common = {"checkpoint": units.nbytes(ways.nbytes)}
    own.contrast(team, common, "way", cases, against="save", floor=floor, seconds=2.0)


def resharded(bench: Bench, calm: Training) -> None:
    """Load what two workers saved as four workers and as one would, and put it together again."""
    whole, found = calm.state(), checkpoints.latest(calm.checkpoints)
    assert found
    for size in (4, 1):
        ends = [found.length * k // size for k in range(size + 1)]
        parts = [checkpoints.load(calm.checkpoints, found, *piece) for piece in pairwise(ends)]
        if any(not torch.equal(torch.cat([part[name] for part in parts]), whole[name]) for name in whole):
            raise CheckFailed(f"the shards of 2 workers do not fit {size}")
        told = f"{len(whole)} vectors of {found.length:,} numbers"
        bench.row(
            {"loaded": told, "saved by": "2 workers", "loaded by": units.count(size, "workers"), "equal": "bit by bit"}
        )


def kill_savers(bench: Bench, way: str, save: Callable[[Path, int], None], home: Path) -> None:
    """Kill processes at random moments of their saving, and see what the disk then holds."""
    draw = random.Random(bench.seed)
    found = []
    for number in range(KILLS[bench.budget.name]):
        folder = home / f"{way} {number}"
        folder.mkdir()
        saver = partial(savers.save_until_killed, save, folder, draw.uniform(0.001, 0.03))
        (status,) = forked.run(1, saver, restarts.LIMIT)
        if status != -signal.SIGALRM:
            raise CheckFailed(f"a process that saves {way} was not killed: status {status}")
        found.append(savers.left(folder))
    cut = sum(one.cut for one in found)
    lost = [one.acknowledged - one.loaded for one in found if one.loaded < one.acknowledged]
    bench.row(
        {
            "killed while saving": way,
            "kills": str(len(found)),
            "in a write": str(cut),
            "lost a saved state": str(len(lost)),
        }
    )


def best_intervals(bench: Bench) -> None:
    """Say how often to save, for what saving and restarting were measured to cost, on numbers of GPUs that fail as often as they do."""
    records = results.read(bench.out).of(bench.lab)
    step, save, restart = (measured(records, way=way)[0].seconds for way in ("step", "save", "torchrun"))
    lines = {}
    for job in JOBS:
        between = checkpoint_interval.GPU_FAILS / job
        best, often = checkpoint_interval.daly(save.median, between), EVERY * step.median

        def lost(interval: float, cost: float = save.median, between: float = between) -> float:
            return checkpoint_interval.lost(interval, cost, restart.median, between)

        bench.row(
            {
                "GPUs": f"{job:,}",
                "a failure every": f"{between / checkpoint_interval.HOUR:,.1f} h",
                "save every (Young)": units.seconds(checkpoint_interval.young(save.median, between)),
                "(Daly)": units.seconds(best),
                "time lost": f"{lost(best):.3%}",
                f"lost if saved every {EVERY} steps": f"{lost(often):.2%}",
            }
        )
        known = [cost if isfinite(cost) else save.median for cost in (save.median, save.low, save.high)]
        lines[f"{job:,} GPUs"] = [
            (t, *(lost(t, cost) for cost in known)) for t in (best * 2.0**k for k in range(-6, 7))
        ]
    bench.curve(
        "time lost to saves and failures",
        "interval between saves [s]",
        "share of the work",
        lines,
        logx=True,
        logy=True,
    )


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say what the kill cost, what saving costs and hides, and what kills during a save left."""
    for m in measured(records, after=KILLED):
        told = f"{m.case['way']}: {units.seconds(m.seconds.median)} from the kill to the next step"
        told += f"; {m.facts['steps lost']:g} steps lost"
        if (off := m.facts.get("loss off by")) is None:
            same = f"{m.facts['numbers that differ']:g} numbers in the end differ from the undisturbed run's"
            kept = m.facts["numbers that differ"] == 0 and m.facts["steps lost"] <= m.facts["saved every"]
            yield f"{told}, saved every {m.facts['saved every']:g}; {same}", kept
        else:
            yield f"{told}; the loss in the end is off by {off:.2g}", off <= NEAR and m.facts["steps lost"] == 0
    times = {str(m.case["way"]): m for m in measured(records) if "checkpoint" in m.case}
    for c in compared(records, way="DCP of torch"):
        save, step, beside = (times[way].seconds for way in ("save", "step", "step beside a save"))
        told = f"a save of {c.than['checkpoint']} takes {units.interval(save)}, {span(over(save, step))} steps"
        told += f"; torch's own takes {span(c.ratio.map(lambda r: 1 / r))} times as long, and keeps no digests"
        yield told, None if c.says == "cannot tell" else c.says != "faster"
        hidden = hidden_share(save, step, beside)
        yield f"in the background {span(hidden)} of a save hides behind a step", within(hidden, low=0.0)
    for row in (r.row for r in records if isinstance(r, Row)):
        if way := row.get("killed while saving"):
            lost, kills = int(row["lost a saved state"]), row["kills"]
            told = f"saved {way}, killed {kills} times, {row['in a write']} of them in the midst of a write: lost a state {lost} times"
            yield told, (lost == 0 and (int(row["in a write"]) > 0 or None)) if way == ATOMIC else (lost > 0 or None)
        if row.get("GPUs") == f"{JOBS[-1]:,}":
            told = f"{row['GPUs']} GPUs, a failure every {row['a failure every']}: to save every {row['(Daly)']} loses {row['time lost']}"
            often = f"lost if saved every {EVERY} steps"
            yield (
                f"{told} of the time, every {EVERY} steps {row[often]}",
                float(row["time lost"][:-1]) < float(row[often][:-1]),
            )
        if "loaded by" in row:
            yield f"what {row['saved by']} saved {row['loaded by']} can load, equal {row['equal']}", True


if __name__ == "__main__":
    lab("survive_a_kill", main)
