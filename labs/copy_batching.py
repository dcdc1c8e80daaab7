"""Many small copies or one packed copy: from which size on does packing not pay?     python labs/copy_batching.py

Pieces lie apart on the host, and belong apart on the GPU. They are copied one by one, over four streams, as a graph that was recorded once,
by CUDA's call for a batch; or packed by the host into one array, copied at once and unpacked by a kernel; or one kernel fetches them all
from mapped memory. The host's packing is work of the program, so all ways are timed by the host's clock, from the first call until the
data are there. The packing alone is measured too.

One by one, a piece of b bytes costs a latency and its bytes; packed, it costs the host's copy of its bytes. Both are lines in b: drawn
through the smallest and the largest size, they predict the sizes between and where packing ceases to pay. All pieces are checked, byte
by byte, and what lies between them.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from math import inf

from parlab.bench import AGAIN, Bench, Case
from parlab.cuda.packing_model import meeting, one_by_one, packed_by_host, through
from parlab.cuda.profiles import H200
from parlab.judge import crossing, within
from parlab.measure import Gpus
from parlab.records import Record, all_say, compared, measured
from parlab.start import lab
from parlab.stats import Interval, Verdict
from parlab.units import nbytes, seconds, span

if find_spec("cupy"):
    from parlab.cuda import device, packing
    from parlab.cuda.transfers import waited

LEAST, MOST = "256 B", "4 MiB"  # of a piece
COPIES = {"smoke": (1, 16), "quick": (1, 16, 128, 1024), "full": (1, 4, 16, 64, 256, 1024)}
TOTAL = {"smoke": 4 << 20, "quick": 64 << 20, "full": 256 << 20}  # bytes of all pieces together, at most
STREAMS = 4
ONE, PACKED, ALONE, FETCHED = "one by one", "packed by the host", "the packing alone", "fetched by a kernel"
AGREE = 2.0  # goal: the predicted crossing lies within this factor of the measured one


def main(bench: Bench) -> None:
    """Contrast the ways for each number of pieces, size by size: the ends first, which predict the sizes between."""
    for team in bench.gpus(device):
        for copies in COPIES[bench.budget.name]:
            sizes = [n for n in bench.sizes(LEAST, MOST) if n * copies <= TOTAL[bench.budget.name]]
            ends: dict[str, list[tuple[float, float]]] = {ONE: [], PACKED: []}
            for n in dict.fromkeys([sizes[0], sizes[-1], *sizes]):
                known = {way: through(*points).seconds(n) for way, points in ends.items() if len(points) == 2}
                found = contrast(bench, team, copies, n, known)
                for way, points in ends.items():
                    points += [(n, found[way])] if len(points) < 2 else []
    bench.conclude(judge)


def contrast(bench: Bench, team: Gpus, copies: int, n: int, known: dict[str, float]) -> dict[str, float]:
    """Time the ways for so many pieces of n bytes against one by one; return their medians. known: predicted seconds."""
    pieces = packing.Pieces([n] * copies)
    packed = packing.Packed(pieces)
    runs = {
        ONE: packing.one_by_one(pieces),
        f"over {STREAMS} streams": packing.over_streams(pieces, STREAMS),
        "graph": packing.by_graph(pieces),
        PACKED: packed.run,
        FETCHED: packing.fetched(pieces),
    }
    try:
        runs["cudaMemcpyBatchAsync"] = packing.batched(pieces)
    except NotImplementedError as error:
        bench.skip(str(error))
    inputs, work = [pieces.changing()], {"bytes": n * copies}
    cases = {
        way: Case(
            waited(run),
            pieces.wrong,
            poison=[pieces.device],
            inputs=inputs,
            work=work,
            prediction=("line through the ends", known[way]) if way in known else None,
        )
        for way, run in runs.items()
    }
    cases[ALONE] = Case(packed.pack, packed.wrong, poison=[packed.host], inputs=inputs, work=work)
    common = {"copies": copies, "bytes": n}
    trials = bench.contrast(team, common, "way", cases, against=ONE, control=True, seconds=0.3)
    return {way: trials[way].seconds.median for way in cases}


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say for each number of pieces up to which size packing pays, and what each way is worth where pieces are many and small."""
    numbers = sorted({int(m.case["copies"]) for m in measured(records, way=ONE)})
    for copies in (p for p in numbers if p > 1):
        for way in (PACKED, FETCHED):
            yield pays(records, copies, way)
    most = numbers[-1]
    least = min(times_of(records, most, ONE))
    for found in compared(records, copies=most, bytes=least):
        way = str(found.faster["way"])
        if way not in (ALONE, ONE + AGAIN):
            words = f"{most} pieces of {nbytes(least)}, {way}: {span(found.ratio)} times as fast as {ONE}"
            yield words, None if found.says == "cannot tell" else True


