"""What silently destroys the overlap of copies and kernels, and what does each cost?     python labs/overlap_killers.py

One program that overlaps: 64 MiB in and out, a kernel as long as a copy, 16 chunks, depth first over 4 streams, pinned memory. Then the
same with one thing broken at a time. All are checked to be right, bit by bit: they are slow, not wrong; what does become wrong without its
wait is shown once and never timed. Each is timed by the device's events, interleaved with the program that is whole, and recorded once more
with events around each operation: "hidden" is the share of the engines' time that overlap hides (0: one operation after the other; 0.67:
three engines at work all the time). The model predicts it from the times of the three stages, each measured alone.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from parlab.bench import AGAIN, Bench, Case
from parlab.cuda.pipeline_model import Pipeline, each
from parlab.cuda.pipeline_simulation import Timeline, simulate
from parlab.cuda.profiles import H200
from parlab.cuda.timeline import engine_lanes, overlap, predicted
from parlab.judge import every, within
from parlab.measure import Alone, Clock, Gpus
from parlab.options import size
from parlab.records import Record, compared, measured
from parlab.start import lab
from parlab.stats import Interval, paired_ratio
from parlab.units import interval, nbytes, seconds, span

if find_spec("cupy"):
    from parlab.cuda import chunk_loop, device, killers
    from parlab.cuda.per_thread import Child
    from parlab.cuda.pipelines import Problem
if TYPE_CHECKING:
    from parlab.cuda.chunk_loop import Way
    from parlab.cuda.timeline import Span

WHOLE, CHUNKS, STREAMS = "overlapped", 16, 4
# Chunks and streams of the programs in which nothing else is broken.
SHAPES = {WHOLE: (CHUNKS, STREAMS), "2 streams": (CHUNKS, 2), "1 stream": (CHUNKS, 1)}
SHAPES |= {"4 chunks": (4, STREAMS), "1 chunk": (1, STREAMS)}
PAGEABLE = {"pageable memory": ("source", "result"), "pageable input": ("source",), "pageable result": ("result",)}
HOST_WAITS = ("blocking get", "deviceSynchronize", "event.synchronize")
ON_DEFAULT, LEGACY, PER_THREAD = "copy on default stream", "legacy", "per thread"
# They are to do one thing after the other.
SERIAL = ["pageable memory", "pageable result", *HOST_WAITS, "value read", ON_DEFAULT, "memset", "cudaMalloc"]
SERIAL += ["1 stream", "1 chunk"]
# They look like some of those, and are to overlap.
KEPT = ("copy on default, non-blocking", "memsetAsync", "pool")
# They come first: the picture has room for nine.
SHOWN = [WHOLE, "pageable memory", "blocking get", ON_DEFAULT, "kernel on default stream", "cudaMalloc"]
SHOWN += ["host callback", "2 streams", "stage by stage"]
OVERLAPS, IN_TURN = 0.4, 0.1  # hidden: by who overlaps, at least; by who does one thing after the other, at most
FREE, CLOSE = 5.0, 10.0  # per cent: what costs less is free; the model is to be nearer than this
BYTES = {"smoke": size("256 KiB"), "quick": size("64 MiB"), "full": size("256 MiB")}
TURNS = {"smoke": 16, "quick": 1000, "full": 1000}  # of the kernel that tells how many take as long as a copy


def main(bench: Bench) -> None:
    """Contrast the program with all that is broken, then the two default streams, each in a process of its own."""
    for team in bench.gpus(device):
        problem = Problem(BYTES[bench.budget.name] // 4, TURNS[bench.budget.name])
        problem.source[:] = bench.random(problem.count)
        problem = chunk_loop.balanced(problem)
        broken(bench, team, problem)
        default_streams(bench, team, problem)
        found = killers.without_the_wait(problem) or "right, by luck"
        what = "kernel on the default stream, for which non-blocking streams do not wait"
        bench.row({"not slow but wrong": what, "result": found.split(";")[0]})
    bench.conclude(judge)


def broken(bench: Bench, team: Gpus, problem: "Problem") -> None:
    """Time every program against the whole one; record what each costs, and its timeline."""
    ways, model = programs(problem), predictions(*measured_stages(problem))

    @cache
    def spans(name: str) -> "list[Span]":
        return chunk_loop.recorded(*ways[name])

    def case(name: str) -> Case:
        mine, way = ways[name]
        return Case(
            chunk_loop.program(mine, way),
            mine.wrong,
            [mine.given, mine.made, mine.result],
            [mine.source],
            prediction=("pipeline", model[name].seconds) if name in model else None,
            facts=lambda: {"hidden": overlap(spans(name))},
            clock=team.events,
        )

    common = {"size": nbytes(problem.source.nbytes)}
    cases = {name: case(name) for name in ways}
    trials = bench.contrast(team, common, "way", cases, against=WHOLE, control=True, seconds=4)
    for name in ways:
        cost = paired_ratio(trials[name].samples, trials[WHOLE].samples).map(lambda r: 100 * (r - 1))
        bench.row({"broken": name, "costs": f"{span(cost, 0)} %", "hidden": f"{overlap(spans(name)):.0%}"})
    for name in dict.fromkeys((*SHOWN, *ways)):
        bench.lanes(team, {"way": name}, engine_lanes(spans(name)))


def programs(problem: "Problem") -> "dict[str, tuple[Problem, Way]]":
    """Return the problem and how to run it, by name; the whole one first."""
    shapes = {name: (problem, chunk_loop.Way((chunk_loop.overlapped,), *shape)) for name, shape in SHAPES.items()}
    memory = {name: (chunk_loop.pageable(problem, *sides), shapes[WHOLE][1]) for name, sides in PAGEABLE.items()}
    return {WHOLE: shapes[WHOLE]} | memory | {name: (problem, way) for name, way in killers.KILLERS.items()} | shapes


def measured_stages(problem: "Problem") -> tuple[Pipeline, float, float]:
    """Return the pipeline of the stages as they are alone, and the seconds of its copies from and to pageable memory."""
    alone, slow = (chunk_loop.stages(p) for p in (problem, chunk_loop.pageable(problem, "source", "result")))
    pipeline = replace(H200.pipeline(0, alone["kernel"]), h2d=alone["h2d"], d2h=alone["d2h"])
    return pipeline, slow["h2d"], slow["d2h"]


def predictions(pipeline: Pipeline, slow_h2d: float, slow_d2h: float) -> dict[str, Timeline]:
    """Return what the model covers. slow: seconds of the copies from and to pageable memory.

    A copy to pageable memory keeps the host from issuing the next chunk, as waiting for the chunk does: the streams work like one.
    Where the host waits by itself, it then needs the time to notice, and to issue the next copy.
    """
    overhead, issue = each(pipeline.overhead), each(pipeline.issue)
    waits = replace(pipeline, overhead=(overhead[0] + H200.sync + issue[0], *overhead[1:]))
    return {
        **{name: simulate(pipeline, *shape) for name, shape in SHAPES.items()},
        **{name: simulate(waits, CHUNKS, 1) for name in HOST_WAITS},
        "pageable memory": simulate(replace(waits, h2d=slow_h2d, d2h=slow_d2h), CHUNKS, 1),
        "pageable result": simulate(replace(waits, d2h=slow_d2h), CHUNKS, 1),
        "pageable input": simulate(replace(pipeline, h2d=slow_h2d), CHUNKS, STREAMS),
    }


def default_streams(bench: Bench, team: Gpus, problem: "Problem") -> None:
    """Time the copy on the default stream where that is the legacy one, and where each thread has its own."""
    with ExitStack() as stack:
        try:
            children = {
                name: stack.enter_context(Child(name == PER_THREAD, problem.count, problem.turns))
                for name in (LEGACY, PER_THREAD)
            }
            spans = {name: child.ask("spans") for name, child in children.items()}
        except RuntimeError as error:  # a GPU may be set to serve one process only
            bench.skip(str(error))
            return
        cases = {
            name: Case(
                partial(child.ask, "seconds", 1),
                partial(child.ask, "wrong"),
                facts=partial(dict, hidden=overlap(spans[name])),
                clock=Clock("events of the process", child.seconds, device.EVENT_STEP),
            )
            for name, child in children.items()
        }
        common = {"size": nbytes(problem.source.nbytes), ON_DEFAULT: "in a process of its own"}
        bench.contrast(team, common, "way", cases, against=LEGACY, control=True, seconds=4)
        for name in children:
            bench.lanes(team, {"way": f"{ON_DEFAULT}, {name}"}, engine_lanes(spans[name]))


def predict(bench: Bench) -> None:
    """Say what the model expects of a named device."""
    n = BYTES["quick"]
    copies = [n / link.rate for link in (H200.h2d, H200.pageable_h2d, H200.pageable_d2h)]
    model = predictions(H200.pipeline(n, copies[0]), *copies[1:])
    for name, timeline in model.items():
        cost, hidden = timeline.seconds / model[WHOLE].seconds - 1, overlap(predicted(timeline))
        told = {"time": seconds(timeline.seconds), "costs": f"{cost:.0%}", "hidden": f"{hidden:.0%}"}
        bench.row({"predicted for": H200.name, "size": nbytes(n), "broken": name} | told)
    for name in (name for name in SHOWN if name in model):
        lanes = engine_lanes(predicted(model[name]))
        bench.lanes(Alone(), {"predicted for": H200.name, "way": name}, lanes)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say who overlaps, who does one thing after the other, what that costs, and whether the model foresaw it."""
    hidden = {str(m.case["way"]): m.facts["hidden"] for m in measured(records) if "hidden" in m.facts}
    costs = {str(c.faster["way"]): percent(c.ratio) for c in compared(records) if c.than["way"] == WHOLE}
    (whole,) = measured(records, way=WHOLE)
    yield (
        f"the whole program hides {hidden[WHOLE]:.0%} of its engines' time: {interval(whole.seconds)}",
        hidden[WHOLE] > OVERLAPS,
    )
    most = max(SERIAL, key=lambda name: hidden[name])
    words = f"{len(SERIAL)} ways to break it leave one operation after the other: at most {hidden[most]:.0%} is hidden ({most})"
    yield words, hidden[most] < IN_TURN
    least, dearest = (choose(SERIAL, key=lambda name: costs[name].median) for choose in (min, max))
    words = f"they cost from {span(costs[least], 0)} % ({least}) to {span(costs[dearest], 0)} % ({dearest})"
    yield words, every(within(costs[name], low=FREE) for name in SERIAL)
    words = ", ".join(f"{name} {hidden[name]:.0%} at {span(costs[name], 0)} %" for name in KEPT)
    yield f"what looks like it still overlaps: {words}", min(hidden[name] for name in KEPT) > OVERLAPS
    alone = costs["blocking streams"]
    yield (
        f"blocking streams cost nothing while nobody uses the default stream: {span(alone, 1)} %",
        within(alone, -FREE, FREE),
    )
    yield foreseen(records)
    for c in compared(records, way=PER_THREAD):
        words = f"a default stream for each thread spares its copies the {100 * (1 - 1 / c.ratio.median):.0f} % that the legacy one costs"
        yield f"{words}: {span(c.ratio)} times as fast, {hidden[PER_THREAD]:.0%} hidden", within(c.ratio, low=1.05)


def percent(ratio: Interval) -> Interval:
    """Return what a program costs, in per cent of the whole one's time; ratio: the whole one's time over its own."""
    return ratio.map(lambda r: 100 * (1 / r - 1))


def foreseen(records: list[Record]) -> tuple[str, bool | None]:
    """Hold the predictions against the measurements."""
    off = {
        str(m.case["way"]): m.seconds.map(lambda t, p=m.prediction.seconds: 100 * (p / t - 1))  # type: ignore[misc]
        for m in measured(records)
        if m.prediction and not str(m.case["way"]).endswith(AGAIN)
    }
    worst = max(off, key=lambda name: abs(off[name].median))
    words = f"the model foresaw {len(off)} of the times to {CLOSE:.0f} %; furthest off, for {worst}, by {span(off[worst], 1)} %"
    return words, every(within(value, -CLOSE, CLOSE) for value in off.values())


if __name__ == "__main__":
    lab("overlap_killers", main, predict)
