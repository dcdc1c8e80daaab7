"""Our reduce-scatter and all-gather by rings, beside the library's: what they send, and how long they take."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.bench import Bench, Case
from parlab.ddp import rings, wire
from parlab.predictions import Verdict
from parlab.records import Record, all_say, compared, measured
from parlab.units import nbytes, span
from parlab.workers import Workers

# torch 2.13 renamed the collectives that take one tensor, and warns of the old names.
REDUCE_SCATTER = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)
ALL_GATHER = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)

SWEPT = {"smoke": ("1 MiB", "1 MiB"), "quick": ("256 KiB", "16 MiB"), "full": ("16 KiB", "64 MiB")}
GPUS_SWEPT = {"smoke": ("1 MiB", "1 MiB"), "quick": ("64 KiB", "256 MiB"), "full": ("64 KiB", "1 GiB")}
FROM = 2**20  # bytes; from here on the ring is to be faster than gloo


def measure(bench: Bench, team: Workers) -> None:
    """Race our reduce-scatter and all-gather against the library's, by size: that of all parts together."""
    swept = GPUS_SWEPT if team.device.type == "cuda" else SWEPT
    for n in bench.sizes(*swept[bench.budget.name]):
        x = torch.from_numpy(bench.random(n // 4)).float().to(team.device)
        for name, cases in (("reduce-scatter", scatters(team, x)), ("all-gather", gathers(team, x))):
            told: dict[str, str | int | float] = {"collective": name, "over": team.library, "bytes": n}
            bench.contrast(team, told, "way", cases, against="library", control=True, seconds=1.5)


def scatters(team: Workers, x: Tensor) -> dict[str, Case]:
    """Return the ways to sum x over the workers and to keep a part."""
    out, parts = torch.empty_like(x.chunk(team.size)[0]), x.chunk(team.size)

    def check() -> str | None:
        total = x.clone()
        dist.all_reduce(total, group=team.group)
        return None if torch.allclose(out, total.chunk(team.size)[team.rank]) else "it differs from an all-reduce"

    runs = {
        "library": lambda: REDUCE_SCATTER(out, x, group=team.group),
        "ring": lambda: rings.reduce_scatter(out, parts, team.group),
    }
    return raced(team, runs, check, out, x)


def gathers(team: Workers, x: Tensor) -> dict[str, Case]:
    """Return the ways to bring parts together, of which this worker's is that of x."""
    out, mine = torch.empty_like(x), x.chunk(team.size)[team.rank]
    parts = out.chunk(team.size)

    def check() -> str | None:
        total = torch.zeros_like(x)
        total.chunk(team.size)[team.rank].copy_(mine)
        dist.all_reduce(total, group=team.group)
        return None if torch.equal(out, total) else "it differs from a sum of which each has a part"

    runs = {
        "library": lambda: ALL_GATHER(out, mine, group=team.group),
        "ring": lambda: rings.all_gather(parts, mine, team.group),
    }
    return raced(team, runs, check, out, x)


def raced(
    team: Workers, runs: dict[str, Callable[[], object]], check: Callable[[], str | None], out: Tensor, x: Tensor
) -> dict[str, Case]:
    """Return the cases of a collective, with what each sends."""
    sent = {name: wire.sent_in(run, team.group, team.device.type == "cuda") for name, run in runs.items()}
    return {
        name: Case(run, check, [out], [x], work={"bytes": x.nbytes}, facts=partial(dict, sent=sent[name]))
        for name, run in runs.items()
    }


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Say what the rings gain."""
    for collective in ("reduce-scatter", "all-gather"):
        yield from gains(records, collective)


def gains(records: Sequence[Record], collective: str) -> Iterator[Verdict]:
    """Say what the ring gains over the library's collective from 1 MiB on."""
    found = [c for c in compared(records, collective=collective, way="ring") if float(c.faster["bytes"]) >= FROM]
    for library, workers in dict.fromkeys((str(c.faster["over"]), c.workers) for c in found):
        by_size = {c.faster["bytes"]: c for c in found if (c.faster["over"], c.workers) == (library, workers)}
        raced = measured(records, workers, over=library, collective=collective)
        sent = {(m.case["way"], m.case["bytes"]): m.facts["sent"] for m in raced}
        share = max(sent["ring", n] / sent["library", n] for n in by_size)
        times = ", ".join(f"{span(c.ratio)} at {nbytes(float(n))}" for n, c in by_size.items())
        told = f"{workers} workers, {collective}: the ring sends {share:.2f} of what {library}'s sends, times as fast: {times}"
        if (library, collective) == ("gloo", "reduce-scatter"):
            faster = all_say(by_size.values(), "faster")
            yield f"{told} (goals: 0.50, faster from 1 MiB on)", False if share > 0.505 else faster
        else:
            yield told, None if any(c.says == "cannot tell" for c in by_size.values()) else True
