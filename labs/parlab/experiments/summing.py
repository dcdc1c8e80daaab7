"""The all-reduce by itself: messages of growing size, by the library and by others; how near large ones come to the bus."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from parlab import units
from parlab.bench import Bench, Case
from parlab.ddp import wire
from parlab.ddp.buckets import Bucket, Send, all_reduce
from parlab.judge import within
from parlab.predictions import Verdict
from parlab.records import Measurement, Record, measured
from parlab.workers import Workers

NVLINK = 300e9  # bytes/s on the bus in an all-reduce of 256 MiB by two H200. Source: NVIDIA's nccl-tests, run on them


def measure(bench: Bench, team: Workers, others: Mapping[str, Send], **common: str) -> None:
    """Sum messages of growing size by the library, and by others."""
    on_gpus = team.device.type == "cuda"
    name, expected = team.library, team.size * (team.size + 1) / 2

    def case(bucket: Bucket, send: Send) -> Case:
        def check() -> str | None:
            bucket.flat.fill_(team.rank + 1)
            send(bucket)()
            return None if (bucket.flat == expected).all() else f"not all sums are {expected}"

        work = {"bytes": wire.ring_all_reduce(team.size, bucket.flat.nbytes)}  # on the bus, as nccl-tests has it
        return Case(lambda: send(bucket)(), check, work=work)

    for size in bench.sizes("4 KiB", "256 MiB" if on_gpus else "16 MiB", 2):
        bucket = Bucket([torch.ones(size // 4, device=team.device)])
        cases = {way: case(bucket, send) for way, send in {name: all_reduce(team.group), **others}.items()}
        told: dict[str, str | int] = {"sums": "float32", **common, "bytes": size}
        bench.contrast(team, told, "way", cases, against=name, seconds=2.0)


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Say what the library reaches by itself."""
    for way in ("gloo", "NCCL"):
        if found := [m for m in measured(records, 2, sums="float32", way=way) if "launcher" not in m.case]:
            yield on_the_bus(found, way)


def on_the_bus(found: Sequence[Measurement], way: str) -> Verdict:
    """Say how fast large messages are summed, and that small ones cost more than their bytes."""
    least, most = (pick(found, key=lambda m: float(m.case["bytes"])) for pick in (min, max))
    rate = most.seconds.map(lambda seconds: most.work["bytes"] / seconds)
    latency = least.seconds.map(lambda seconds: seconds * rate.median / least.work["bytes"])
    words = f"{way} sums {units.nbytes(float(most.case['bytes']))} at {rate.median / 1e9:.3g} GB/s of bus"
    small = f"{units.nbytes(float(least.case['bytes']))} take {latency.median:.3g} times their share of that"
    if way == "NCCL":
        share = rate.map(lambda rate: rate / NVLINK)
        reached = f"{units.span(share)} of what nccl-tests reach on two H200 (goal: 0.97)"
        return f"{words}, {reached}; {small}", within(share, low=0.97)
    return f"{words}; {small}", within(latency, low=1.0)
