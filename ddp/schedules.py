"""Who computes what in which order in a pipeline: plain lists of operations for each rank, their run in virtual time, and the laws.

Stage s holds the s-th part of the network and lives on rank s % p; with several chunks a rank has a stage in each of them. Each micro-batch
goes forward through all stages and then backward. Every list here is made the same way: some forwards to warm up, then one backward after
each forward, then the backwards that are left. The schedules differ in how many forwards come first:

    naive         none: one micro-batch at a time passes the whole pipeline
    GPipe         all of them                                       (Huang et al., NeurIPS 2019)
    1F1B          as many as there are ranks behind this one        (Narayanan et al., PipeDream, SOSP 2019)
    interleaved   twice as many, and p for each further chunk       (Narayanan et al., Megatron-LM, SC 2021, section 2.2)
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple


class Operation(NamedTuple):
    """The forward (F) or backward (B) pass of one micro-batch through one of a rank's chunks."""

    kind: Literal["F", "B"]
    micro_batch: int
    chunk: int = 0

    def __str__(self) -> str:
        """Write `F 3`; a prime for each chunk above the first: `F' 3`."""
        primes = "'" * self.chunk
        return f"{self.kind}{primes} {self.micro_batch}"


class Span(NamedTuple):
    """When an operation was under way, in seconds from the step's begin."""

    begin: float
    end: float
    operation: Operation


Lists = list[list[Operation]]  # by rank


def naive(p: int, m: int) -> Lists:
    """Return the lists of p ranks for m micro-batches that take turns."""
    return [_after_warm_up(0, *_passes(m)) for _ in range(p)]


def gpipe(p: int, m: int) -> Lists:
    """Return the lists in which all forwards come before all backwards."""
    return [_after_warm_up(m, *_passes(m)) for _ in range(p)]


def one_forward_one_backward(p: int, m: int) -> Lists:
    """Return the lists in which a rank begins with backwards as soon as one can reach it."""
    return [_after_warm_up(p - 1 - rank, *_passes(m)) for rank in range(p)]


def interleaved(p: int, m: int, chunks: int) -> Lists:
    """Return the lists of 1F1B over several chunks: p micro-batches pass a rank's first chunk, then its second, and so on.

    ValueError where m is no multiple of p: rounds of p would not come out even.
    """
    if m % p:
        less = max(p, m - m % p)
        raise ValueError(f"{m} micro-batches cannot be interleaved on {p} ranks: ask for {less} or {less + p}")
    rounds = [(first + i, chunk) for first in range(0, m, p) for chunk in range(chunks) for i in range(p)]
    forwards = [Operation("F", k, chunk) for k, chunk in rounds]
    backwards = [Operation("B", k, chunks - 1 - chunk) for k, chunk in rounds]
    return [_after_warm_up(2 * (p - 1 - rank) + (chunks - 1) * p, forwards, backwards) for rank in range(p)]


def lists(schedule: str, p: int, m: int, chunks: int = 1) -> Lists:
    """Return the lists of a schedule by its name. ValueError for numbers that do not go together, with those that would."""
    if min(p, m, chunks) < 1:
        raise ValueError(f"{p} ranks, {m} micro-batches and {chunks} chunks: ask for at least 1 of each")
    if schedule == "interleaved":
        if p < 2 or chunks < 2:
            raise ValueError(f"{chunks} chunks on {p} ranks: ask for at least 2 chunks on at least 2 ranks")
        return interleaved(p, m, chunks)
    plain = {"naive": naive, "GPipe": gpipe, "1F1B": one_forward_one_backward}
    if schedule not in plain:
        raise ValueError(f"there is no schedule {schedule!r}: ask for {', '.join(plain)} or interleaved")
    if chunks > 1:
        raise ValueError(f"{schedule} with {chunks} chunks: ask for 1 chunk, or for the schedule interleaved")
    return plain[schedule](p, m)


def _passes(m: int) -> tuple[list[Operation], list[Operation]]:
    return [Operation("F", k) for k in range(m)], [Operation("B", k) for k in range(m)]


def _after_warm_up(first: int, forwards: list[Operation], backwards: list[Operation]) -> list[Operation]:
    first = min(first, len(forwards))
    warm_up = forwards[:first]
    steady = [operation for pair in zip(forwards[first:], backwards, strict=False) for operation in pair]
    cool_down = backwards[len(forwards) - first :]
    return warm_up + steady + cool_down


