"""Why several streams: how much do they hide, and how many chunks and streams are best?     python labs/stream_overlap.py

One problem, copy in, kernel, copy out, is cut into chunks and issued to streams in several orders, with a kernel of next to no work, of as
much as a copy takes, and of twice that. First the stages are measured alone: from them the model (parlab.cuda.calibration) predicts every
time of the sweeps that follow, dashed in the picture. Then all ways stand side by side, from naive CuPy to graph replay and a kernel that
writes to the host by itself; the least that the link allows, both directions at once and no kernel, bounds them. Then: what the host's time
does and how a graph cures it; the problem of NVIDIA's simpleMultiCopy; the timelines, measured by events and predicted; and, where PyTorch
is there, CUPTI's word on one of them. Every result is checked bit by bit against the serial program's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from parlab.bench import AGAIN, Bench, Case
from parlab.cuda import cupti_trace
from parlab.cuda.calibration import BARE_KERNEL, ISSUE, SERIAL_KERNEL, machines
from parlab.cuda.pipeline_model import best_chunks, each, limit
from parlab.cuda.plan import STAGES, Stage, plan
from parlab.cuda.profiles import H200
from parlab.cuda.timeline import Lane, Span, engine_lanes, predicted, stream_lanes, union
from parlab.cuda.ways import (
    BREADTH,
    CHUNKS,
    DEPTH,
    DEPTH_GRAPH,
    ONE,
    SLICED,
    STAGED,
    STAGED_GRAPH,
    TWO,
    Extent,
    Kind,
    Machine,
    Way,
    best,
    of_profile,
    predict_seconds,
    scaled,
    simulated,
    swept,
)
from parlab.judge import every, within
from parlab.measure import Alone, Gpus, Part, part_clock
from parlab.options import size
from parlab.predictions import best_along, how_near, over
from parlab.records import Lanes, Measurement, Record, measured
from parlab.start import lab
from parlab.stats import Interval
from parlab.units import nbytes, seconds, span

if find_spec("cupy"):
    from parlab.cuda import device, frames, pipelines
    from parlab.cuda.buffers import seen_by_gpu
    from parlab.cuda.chunk_loop import balanced
    from parlab.cuda.pipelines import Problem
    from parlab.cuda.stages import both_ways, one_stage, output, pieces, wrong_after
    from parlab.cuda.streams import captured
    from parlab.cuda.streams import main as main_stream
    from parlab.cuda.way_runs import recorded, run_of

USUAL, LARGE, SMALL, SMOKE = "256 MiB", "1 GiB", "16 MiB", "64 KiB"  # bytes in, and as many out
COPY_BOUND, BALANCED, COMPUTE_BOUND = BARE_KERNEL, SERIAL_KERNEL, "compute-bound"
TURNS, SMOKE_TURNS = 1000, 2  # of the kernel from which the balanced one is sought
ALONE, PIPED = (1, 16, 64, 256), (4, 16, 64, 128)  # chunks in the calibration; more do not fit behind the gate
SMOKE_ALONE, SMOKE_PIPED = (1, 4), (2, 4)
ISSUED = 64  # chunks of which the host's time to issue them is taken
SHOWN, SHOWN_CHUNKS = (DEPTH, BREADTH, STAGED), 8  # timelines
PINNED, NAIVE, SAMPLE = "serial, pinned", "naive CuPy", "as the sample"
LINK, ONLY, HOST = "both directions", " only", "host's time"
MEASURED, PREDICTED, BESIDE, CUPTI = "measured", "predicted", "events, beside CUPTI", "CUPTI"
# Goals, as factors or shares. NVIDIA's own program simpleMultiCopy reached this share of its limit on an H200.
TO_NAIVE, TO_LINK, TO_SAMPLE, MEDIAN_MISS, MOST_MISS, FACTOR, COST = 8.0, 0.95, 0.897, 0.05, 0.10, 2.0, 1.03

Verdict = tuple[str, bool | None]


class Subject:
    """A problem of so many bytes in with random input, and what its cases change and poison."""

    def __init__(self, bench: Bench, bytes_in: int, turns: int = 1, locked: bool = True) -> None:
        self.problem, self.told = Problem(bytes_in // 4, turns, locked), nbytes(bytes_in)
        np.random.default_rng(bench.seed).random(out=self.problem.source, dtype=np.float32)
        hosts = self.problem.source, self.problem.result
        source, result = (
            map(seen_by_gpu, hosts) if locked else hosts
        )  # the GPU changes and fills them faster than NumPy
        self.inputs, self.outputs = [source], [result, self.problem.given, self.problem.made]

    def with_turns(self, turns: int) -> "Subject":
        """Return it with another kernel, in the same memory."""
        other = copy(self)
        other.problem = self.problem.with_turns(turns)
        return other

    def case(self, run: Callable[[], object], **more: Any) -> Case:
        """Return the case of a run that does all of the problem."""
        return Case(run, self.problem.wrong, self.outputs, self.inputs, **more)

    def only(self, stage: Stage, **more: Any) -> Case:
        """Return the case of one stage by itself, in one piece."""
        run, wrong = one_stage(self.problem, stage, 1), partial(wrong_after, self.problem, stage)
        return Case(run, wrong, [output(self.problem, stage)], self.inputs, **more)


def main(bench: Bench) -> None:
    """Calibrate the model, contrast it with the sweeps, and the ways with each other."""
    smoke, full = bench.budget.name == "smoke", bench.budget.name == "full"
    for team in bench.gpus(device):
        subject = Subject(bench, size(SMOKE if smoke else USUAL), SMOKE_TURNS if smoke else TURNS)
        turns = balanced(balanced(subject.problem)).turns  # the second time from near by
        kernels = {COPY_BOUND: 1, BALANCED: turns, COMPUTE_BOUND: 2 * turns}
        models = calibrated(bench, team, subject, kernels)
        for balance, turn in kernels.items():
            extent: Extent = "smoke" if smoke else "full" if full else "usual" if balance == BALANCED else "few"
            sweep(bench, team, subject.with_turns(turn), {"balance": balance}, models[balance], extent)
        even, model = subject.with_turns(turns), models[BALANCED]
        all_ways(bench, team, even, model)
        for way in SHOWN:
            spans = recorded(even.problem, way, SHOWN_CHUNKS)
            keep(bench, team, way, {MEASURED: spans, PREDICTED: predicted(simulated(model, way, SHOWN_CHUNKS))})
        small = Subject(bench, size(SMOKE if smoke else SMALL), turns)
        sweep(bench, team, small, {HOST: BALANCED}, scaled(model, small.problem.count / even.problem.count), "small")
        if not smoke:
            large = Subject(bench, size(LARGE), turns)
            grown = scaled(model, large.problem.count / even.problem.count)
            sweep(bench, team, large, {"balance": BALANCED}, grown, "large")
        samples_problem(bench, team, size(SMOKE if smoke else SMALL))
        if not smoke:
            cross_check(bench, team, even.problem)
    bench.conclude(judge)


def calibrated(bench: Bench, team: Gpus, subject: Subject, kernels: Mapping[str, int]) -> dict[str, Machine]:
    """Measure what the model is made of; return it for each kernel."""
    chunks = (SMOKE_ALONE, SMOKE_PIPED) if bench.budget.name == "smoke" else (ALONE, PIPED)
    cases = {}
    for p in pieces(subject.problem, kernels, *chunks):
        label: dict[str, str | int] = {"measured": p.what, "way": p.kind, "chunks": p.chunks}
        cases[p.what, p.kind, p.chunks] = Case(p.run, p.wrong, p.outputs, subject.inputs, clock=team.gated, label=label)
    for way in (DEPTH, STAGED, SLICED):
        label = {"measured": ISSUE, "way": way.kind, "chunks": ISSUED}
        part = Part(run_of(subject.problem, way, ISSUED), after=lambda: main_stream().synchronize())
        cases[ISSUE, way.kind, ISSUED] = subject.case(part, clock=part_clock(), label=label)
    trials = bench.contrast(team, {"calibration": subject.told}, "way", cases, seconds=0.5)
    times: dict[tuple[str, Kind], dict[int, float]] = defaultdict(dict)
    for (what, kind, n), trial in trials.items():
        times[what, kind][n] = trial.seconds.median
    found = machines(times, kernels)
    for kind, model in found[BALANCED].items():
        row = {
            "model of": kind,
            "h2d, kernel, d2h": written(model.stages),
            "each chunk adds": written(each(model.overhead)),
        }
        row |= {
            "handover": seconds(model.handover),
            "duplex": f"{model.duplex:.3f}",
            "host, an operation": seconds(each(model.issue)[0]),
        }
        bench.row(row | {"best chunks by the law": f"{best_chunks(model):.0f}"})
    return found


def written(times: tuple[float, ...]) -> str:
    """Write several times."""
    return ", ".join(map(seconds, times))


def sweep(bench: Bench, team: Gpus, subject: Subject, what: Mapping[str, str], model: Machine, extent: Extent) -> None:
    """Contrast numbers of chunks and streams, each with its prediction. Few long runs need more time for as narrow intervals."""
    cases = {}
    for way, n in swept(extent):
        more: dict[str, Any] = {"clock": team.gated if way.issued == "gated" else team.events}
        more |= {"prediction": ("pipeline model", predict_seconds(model, way, n)), "share": 1.0}
        cases[f"{way}, {n}"] = subject.case(
            run_of(subject.problem, way, n), label={"way": str(way), "chunks": n}, **more
        )
    floor = LINK, Case(both_ways(subject.problem), clock=team.events, label={"way": LINK, "chunks": 1})
    if COMPUTE_BOUND in what.values():
        name = "kernel" + ONLY
        floor = name, subject.only("kernel", clock=team.events, label={"way": name, "chunks": 1})
    common = {**what, "problem": subject.told}
    bench.contrast(team, common, "way", cases, floor=floor, seconds=10.0 if extent == "large" else 1.0)


def all_ways(bench: Bench, team: Gpus, subject: Subject, model: Machine) -> None:
    """Contrast everything that solves the balanced problem, the chunked ways with as many chunks as the model advises."""
    problem = subject.problem
    pageable = Subject(bench, 4 * problem.count, problem.turns, locked=False)
    naive = pageable.with_turns(problem.turns)
    common: dict[str, Any] = {"clock": team.events, "share": 1.0}
    cases = {
        NAIVE: naive.case(pipelines.naive(naive.problem), share=1.0),
        "serial, pageable": pageable.case(pipelines.serial(pageable.problem), **common),
        PINNED: subject.case(pipelines.serial(problem), **common),
        "mapped": subject.case(pipelines.mapped(problem), **common),
    }
    few, many = best(model, DEPTH), best(model, STAGED)
    chosen = {SLICED: few, DEPTH: few, BREADTH: few, DEPTH_GRAPH: few, STAGED: many, STAGED_GRAPH: many}
    runs = {str(way): (run_of(subject.problem, way, n), n) for way, n in chosen.items()}
    n = round(min(CHUNKS[-1], best_chunks(replace(model[STAGED.kind], kernel=0.0))))  # it has one stage less
    home = pipelines.writes_home(problem, n)
    runs |= {"kernel writes home": (home, n), "kernel writes home, graph": (captured(home), n)}
    cases |= {name: subject.case(run, facts=partial(dict, chunks=n), **common) for name, (run, n) in runs.items()}
    cases |= {stage + ONLY: subject.only(stage, clock=team.events) for stage in STAGES}
    floor = LINK, Case(both_ways(problem), clock=team.events)
    title = {"all ways": f"{BALANCED}, {subject.told}"}
    bench.contrast(team, title, "way", cases, against=PINNED, control=True, floor=floor)


def keep(bench: Bench, team: Alone, way: Way, seen: Mapping[str, list[Span]], **common: str) -> None:
    """Record timelines of a way: of the engines and of the streams."""
    for how, spans in seen.items():
        lanes = [*engine_lanes(spans), *stream_lanes(spans)]
        bench.lanes(team, {**common, "way": str(way), "seen": how}, lanes)


def cross_check(bench: Bench, team: Gpus, problem: "Problem") -> None:
    """Let CUPTI look at the same run as the events, and record by how much the two differ."""
    trace = list[Any]()
    try:
        ours = recorded(problem, DEPTH, SHOWN_CHUNKS, lambda run: trace.extend(cupti_trace.activities(run)))
        theirs = cupti_trace.spans(trace, plan(SHOWN_CHUNKS, DEPTH.streams, DEPTH.order))
    except (
        ImportError,
        RuntimeError,
        AssertionError,
        ValueError,
    ) as error:  # PyTorch without CUDA asserts that it has it
        bench.skip(f"no cross-check against CUPTI: {error}")
        return
    apart = cupti_trace.differences(ours, theirs)
    told = {f"{what} differs": f"{seconds(median(d))}, at most {seconds(max(d))}" for what, d in apart.items()}
    bench.row({"events against CUPTI": f"{DEPTH}, {len(theirs)} operations"} | told)
    keep(bench, team, DEPTH, {BESIDE: ours, CUPTI: theirs})


def samples_problem(bench: Bench, team: Gpus, frame: int) -> None:
    """Contrast ways to do what simpleMultiCopy does, by frame of so many bytes: its own, and a stream for each stage."""
    subjects = [Subject(bench, frame, frames.TURNS) for _ in range(frames.STREAMS)]
    buffers = [s.problem for s in subjects]
    outputs, inputs = ([a for s in subjects for a in getattr(s, name)] for name in ("outputs", "inputs"))
    common: dict[str, Any] = {"clock": team.events, "units": frames.FRAMES}
    wrong = partial(frames.wrong, buffers)
    cases = {name: Case(run, wrong, outputs, inputs, **common) for name, run in frames.runs(buffers).items()}
    cases |= {stage + ONLY: subjects[0].only(stage, clock=team.events) for stage in STAGES}
    title = {"simpleMultiCopy": f"{frames.FRAMES} frames of {subjects[0].told}"}
    bench.contrast(team, title, "way", cases, against="one stream")


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say how good the model was, what streams and orders bring, how near the limit the best way comes, and what the host costs."""
    groups: dict[str, list[Measurement]] = defaultdict(list)
    for m in measured(records):
        what, of = next(iter(m.case.items()))
        groups[f"{of}, {m.case['problem']}" if what == "balance" else what].append(m)
    for title, found in groups.items():
        if "balance" in found[0].case:
            yield from ((f"{title}: {words}", holds) for words, holds in of_sweep(found))
    yield from of_ways({str(m.case["way"]): m for m in groups["all ways"]})
    yield from of_host(groups[HOST])
    yield from of_frames({str(m.case["way"]): m.seconds for m in groups["simpleMultiCopy"]})
    lanes = [r for r in records if isinstance(r, Lanes)]
    yield from of_timelines({(str(r.case["way"]), str(r.case["seen"])): hidden_by(r.lanes) for r in lanes})


