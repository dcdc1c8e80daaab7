"""Does a short kernel have to wait for a long one, and what does a stream's priority change?     python labs/stream_priority.py

A long grid fills the GPU with several waves of blocks, and a short kernel comes just after it has begun. At equal priority it is let in
when all blocks of the grid have been; on a stream of high priority it gets the first slot that becomes free. No block that runs is ever
taken off, so its latency is then about the length of one block: the grid's blocks are made longer and fewer, for the same work. Then
many small kernels, in turn on one stream and at once on a stream each, until the multiprocessors are full: the bound is one kernel of
all their blocks.

Blocks stay for a known time and write down when they came and went, by the one clock of the GPU. These stamps are the result that is
checked, and they tell in which order blocks were let in, whatever the times. parlab.cuda.waves predicts all of it.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from parlab.bench import Bench, Case
from parlab.cuda.profiles import H200
from parlab.cuda.waves import THREADS, Waves, in_turn, together
from parlab.judge import every, within
from parlab.measure import Alone, Gpus, Part, part_clock
from parlab.records import Measurement, Record, all_say, compared, measured
from parlab.start import lab
from parlab.stats import Interval
from parlab.units import seconds

if find_spec("cupy"):
    from parlab.cuda import device, streams
    from parlab.cuda.priorities import Arrival, Crowd, Grid, slots, stream_first, until_done

LONG, SHORT = 2e-3, 5e-6  # seconds of the long grid and of the short kernel
BLOCKS_US = (10, 20, 50, 100, 200, 500)  # how long the grid's blocks stay
SHOWN_US = 200  # of which a timeline is kept
CROWD = (1, 4, 8, 16, 17, 32, 33, 64)  # kernels, of which 16 fill the GPU
SHARE = 16  # each has a block for one in so many of the slots
STAY = 500e-6  # seconds that each of their blocks stays
WAY = H200.issue[1] + H200.gap  # seconds from the issue of a kernel to its begin on an idle GPU, about
LATENCY, MANY = "latency beside a long grid", "many small kernels"
HIGH, EQUAL, GRID, IDLE = "high priority", "equal priority", "the long grid itself", "on an idle GPU"
TURN, EACH, ONE = "on one stream", "on a stream each", "as one kernel"
LENGTHS = 2.0  # goal: what a long grid adds to the latency with priority, in lengths of its blocks, at most
REMAINS = 0.8  # goal: the latency at equal priority, as a share of the grid's time, at least
CLOSE = 0.1  # goal: measured and predicted times of many kernels differ by this share at most


def main(bench: Bench) -> None:
    """Measure latencies by the length of the grid's blocks, then times by the number of kernels."""
    smoke = bench.budget.name == "smoke"
    for team in bench.gpus(device):
        urgent = stream_first()
        bench.row({"slots": f"{slots()} blocks", "highest priority": str(urgent.priority), "lowest": "0"})
        for block_us in (200, 500) if smoke else BLOCKS_US:
            latency(bench, team, block_us, urgent)
        for kernels in (1, 4) if smoke else CROWD:
            crowd(bench, team, kernels)
    bench.conclude(judge)


def latency(bench: Bench, team: Gpus, block_us: int, urgent: object) -> None:
    """Contrast the latency of a short kernel that comes on streams of high and of equal priority; without the grid it is bounded."""
    block = block_us * 1e-6
    law = Waves(round(LONG / block) * slots(), slots(), block)
    low, usual = streams.several(2)
    ways = {HIGH: Arrival(law, SHORT, low, urgent), EQUAL: Arrival(law, SHORT, low, usual)}
    grid, short = Grid(law.blocks, block), Grid(1, SHORT)
    cases = {
        name: Case(
            Part(way.run, way.before, way.after),
            way.wrong,
            poison=[way.grid.stamps, way.short.stamps],
            share=1.0,
            prediction=("waves", law.latency(WAY, SHORT, name == HIGH)),
            facts=lambda way=way: {"overtaken": way.overtaken(), "began": way.began()},  # type: ignore[misc]
            clock=part_clock(),
        )
        for name, way in ways.items()
    }
    cases[GRID] = Case(until_done(grid, low), grid.wrong, poison=[grid.stamps], prediction=("waves", law.seconds))
    common: dict[str, str | int | float] = {"measured": LATENCY, "block_us": block_us}
    floor = IDLE, Case(until_done(short, usual))
    bench.contrast(team, common, "way", cases, against=EQUAL, floor=floor, seconds=2.0)
    if block_us == SHOWN_US:
        for name, way in ways.items():
            bench.lanes(team, {"short kernel": name, "block_us": block_us}, way.lanes())