def needed(operation: Operation, rank: int, p: int, stages: int) -> tuple[Operation, int] | None:
    """Return the operation that must be done before this one, with its rank; None for the first forward pass.

    Between two ranks it is what sends the message that the other waits for.
    """
    stage = operation.chunk * p + rank
    if operation.kind == "B" and stage == stages - 1:  # here the way turns
        return operation._replace(kind="F"), rank
    before = stage - 1 if operation.kind == "F" else stage + 1
    return (operation._replace(chunk=before // p), before % p) if before >= 0 else None


def in_virtual_time(
    plan: Lists, forward: Sequence[float], backward: Sequence[float], message: float = 0.0
) -> list[list[Span]]:
    """Return when each rank does each of its operations, if it begins each as soon as it can.

    forward, backward: seconds by stage; message: seconds that one takes, which costs neither rank any. ValueError for a deadlock.
    """
    p, stages = len(plan), len(forward)
    ended: dict[tuple[Operation, int], float] = {}
    spans: list[list[Span]] = [[] for _ in plan]
    while unfinished := [rank for rank in range(p) if len(spans[rank]) < len(plan[rank])]:
        waiting = {}
        for rank in unfinished:
            operation = plan[rank][len(spans[rank])]
            before = needed(operation, rank, p, stages)
            if before and before not in ended:
                waiting[rank] = f"rank {rank} waits with {operation} for {before[0]} of rank {before[1]}"
                continue
            free = spans[rank][-1].end if spans[rank] else 0.0
            there = ended[before] + message * (before[1] != rank) if before else 0.0
            begin = max(free, there)
            end = begin + (forward if operation.kind == "F" else backward)[operation.chunk * p + rank]
            ended[operation, rank] = end
            spans[rank].append(Span(begin, end, operation))
        if len(waiting) == len(unfinished):
            raise ValueError("deadlock: " + ", ".join(waiting.values()))
    return spans


def wrong(plan: Lists) -> str | None:
    """Say why lists are no schedule; None where they are one.

    Every pass is there once, forward before backward; messages are awaited in the order in which they are sent; nobody waits for ever.
    """
    p, chunks = len(plan), 1 + max(operation.chunk for operations in plan for operation in operations)
    passes = {Operation("F", o.micro_batch, chunk) for o in plan[0] for chunk in range(chunks)}
    for rank, operations in enumerate(plan):
        if sorted(operations) != sorted(passes | {o._replace(kind="B") for o in passes}):
            return f"rank {rank} does not do every pass of every micro-batch once"
        for forward in passes:
            if operations.index(forward) > operations.index(forward._replace(kind="B")):
                return f"rank {rank} does {forward._replace(kind='B')} before {forward}"
    for sender in range(p):
        for receiver in set(range(p)) - {sender}:
            awaited = [needed(o, receiver, p, p * chunks) for o in plan[receiver]]
            received = [before[0] for before in awaited if before and before[1] == sender]
            sent = [o for o in plan[sender] if o in set(received)]
            if sent != received:
                mine, other = next((a, b) for a, b in zip(sent, received, strict=True) if a != b)
                return f"rank {sender} sends the result of {mine} where rank {receiver} waits for that of {other}"
    try:
        in_virtual_time(plan, [1.0] * p * chunks, [1.0] * p * chunks)
    except ValueError as deadlock:
        return str(deadlock)
    return None


def bubble(spans: Sequence[Sequence[Span]]) -> float:
    """Return the share of all ranks' time, until the last of them is done, in which they do nothing."""
    end = max(span.end for mine in spans for span in mine)
    return 1 - sum(span.end - span.begin for mine in spans for span in mine) / (len(spans) * end)


def most_live(operations: Sequence[Operation]) -> int:
    """Return the most passes of chunks whose activations a rank holds at once: gone forward, and not yet backward."""
    live = most = 0
    for operation in operations:
        live += 1 if operation.kind == "F" else -1
        most = max(most, live)
    return most


def bubble_law(schedule: str, p: int, m: int, chunks: int = 1) -> float:
    """Return the bubble of p equal stages (or p * chunks) whose messages take no time."""
    return (p - 1) / p if schedule == "naive" else (p - 1) / (chunks * m + p - 1)


def live_law(schedule: str, p: int, m: int, rank: int, chunks: int = 1) -> int:
    """Return the most passes of chunks whose activations a rank holds at once."""
    ahead = {"naive": 0, "GPipe": m, "1F1B": p - 1 - rank, "interleaved": 2 * (p - 1 - rank) + (chunks - 1) * p}
    return min(m * chunks, ahead[schedule] + 1)


def sent_per_step(stages: int, activations: int) -> int:
    """Return the bytes that all ranks together send in a step: activations of a whole batch forward, their gradients backward.

    activations: bytes of a batch between two stages, which is batch * length * width * 4 for a GPT in float32.
    """
    return 2 * (stages - 1) * activations