def of_sweep(found: list[Measurement]) -> Iterator[Verdict]:
    """Judge the predictions, the best numbers of chunks, the least time, and what more streams bring."""
    if near := how_near(found, MEDIAN_MISS, MOST_MISS, ("way", "chunks")):
        yield near
    ways: dict[str, list[Measurement]] = defaultdict(list)
    for m in found:
        ways[str(m.case["way"])].append(m)
    bests = {way: b for way, of in ways.items() if (b := best_along(of, "chunks"))}
    each = "; ".join(f"{way} {b.measured:g} (predicted {b.predicted:g})" for way, b in bests.items())
    cost = max((b.cost.median for b in bests.values()), default=1.0) - 1
    words = f"best numbers of chunks: {each}; following the prediction costs {cost:.1%} at most (goals: factor 2, 3 %)"
    yield words, every(b.reaches(FACTOR, COST) for b in bests.values())
    first, bound = least([m for m in found if m.bound]), least([m for m in found if not m.bound])
    share = over(bound.seconds, first.seconds)
    words = f"{first.case['way']} in {first.case['chunks']} chunks takes least, {seconds(first.seconds.median)}"
    yield f"{words}: {span(share)} of {bound.case['way']} (goal: at least {TO_LINK})", within(share, low=TO_LINK)
    times = {s: least(ways[way]).seconds for s in range(1, 9) if (way := str(Way("depth", s))) in ways}
    if {1, 2} < times.keys():
        words = ", ".join(f"{s}: {seconds(t.median)}" for s, t in times.items())
        *_, fewer, most = times
        half, last = over(times[2], times[1]), over(times[most], times[fewer])
        words = f"least times by streams {words}; two take {span(half)} of one's (never below 0.5)"
        yield f"{words}, {most} take {span(last)} of {fewer}'s", every((within(half, 0.5), within(last, 0.95, 1.05)))