def crowd(bench: Bench, team: Gpus, kernels: int) -> None:
    """Contrast so many kernels on one stream and on a stream each; as one kernel they are bounded."""
    each = max(1, slots() // SHARE)
    turn, apart, one = (Crowd(kernels, each, STAY) for _ in range(3))
    told = {TURN: in_turn(kernels, each, slots(), STAY), EACH: together(kernels, each, slots(), STAY)}
    cases = {
        name: Case(
            run,
            made.wrong,
            poison=[made.stamps],
            share=1.0,
            prediction=("waves", told[name]),
            facts=lambda made=made: {"slots used": made.at_once() / slots()},  # type: ignore[misc]
            clock=team.gated,
        )
        for name, made, run in ((TURN, turn, turn.in_turn), (EACH, apart, apart.together))
    }
    floor = ONE, Case(one.as_one, clock=team.gated)
    bench.contrast(team, {"measured": MANY, "kernels": kernels}, "way", cases, against=TURN, floor=floor, seconds=2.0)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say who was let in first, what that does to the latency, and how well waves predict the times of many kernels."""
    high, equal = (measured(records, measured=LATENCY, way=way) for way in (HIGH, EQUAL))
    passed, waited = ([m.facts["overtaken"] for m in found] for found in (high, equal))
    words = (
        f"{min(passed):.0%} to {max(passed):.0%} of the long grid's blocks begin after a short kernel of high priority"
    )
    yield f"{words}, at most {max(waited):.1%} after one of equal priority", min(passed) > 0.5 and max(waited) < 0.01
    added = [in_lengths(m) for m in high]
    words = f"with priority a long grid adds {extent(added)} lengths of its blocks to the latency"
    yield f"{words} (goal: at most {LENGTHS:g})", every(within(ratio, high=LENGTHS) for ratio in added)
    shares = [c.ratio for c in compared(records, measured=LATENCY, way=GRID)]  # time of EQUAL over that of GRID
    words = f"at equal priority the latency is {extent(shares)} of the time of the long grid"
    yield f"{words} (goal: at least {REMAINS:g})", every(within(ratio, low=REMAINS) for ratio in shares)
    gains = compared(records, measured=LATENCY, way=HIGH)
    words = ", ".join(f"{c.ratio.median:.3g} times beside blocks of {c.faster['block_us']} us" for c in gains)
    yield f"priority makes the latency shorter: {words}", all_say(gains, "faster")
    for way in (EACH, TURN):
        yield foretold(way, measured(records, measured=MANY, way=way))
    used = max(m.facts["slots used"] for m in measured(records, measured=MANY, way=EACH))
    yield f"small kernels on a stream each use up to {used:.0%} of the slots at a time", 0.9 <= used <= 1


def in_lengths(m: Measurement) -> Interval:
    """Return what a latency is beyond that on an idle GPU, in lengths of the grid's blocks."""
    idle, block = m.bound.seconds if m.bound else 0.0, float(m.case["block_us"]) * 1e-6
    return m.seconds.map(lambda t: (t - idle) / block)


def foretold(way: str, found: list[Measurement]) -> tuple[str, bool | None]:
    """Hold the times of many kernels against the prediction."""
    ratios = [m.seconds.map(lambda t, told=m.prediction.seconds: t / told) for m in found if m.prediction]  # type: ignore[misc]
    words = f"many small kernels {way} take {extent(ratios)} of the predicted time (goal: within {CLOSE:.0%})"
    return words, every(within(ratio, 1 - CLOSE, 1 + CLOSE) for ratio in ratios)


def extent(found: Sequence[Interval]) -> str:
    """Write the least and the most of some medians."""
    medians = [value.median for value in found]
    return f"{min(medians):.2f} to {max(medians):.2f}"


def predict(bench: Bench) -> None:
    """Say what waves tell for a named GPU."""
    room = H200.threads // THREADS
    for block_us in BLOCKS_US:
        law = Waves(round(LONG / (block_us * 1e-6)) * room, room, block_us * 1e-6)
        told = {name: seconds(law.latency(WAY, SHORT, name == HIGH)) for name in (HIGH, EQUAL)}
        bench.row({"predicted for": H200.name, "blocks of": f"{block_us} us", **told, GRID: seconds(law.seconds)})
        if block_us == SHOWN_US:
            for name in (HIGH, EQUAL):
                bench.lanes(Alone(), {"predicted for": H200.name, "short kernel": name}, foreseen(law, name == HIGH))
    for kernels in CROWD:
        turn, apart = (seconds(law(kernels, room // SHARE, room, STAY)) for law in (in_turn, together))
        bench.row({"predicted for": H200.name, "kernels": str(kernels), TURN: turn, EACH: apart})


def foreseen(law: Waves, first: bool) -> list[tuple[str, list[tuple[float, float, str]]]]:
    """Return the predicted timeline of a long grid and a short kernel."""
    count, begin = law.blocks // law.slots, law.begins(WAY, first)
    grid = [(i * law.block, (i + 1) * law.block, f"wave {i + 1}") for i in range(count)]
    return [("the grid", grid), ("the short kernel", [(begin, begin + SHORT, "short")])]


if __name__ == "__main__":
    lab("stream_priority", main, predict)
