"""What a schedule can reach where the cost of every iteration is known: list scheduling, the next chunk to the thread that is free first.

Handing out costs nothing here and all threads are equally fast: what a measured time lacks is the price of handing out and of waking
threads. Source: R. L. Graham, Bounds on Multiprocessing Timing Anomalies, SIAM Journal on Applied Mathematics 17(2), 1969.
"""

from collections.abc import Sequence

from parlab.openmp_like.schedules import GUIDED, SHARES, STATIC

Chunks = list[tuple[int, int]]


def handed_out(kind: int, chunk: int, n: int, threads: int, shares: int = SHARES) -> Chunks:
    """Return the chunks (first, last), last excluded, of a loop of n iterations, in the order in which they are handed out.

    kind, chunk: as for schedules.chunks. shares: a guided chunk is one part in shares * threads of what is left.
    """
    if kind == STATIC and chunk == 0:
        return [(n * k // threads, n * (k + 1) // threads) for k in range(threads)]
    found: Chunks = []
    first = 0
    while first < n:
        share = -(-(n - first) // (shares * threads)) if kind == GUIDED else 0
        last = min(first + max(chunk, share), n)
        found.append((first, last))
        first = last
    return found


def makespan(kind: int, costs: Sequence[float], chunks: Chunks, threads: int) -> float:
    """Return when the last of the threads ends, in the unit of costs: what each iteration takes.

    Under STATIC the k-th chunk belongs to thread k modulo threads, under the others to the thread that is free first.
    """
    free = [0.0] * threads
    for k, (first, last) in enumerate(chunks):
        thread = k % threads if kind == STATIC else free.index(min(free))
        free[thread] += sum(costs[first:last])
    return max(free)