def least(found: list[Measurement]) -> Measurement:
    """Return the fastest."""
    return min(found, key=lambda m: m.seconds.median)


def of_ways(ways: dict[str, Measurement]) -> Iterator[Verdict]:
    """Say which way wins, by how much, and how near it comes to its limits."""
    times = {way: m.seconds for way, m in ways.items()}
    first = str(least([m for way, m in ways.items() if m.bound and not way.endswith(AGAIN)]).case["way"])
    pinned, naive, link = (over(times[way], times[first]) for way in (PINNED, NAIVE, LINK))
    words = (
        f"{first} is the fastest of all ways, {seconds(times[first].median)}: {span(pinned)} times as fast as {PINNED}"
    )
    yield f"{words}, {span(naive)} times as fast as {NAIVE} (goal: at least {TO_NAIVE:g})", within(naive, low=TO_NAIVE)
    words = f"{first} reaches {span(over(longest(times), times[first]))} of max(H, K, D)"
    yield f"{words} and {span(link)} of {LINK} (goal: at least {TO_LINK})", within(link, low=TO_LINK)
    others = {way: over(times[str(way)], times[str(STAGED)]) for way in (DEPTH, BREADTH)}
    words = ", ".join(f"{way} takes {span(ratio)} of its time" for way, ratio in others.items())
    yield f"{STAGED} is the fastest order of issue: {words}", every(within(r, low=1.0) for r in others.values())


