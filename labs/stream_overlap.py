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
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from parlab.bench import AGAIN, Bench, Case
from parlab.cuda import cupti_trace, ways
from parlab.cuda.calibration import BARE_KERNEL, ISSUE, SERIAL_KERNEL, machines
from parlab.cuda.pipeline_model import best_chunks, each, limit
from parlab.cuda.plan import STAGES, Stage
from parlab.cuda.profiles import H200
from parlab.cuda.timeline import Span, engine_lanes, hidden, predicted, stream_lanes
from parlab.cuda.ways import BREADTH, DEPTH, DEPTH_GRAPH, ONE, SLICED, STAGED, TWO, Extent, Machine, Way
from parlab.judge import every, within
from parlab.measure import Alone, Gpus, Part, part_clock
from parlab.options import size
from parlab.predictions import Verdict, curves, how_best, how_near, least, over
from parlab.records import Lanes, Measurement, Record, measured
from parlab.start import lab
from parlab.stats import Interval
from parlab.units import nbytes, seconds, span

if find_spec("cupy"):
    from parlab.cuda import device, frames, pipelines, stages
    from parlab.cuda.chunk_loop import balanced
    from parlab.cuda.pipelines import Problem
    from parlab.cuda.streams import main as main_stream
    from parlab.cuda.way_runs import advised, beside_cupti, recorded, run_of

USUAL, LARGE, SMALL, SMOKE = map(size, ("256 MiB", "1 GiB", "16 MiB", "64 KiB"))  # bytes in, and as many out
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


def main(bench: Bench) -> None:
    """Calibrate the model, contrast it with the sweeps, and the ways with each other."""
    smoke, full = bench.budget.name == "smoke", bench.budget.name == "full"
    for team in bench.gpus(device):
        problem = made(bench, SMOKE if smoke else USUAL, SMOKE_TURNS if smoke else TURNS)
        even = balanced(balanced(problem))  # the second time from near by
        kernels = {COPY_BOUND: 1, BALANCED: even.turns, COMPUTE_BOUND: 2 * even.turns}
        models = calibrated(bench, team, problem, kernels)
        for balance, turns in kernels.items():
            extent: Extent = "smoke" if smoke else "full" if full else "usual" if balance == BALANCED else "few"
            sweep(bench, team, even.with_turns(turns), {"balance": balance}, models[balance], extent)
        model = models[BALANCED]
        all_ways(bench, team, even, model)
        for way in SHOWN:
            simulated = predicted(ways.simulated(model, way, SHOWN_CHUNKS))
            keep(bench, team, way, {MEASURED: recorded(even, way, SHOWN_CHUNKS), PREDICTED: simulated})
        small = made(bench, SMOKE if smoke else SMALL, even.turns)
        sweep(bench, team, small, {HOST: BALANCED}, ways.scaled(model, small.count / even.count), "small")
        if not smoke:
            in_large(bench, team, even, model)
        samples_problem(bench, team, SMOKE if smoke else SMALL)
        if not smoke:
            cross_check(bench, team, even)
    bench.conclude(judge)