def times_of(records: list[Record], copies: int, way: str) -> dict[int, Interval]:
    """Return the seconds of a way by the size of a piece, from the smallest on."""
    found = {int(m.case["bytes"]): m.seconds for m in measured(records, copies=copies, way=way)}
    return dict(sorted(found.items()))


def pays(records: list[Record], copies: int, way: str) -> tuple[str, bool | None]:
    """Say up to which size of a piece a way beats one by one, beside what the lines through the ends of both say."""
    one, other = times_of(records, copies, ONE), times_of(records, copies, way)
    words, pairs = f"{copies} pieces: {way}", list(zip(one.values(), other.values(), strict=True))
    found = overtaken(list(one), [(mine.median, its.median) for mine, its in pairs])
    if found is None:
        wanted: Verdict = "faster" if pairs[0][1].median < pairs[0][0].median else "slower"
        return f"{words} is {wanted} than {ONE} at every size", all_say(
            compared(records, copies=copies, way=way), wanted
        )
    early = overtaken(list(one), [(mine.low, its.high) for mine, its in pairs]) or min(one)
    late = overtaken(list(one), [(mine.high, its.low) for mine, its in pairs]) or max(one)
    guess = meeting(*(through(*((n, times[n].median) for n in (min(times), max(times)))) for times in (one, other)))
    words += f" pays up to {nbytes(found)} [{nbytes(early)}, {nbytes(late)}]"
    if guess is None:
        return f"{words}; the lines through the ends do not meet", False
    ratio = Interval(found / guess, early / guess, late / guess, pairs[0][0].n)
    return f"{words}; the lines through the ends meet at {nbytes(guess)} (goal: within a factor {AGREE:g})", within(
        ratio, 1 / AGREE, AGREE
    )


def overtaken(sizes: list[int], times: list[tuple[float, float]]) -> float | None:
    """Return the size from which on one by one (first) takes less than the other way (second); None where the order stays."""
    if not all(0 < t < inf for pair in times for t in pair):  # too few samples for an interval
        return None
    return crossing(sizes, [its for _, its in times], [mine for mine, _ in times])


def predict(bench: Bench) -> None:
    """Say what packing brings on a known device, by the number of pieces and their size, and up to which size."""
    for copies in COPIES["full"]:
        one, packed = one_by_one(H200, copies), packed_by_host(H200, copies)
        for n in (n for n in bench.sizes(LEAST, MOST) if n * copies <= TOTAL["full"]):
            told = {ONE: seconds(one.seconds(n)), PACKED: seconds(packed.seconds(n))}
            bench.row({"predicted for": H200.name, "copies": str(copies), "bytes": nbytes(n)} | told)
        until = meeting(one, packed)
        bench.row(
            {
                "predicted for": H200.name,
                "copies": str(copies),
                "packing pays up to": nbytes(until) if until else "no size",
            }
        )


if __name__ == "__main__":
    lab("copy_batching", main, predict)