def longest(times: Mapping[str, Interval]) -> Interval:
    """Return the time of the longest stage alone."""
    return max((times[stage + ONLY] for stage in STAGES), key=lambda t: t.median)


def of_host(found: list[Measurement]) -> Iterator[Verdict]:
    """Say what the host costs with most chunks, and what a graph saves of it."""
    most = max(int(m.case["chunks"]) for m in found)
    at = {str(m.case["way"]): m for m in found if m.case["chunks"] == most and m.prediction}
    each = ((way, m.seconds.median, m.prediction.seconds) for way, m in at.items() if m.prediction)
    words = ", ".join(f"{way} {seconds(time)} (predicted {seconds(guess)})" for way, time, guess in each)
    saved = over(at[str(SLICED)].seconds, at[str(DEPTH_GRAPH)].seconds)
    words = f"{found[0].case['problem']} in {most} chunks: {words}; the graph is {span(saved)} times as fast as slices"
    yield words, within(saved, low=1.0)


def of_frames(times: Mapping[str, Interval]) -> Iterator[Verdict]:
    """Hold simpleMultiCopy's problem against what the sample itself reached."""
    shares = {way: over(longest(times), time) for way, time in times.items() if not way.endswith(ONLY)}
    first = max(shares, key=lambda way: shares[way].median)
    words = f"{first} reaches {span(shares[first], 3)} of max(H, K, D), {SAMPLE} {span(shares[SAMPLE], 3)}"
    words = f"simpleMultiCopy's problem: {words} (goal: above {TO_SAMPLE}, NVIDIA's program)"
    yield words, within(shares[first], low=TO_SAMPLE)


