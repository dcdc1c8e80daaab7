"""What each algorithm of parlab.mpi.collectives costs, in closed form: what a rank sends, and how long the call takes.

    call = Call(p=4, count=1000, itemsize=8)
    cost = COSTS["allreduce", "ring"]
    cost.sent(call, rank)                      -> (messages, bytes) that this rank sends, exactly
    predict(cost.steps(call), hockney, gamma)  -> seconds, from the critical path: (bytes exchanged, combined) per step

The forms come from the algorithms' definitions, not from running them; the tests hold them against the real messages.
Source of most: Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH", 2005.
"""

from collections.abc import Callable

from parlab.mpi.costmodel import Call, Cost, Pair


def children(v: int, p: int) -> int:
    """Return how many children node v has in a binomial tree: the powers of two below its lowest set bit and p - v."""
    nearest_missing = (p - 1 - v).bit_length()
    return min((v & -v).bit_length() - 1, nearest_missing) if v else nearest_missing


def subtree(v: int, p: int) -> int:
    """Return how many nodes the subtree of node v has in a binomial tree, itself included."""
    return min(v & -v, p - v) if v else p


def subtrees(p: int) -> list[int]:
    """Return the sizes of the subtrees of the root's children, the largest first."""
    return [subtree(1 << k, p) for k in reversed(range((p - 1).bit_length()))]


def _bcast_scatter_allgather(call: Call, rank: int) -> Pair:
    v = call.node(rank)
    scattered = call.start(v + subtree(v, call.p)) - call.start(v + 1)
    passed = call.count - call.block(v + 1)  # of all blocks, the one after its own never goes to the right
    return children(v, call.p) + call.p - 1, scattered + passed


def _reduce_binomial(call: Call, rank: int) -> Pair:
    if call.commutative or call.root == 0:
        return (0, 0) if rank == call.root else (1, call.count)
    return 1, call.count  # up the tree to rank 0, and from rank 0 to the root


def _reduce_bcast(call: Call, rank: int) -> Pair:
    messages = (rank > 0) + children(rank, call.p)
    return messages, messages * call.count