def made(bench: Bench, bytes_in: int, turns: int, locked: bool = True) -> "Problem":
    """Return a problem with random input."""
    problem = Problem(bytes_in // 4, turns, locked)
    np.random.default_rng(bench.seed).random(out=problem.source, dtype=np.float32)
    return problem


def case(what: "Problem | stages.Piece", run: Callable[[], object], **more: Any) -> Case:
    """Return the case of a run that does all of a problem, or a piece of it."""
    return Case(run, what.wrong, what.outputs, what.inputs, **more)


def only(problem: "Problem", stage: Stage, **more: Any) -> Case:
    """Return the case of one stage by itself, in one piece."""
    piece = stages.piece(problem, stage)
    return case(piece, piece.run, **more)


def calibrated(bench: Bench, team: Gpus, problem: "Problem", kernels: Mapping[str, int]) -> dict[str, Machine]:
    """Measure what the model is made of; return it for each kernel."""
    chunks = (SMOKE_ALONE, SMOKE_PIPED) if bench.budget.name == "smoke" else (ALONE, PIPED)
    cases = {}
    for p in stages.pieces(problem, kernels, *chunks):
        label = {"measured": p.what, "way": p.kind, "chunks": p.chunks}
        cases[p.what, p.kind, p.chunks] = case(p, p.run, clock=team.gated, label=label)
    for way in (DEPTH, STAGED, SLICED):
        label = {"measured": ISSUE, "way": way.kind, "chunks": ISSUED}
        issue = Part(run_of(problem, way, ISSUED), after=lambda: main_stream().synchronize())
        cases[ISSUE, way.kind, ISSUED] = case(problem, issue, clock=part_clock(), label=label)
    common = {"calibration": nbytes(problem.source.nbytes)}
    trials = bench.contrast(team, common, "way", cases, seconds=0.5)
    times: dict[tuple[str, ways.Kind], dict[int, float]] = defaultdict(dict)
    for (what, kind, n), trial in trials.items():
        times[what, kind][n] = trial.seconds.median
    found = machines(times, kernels)
    for kind, model in found[BALANCED].items():
        row = {"model of": kind, "h2d, kernel, d2h": ", ".join(map(seconds, model.stages))}
        row |= {"each chunk adds": ", ".join(map(seconds, each(model.overhead)))}
        row |= {"handover": seconds(model.handover), "duplex": f"{model.duplex:.3f}"}
        row |= {"host, an operation": seconds(each(model.issue)[0])}
        bench.row(row | {"best chunks by the law": f"{best_chunks(model):.0f}"})
    return found


def sweep(bench: Bench, team: Gpus, problem: "Problem", what: dict[str, str], model: Machine, extent: Extent) -> None:
    """Contrast numbers of chunks and streams, each with its prediction. Few long runs need more time for as narrow intervals."""
    cases = {}
    for way, n in ways.swept(extent):
        more = {"label": {"way": str(way), "chunks": n}, "clock": team.gated if way.issued == "gated" else team.events}
        told = "pipeline model", ways.predict_seconds(model, way, n)
        cases[f"{way}, {n}"] = case(problem, run_of(problem, way, n), prediction=told, share=1.0, **more)
    floor = LINK, Case(stages.both_ways(problem), clock=team.events, label={"way": LINK, "chunks": 1})
    if COMPUTE_BOUND in what.values():
        name = "kernel" + ONLY
        floor = name, only(problem, "kernel", clock=team.events, label={"way": name, "chunks": 1})
    common = {**what, "problem": nbytes(problem.source.nbytes)}
    bench.contrast(team, common, "way", cases, floor=floor, seconds=10.0 if extent == "large" else 1.0)


def all_ways(bench: Bench, team: Gpus, problem: "Problem", model: Machine) -> None:
    """Contrast everything that solves the balanced problem, the chunked ways with as many chunks as the model advises."""
    pageable = made(bench, problem.source.nbytes, problem.turns, locked=False)
    naive = pageable.with_turns(problem.turns)  # whose result is a new array each time
    common: dict[str, Any] = {"clock": team.events, "share": 1.0}
    cases = {
        NAIVE: case(naive, pipelines.naive(naive), share=1.0),
        "serial, pageable": case(pageable, pipelines.serial(pageable), **common),
        PINNED: case(problem, pipelines.serial(problem), **common),
        "mapped": case(problem, pipelines.mapped(problem), **common),
    }
    for name, (run, n) in advised(problem, model).items():
        cases[name] = case(problem, run, facts=partial(dict, chunks=n), **common)
    cases |= {stage + ONLY: only(problem, stage, clock=team.events) for stage in STAGES}
    floor = LINK, Case(stages.both_ways(problem), clock=team.events)
    title = {"all ways": f"{BALANCED}, {nbytes(problem.source.nbytes)}"}
    bench.contrast(team, title, "way", cases, against=PINNED, control=True, floor=floor)


def keep(bench: Bench, team: Alone, way: Way, seen: Mapping[str, list[Span]], **common: str) -> None:
    """Record timelines of a way: of the engines and of the streams."""
    for how, spans in seen.items():
        lanes = [*engine_lanes(spans), *stream_lanes(spans)]
        bench.lanes(team, {**common, "way": str(way), "seen": how}, lanes)


def in_large(bench: Bench, team: Gpus, even: "Problem", model: Machine) -> None:
    """Sweep a larger problem of the same balance, where there is memory for it: it leaves less to the overhead of chunks."""
    try:
        large = made(bench, LARGE, even.turns)
    except MemoryError as error:
        bench.skip(f"{nbytes(LARGE)} in and out: {error}")
    else:
        sweep(bench, team, large, {"balance": BALANCED}, ways.scaled(model, large.count / even.count), "large")


def cross_check(bench: Bench, team: Gpus, problem: "Problem") -> None:
    """Let CUPTI look at the same run as the events, and record by how much the two differ."""
    try:
        ours, theirs = beside_cupti(problem, DEPTH, SHOWN_CHUNKS)
    except (ImportError, RuntimeError, AssertionError, ValueError) as error:
        bench.skip(f"no cross-check against CUPTI: {error}")
        return
    apart = cupti_trace.differences(ours, theirs)
    told = {f"{what} differs": f"{seconds(median(d))}, at most {seconds(max(d))}" for what, d in apart.items()}
    bench.row({"events against CUPTI": f"{DEPTH}, {len(theirs)} operations"} | told)
    keep(bench, team, DEPTH, {BESIDE: ours, CUPTI: theirs})


def samples_problem(bench: Bench, team: Gpus, frame: int) -> None:
    """Contrast ways to do what simpleMultiCopy does, by frame of so many bytes: its own, and a stream for each stage."""
    buffers = [made(bench, frame, frames.TURNS) for _ in range(frames.STREAMS)]
    outputs, inputs = [a for b in buffers for a in b.outputs], [a for b in buffers for a in b.inputs]
    common: dict[str, Any] = {"clock": team.events, "units": frames.FRAMES}
    wrong = partial(frames.wrong, buffers)
    cases = {name: Case(run, wrong, outputs, inputs, **common) for name, run in frames.runs(buffers).items()}
    cases |= {stage + ONLY: only(buffers[0], stage, clock=team.events) for stage in STAGES}
    title = {"simpleMultiCopy": f"{frames.FRAMES} frames of {nbytes(frame)}"}
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
    yield from of_ways(groups["all ways"])
    yield of_host(groups[HOST])
    yield of_frames(groups["simpleMultiCopy"])
    yield from of_timelines([r for r in records if isinstance(r, Lanes)])


def of_sweep(found: list[Measurement]) -> Iterator[Verdict]:
    """Judge the predictions, the best numbers of chunks, the least time, and what more streams bring."""
    if near := how_near(found, MEDIAN_MISS, MOST_MISS, ("way", "chunks")):
        yield near
    yield how_best(found, "chunks", "way", FACTOR, COST)
    first, bound = least([m for m in found if m.bound]), least([m for m in found if not m.bound])
    share = over(bound.seconds, first.seconds)
    words = f"{first.case['way']} in {first.case['chunks']} chunks takes least, {seconds(first.seconds.median)}"
    yield f"{words}: {span(share)} of {bound.case['way']} (goal: at least {TO_LINK})", within(share, low=TO_LINK)
    by_way = curves(found, "way")
    times = {s: least(by_way[way]).seconds for s in range(1, 9) if (way := str(Way("depth", s))) in by_way}
    if {1, 2} < times.keys():
        words = ", ".join(f"{s}: {seconds(t.median)}" for s, t in times.items())
        *_, fewer, most = times
        half, last = over(times[2], times[1]), over(times[most], times[fewer])
        words = f"least times by streams {words}; two take {span(half)} of one's (never below 0.5)"
        yield f"{words}, {most} take {span(last)} of {fewer}'s", every((within(half, 0.5), within(last, 0.95, 1.05)))


def times_of(found: list[Measurement]) -> tuple[dict[str, Interval], Interval]:
    """Return the times by way, and that of the longest stage alone."""
    times = {str(m.case["way"]): m.seconds for m in found}
    return times, max((times[stage + ONLY] for stage in STAGES), key=lambda t: t.median)


def of_ways(found: list[Measurement]) -> Iterator[Verdict]:
    """Say which way wins, by how much, and how near it comes to its limits."""
    times, stage = times_of(found)
    first = str(least([m for m in found if m.bound and not str(m.case["way"]).endswith(AGAIN)]).case["way"])
    pinned, naive, link = (over(times[way], times[first]) for way in (PINNED, NAIVE, LINK))
    words = f"{first} is the fastest of all ways, {seconds(times[first].median)}: {span(pinned)} times as fast as"
    words = f"{words} {PINNED}, {span(naive)} times as fast as {NAIVE} (goal: at least {TO_NAIVE:g})"
    yield words, within(naive, low=TO_NAIVE)
    words = f"{first} reaches {span(over(stage, times[first]))} of max(H, K, D)"
    yield f"{words} and {span(link)} of {LINK} (goal: at least {TO_LINK})", within(link, low=TO_LINK)
    others = {way: over(times[str(way)], times[str(STAGED)]) for way in (DEPTH, BREADTH)}
    words = ", ".join(f"{way} takes {span(ratio)} of its time" for way, ratio in others.items())
    yield f"{STAGED} is the fastest order of issue: {words}", every(within(r, low=1.0) for r in others.values())


def of_host(found: list[Measurement]) -> Verdict:
    """Say what the host costs with most chunks, and what a graph saves of it."""
    most = max(int(m.case["chunks"]) for m in found)
    at = {str(m.case["way"]): (m.seconds, m.prediction) for m in found if m.case["chunks"] == most}
    told = (f"{way} {seconds(t.median)} (predicted {seconds(p.seconds)})" for way, (t, p) in at.items() if p)
    saved = over(at[str(SLICED)][0], at[str(DEPTH_GRAPH)][0])
    words = f"{found[0].case['problem']} in {most} chunks: {', '.join(told)}"
    return f"{words}; the graph is {span(saved)} times as fast as slices", within(saved, low=1.0)


def of_frames(found: list[Measurement]) -> Verdict:
    """Hold simpleMultiCopy's problem against what the sample itself reached."""
    times, stage = times_of(found)
    shares = {way: over(stage, time) for way, time in times.items() if not way.endswith(ONLY)}
    first = max(shares, key=lambda way: shares[way].median)
    words = f"{first} reaches {span(shares[first], 3)} of max(H, K, D), {SAMPLE} {span(shares[SAMPLE], 3)}"
    words = f"simpleMultiCopy's problem: {words} (goal: above {TO_SAMPLE}, NVIDIA's program)"
    return words, within(shares[first], low=TO_SAMPLE)


def of_timelines(found: list[Lanes]) -> Iterator[Verdict]:
    """Say how much of the engines' time each order hides, as measured and as predicted; and whether CUPTI saw the same."""
    shares = {(str(r.case["way"]), str(r.case["seen"])): hidden(r.lanes, STAGES) for r in found}
    both = {way: (share, shares[way, PREDICTED]) for (way, seen), share in shares.items() if seen == MEASURED}
    words = ", ".join(f"{way} {seen:.2f} (predicted {guess:.2f})" for way, (seen, guess) in both.items())
    near = all(abs(seen - guess) <= 0.05 for seen, guess in both.values())
    yield f"share of the engines' time that is hidden in {SHOWN_CHUNKS} chunks: {words}", near
    if (ours := shares.get((str(DEPTH), BESIDE))) and (theirs := shares.get((str(DEPTH), CUPTI))):
        yield f"of one run, events see {ours:.3f} hidden, CUPTI {theirs:.3f}", abs(ours - theirs) <= 0.02


def predict(bench: Bench) -> None:
    """Predict the times of the named device, and timelines."""
    copy_in = H200.pipeline(USUAL, 0.0).h2d
    kernels = {COPY_BOUND: 0.0, BALANCED: copy_in, COMPUTE_BOUND: 2 * copy_in}
    models = {balance: ways.of_profile(H200, USUAL, kernel) for balance, kernel in kernels.items()}
    for balance, model in models.items():
        for way in (ONE, TWO, DEPTH, STAGED):
            row = {"predicted for": H200.name, "kernel": balance, f"{nbytes(USUAL)} in chunks": str(way)}
            times = {n: ways.predict_seconds(model, way, n) for n in ways.CHUNKS[:-1]}
            row |= {str(n): seconds(time) for n, time in times.items()}
            most = seconds(limit(model[way.kind], way.streams))
            bench.row(row | {"best": str(min(times, key=times.__getitem__)), "limit": most})
    for way in SHOWN:
        simulated = predicted(ways.simulated(models[BALANCED], way, SHOWN_CHUNKS))
        keep(bench, Alone(), way, {PREDICTED: simulated}, **{"predicted for": H200.name})


if __name__ == "__main__":
    lab("stream_overlap", main, predict)