def hidden_by(lanes: list[Lane]) -> float:
    """Return the share of the engines' time that is hidden, from a recorded timeline."""
    spans = [(begin, end) for name, boxes in lanes if name in STAGES for begin, end, _ in boxes]
    return 1 - union(spans) / sum(end - begin for begin, end in spans)


def of_timelines(hidden: Mapping[tuple[str, str], float]) -> Iterator[Verdict]:
    """Say how much of the engines' time each order hides, as measured and as predicted; and whether CUPTI saw the same."""
    both = {way: (share, hidden[way, PREDICTED]) for (way, seen), share in hidden.items() if seen == MEASURED}
    words = ", ".join(f"{way} {seen:.2f} (predicted {guess:.2f})" for way, (seen, guess) in both.items())
    near = all(abs(seen - guess) <= 0.05 for seen, guess in both.values())
    yield f"share of the engines' time that is hidden in {SHOWN_CHUNKS} chunks: {words}", near
    if (ours := hidden.get((str(DEPTH), BESIDE))) and (theirs := hidden.get((str(DEPTH), CUPTI))):
        yield f"of one run, events see {ours:.3f} hidden, CUPTI {theirs:.3f}", abs(ours - theirs) <= 0.02


def predict(bench: Bench) -> None:
    """Predict the times of the named device, and timelines."""
    copy_in = H200.pipeline(size(USUAL), 0.0).h2d
    kernels = {COPY_BOUND: 0.0, BALANCED: copy_in, COMPUTE_BOUND: 2 * copy_in}
    models = {balance: of_profile(H200, size(USUAL), kernel) for balance, kernel in kernels.items()}
    for balance, model in models.items():
        for way in (ONE, TWO, DEPTH, STAGED):
            row = {"predicted for": H200.name, "kernel": balance, f"{USUAL} in chunks": str(way)}
            times = {n: predict_seconds(model, way, n) for n in CHUNKS[:-1]}
            row |= {str(n): seconds(time) for n, time in times.items()}
            most = seconds(limit(model[way.kind], way.streams))
            bench.row(row | {"best": str(min(times, key=times.__getitem__)), "limit": most})
    for way in SHOWN:
        spans = predicted(simulated(models[BALANCED], way, SHOWN_CHUNKS))
        keep(bench, Alone(), way, {PREDICTED: spans}, **{"predicted for": H200.name})


if __name__ == "__main__":
    lab("stream_overlap", main, predict)