def _fold(call: Call, rank: int, sent_by_member: Callable[[int], Pair]) -> Pair:
    """Recursive doubling on any p: a folded rank sends its input, its neighbour sends it the result."""
    paired = rank < 2 * call.extra
    if paired and rank % 2 == 1:
        return 1, call.count
    messages, elements = sent_by_member(rank // 2 if paired else rank - call.extra)
    return messages + paired, elements + paired * call.count


def _rabenseifner(call: Call, rank: int) -> Pair:
    def member(me: int) -> Pair:
        # In each step a rank keeps the lower half, rounded down, or the upper, rounded up, as a binary digit of `me`
        # is 0 or 1. So after k steps it holds (count + the lowest k digits) / 2**k, rounded down.
        held = [(call.count + me % 2 ** (k + 1)) >> (k + 1) for k in call.powers]
        given = call.count - held[-1] if held else 0
        return 2 * len(held), given + sum(held)

    return _fold(call, rank, member)


def _allgather_recursive_doubling(call: Call, rank: int) -> Pair:
    paired = rank < 2 * call.extra
    if paired and rank % 2 == 1:
        return 1, call.count
    me = rank // 2 if paired else rank - call.extra
    blocks = call.p if paired else 0
    for k in call.powers:
        first = me >> k << k  # members first .. first + 2**k - 1 know each other; the first `extra` stand for two ranks
        blocks += 2**k + min(2**k, max(0, call.extra - first))
    return len(call.powers) + paired, blocks * call.count


def _allgather_recursive_doubling_steps(call: Call) -> list[Pair]:
    doubling = [((2**k + min(2**k, call.extra)) * call.count, 0) for k in call.powers]
    return [(call.count, 0), *doubling, (call.p * call.count, 0)] if call.extra else doubling


def _fold_steps(call: Call, steps: list[Pair]) -> list[Pair]:
    return [(call.count, call.count), *steps, (call.count, 0)] if call.extra else steps


def _rabenseifner_steps(call: Call) -> list[Pair]:
    halves = [-(-call.count // 2 ** (k + 1)) for k in call.powers]
    return _fold_steps(call, [(half, half) for half in halves] + [(half, 0) for half in reversed(halves)])


def _with_digit(p: int, k: int) -> int:
    """Return how many of the numbers 0 .. p - 1 have the binary digit k."""
    return (p >> (k + 1) << k) + max(0, p % (2 << k) - (1 << k))


def _alltoall_bruck_steps(call: Call) -> list[Pair]:
    return [(_with_digit(call.p, k) * call.count, 0) for k in range(call.log)]


COSTS: dict[tuple[str, str], Cost] = {
    ("bcast", "linear"): Cost(
        lambda c, rank: (c.p - 1, (c.p - 1) * c.count) if rank == c.root else (0, 0),
        lambda c: [(c.count, 0)] * (c.p - 1),
    ),
    ("bcast", "binomial"): Cost(
        lambda c, rank: (children(c.node(rank), c.p), children(c.node(rank), c.p) * c.count),
        lambda c: [(c.count, 0)] * c.log,
    ),
    ("bcast", "scatter_allgather"): Cost(
        _bcast_scatter_allgather,
        lambda c: [(size * c.longest, 0) for size in subtrees(c.p)] + [(c.longest, 0)] * (c.p - 1),
    ),
    ("scatter", "binomial"): Cost(
        lambda c, rank: (children(c.node(rank), c.p), (subtree(c.node(rank), c.p) - 1) * c.count),
        lambda c: [(size * c.count, 0) for size in subtrees(c.p)],
    ),
    ("gather", "binomial"): Cost(
        lambda c, rank: (1, subtree(c.node(rank), c.p) * c.count) if rank != c.root else (0, 0),
        lambda c: [(size * c.count, 0) for size in reversed(subtrees(c.p))],
    ),
    ("allgather", "ring"): Cost(
        lambda c, rank: (c.p - 1, (c.p - 1) * c.count),
        lambda c: [(c.count, 0)] * (c.p - 1),
    ),
    ("allgather", "recursive_doubling"): Cost(
        _allgather_recursive_doubling,
        _allgather_recursive_doubling_steps,
    ),
    ("allgather", "bruck"): Cost(
        lambda c, rank: (c.log, (c.p - 1) * c.count),
        lambda c: [(min(2**k, c.p - 2**k) * c.count, 0) for k in range(c.log)],
    ),
    ("reduce", "binomial"): Cost(
        _reduce_binomial,
        lambda c: [(c.count, c.count)] * c.log + [(c.count, 0)] * (not c.commutative and c.root != 0),
    ),
    ("allreduce", "reduce_bcast"): Cost(
        _reduce_bcast,
        lambda c: [(c.count, c.count)] * c.log + [(c.count, 0)] * c.log,
    ),
    ("allreduce", "recursive_doubling"): Cost(
        lambda c, rank: _fold(c, rank, lambda me: (len(c.powers), len(c.powers) * c.count)),
        lambda c: _fold_steps(c, [(c.count, c.count) for _ in c.powers]),
    ),
    ("allreduce", "ring"): Cost(
        lambda c, rank: (2 * (c.p - 1), 2 * c.count - c.block(rank) - c.block(rank + 1)),
        lambda c: [(c.longest, c.longest)] * (c.p - 1) + [(c.longest, 0)] * (c.p - 1),
    ),
    ("allreduce", "rabenseifner"): Cost(_rabenseifner, _rabenseifner_steps),
    ("reduce_scatter", "ring"): Cost(
        lambda c, rank: (c.p - 1, c.count - c.block(rank)),
        lambda c: [(c.longest, c.longest)] * (c.p - 1),
    ),
    ("reduce_scatter", "pairwise"): Cost(
        lambda c, rank: (c.p - 1, c.count - c.block(rank)),
        lambda c: [(c.longest, c.longest)] * (c.p - 1),
    ),
    ("alltoall", "pairwise"): Cost(
        lambda c, rank: (c.p - 1, (c.p - 1) * c.count),
        lambda c: [(c.count, 0)] * (c.p - 1),
    ),
    ("alltoall", "bruck"): Cost(
        lambda c, rank: (c.log, sum(moved for moved, _ in _alltoall_bruck_steps(c))),
        _alltoall_bruck_steps,
    ),
    ("barrier", "dissemination"): Cost(
        lambda c, rank: (c.log, 0),
        lambda c: [(0, 0)] * c.log,
    ),
    ("scan", "recursive_doubling"): Cost(
        lambda c, rank: ((c.p - 1 - rank).bit_length(), (c.p - 1 - rank).bit_length() * c.count),
        lambda c: [(c.count, c.count)] * c.log,
    ),
}
