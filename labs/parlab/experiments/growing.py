"""A network grows until a limit to what a worker may hold leaves no choice: what each way holds, by the law and in fact."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from parlab import units
from parlab.bench import Bench
from parlab.ddp import footprint
from parlab.ddp.every_way import Make
from parlab.ddp.training import Single
from parlab.predictions import Verdict
from parlab.records import Record, Row
from parlab.workers import Workers

HELD, LAW, FITS = "a worker holds", "of the law", "fits "  # columns


def measure(bench: Bench, team: Workers, makes: Mapping[str, Make]) -> None:
    """Have each way hold the largest network that fits by the law, and data parallel the next one too.

    What data parallel takes each worker tries by itself: one that runs out of memory could not tell the others.
    """
    growth = footprint.DEEPER if bench.kind == "GPUs" else footprint.WIDER
    growth = footprint.SMALLEST if bench.budget.name == "smoke" else growth
    limit, who, points = growth.limit, units.count(team.size, bench.kind), dict[str, list[list[float]]]()
    laws = {shape: {way: footprint.law(way, shape, team.size) for way in footprint.WAYS} for shape in growth.shapes}
    fit = {way: [shape for shape in laws if laws[shape][way] <= limit] for way in footprint.WAYS}
    beyond = [shape for shape in laws if shape not in fit["DP"]][:1]
    for shape in laws:
        for way, law in laws[shape].items():
            tried = shape in fit[way][-1:] or (way == "DP" and shape in beyond)
            make = Single if way == "DP" else makes[way]
            try:
                held = max(team.gathered(footprint.held(make, shape, team.device, limit))) if tried else law
            except ValueError:  # it was told in the race
                continue
            points.setdefault(way, []).append([shape.parameters, law, law, law])
            found = (
                {HELD: units.nbytes(held), LAW: f"{held / law:.4f}"}
                if tried and held < inf
                else dict.fromkeys((HELD, LAW), "")
            )
            told = {"network": shape.name, "workers": who, "way": way, "by the law": units.nbytes(law)}
            bench.row(told | found | {FITS + units.nbytes(limit): "yes" if held <= limit else "no"})
    points["limit"] = [[shape.parameters, limit] for shape in growth.shapes]
    bench.curve(f"What each of {who} must hold", "parameters", "bytes", points, logx=True, logy=True)


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Say how near the law is, and which ways are left where data parallel is not."""
    rows = [r.row for r in records if isinstance(r, Row) and HELD in r.row]
    if misses := [abs(float(row[LAW]) - 1) for row in rows if row[LAW]]:
        words = f"{len(misses)} times the fullest worker of a way held what the law says within {max(misses):.2%} (goal: 0.1 %)"
        yield words, max(misses) <= 0.001
    for who, limit in dict.fromkeys((row["workers"], name) for row in rows for name in row if name.startswith(FITS)):
        at_most: dict[str, list[str]] = {}
        for way in footprint.WAYS:
            fit = [row["network"] for row in rows if (row["workers"], row["way"], row.get(limit)) == (who, way, "yes")]
            at_most.setdefault(fit[-1] if fit else "none", []).append(way)
        each = "; ".join(f"{', '.join(found)} {network}" for network, found in at_most.items())
        yield f"{who} of {limit.removeprefix(FITS)}: the largest network that fits, by way: {each}", len(at_most) > 1
