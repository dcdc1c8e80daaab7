"""Who talks to whom: the patterns that several collectives share.

The tree and the pairs keep neighbouring ranks together, so that a group's data is one contiguous piece, and a
non-commutative operation meets its operands in rank order. All are cached: a short message takes about as long as
they take to compute.
"""

from functools import cache


@cache
def doubling(end: int) -> tuple[int, ...]:
    """Return the distances 1, 2, 4 ... below `end`: ceil(log2 end) of them."""
    return tuple(1 << k for k in range((end - 1).bit_length()))


@cache
def binomial_tree(v: int, p: int) -> tuple[int, tuple[tuple[int, int], ...], int]:
    """Return node v's place in the binomial tree over 0 .. p - 1 with root 0: (parent, children, end).

    v's subtree is v .. end - 1. The children are v + 1, v + 2, v + 4 ..., each as (child, end of the child's subtree).
    The parent is v without its lowest set bit; the root's parent is given as 0 and is never used.

        0 -> 1, 2, 4     2 -> 3     4 -> 5, 6     6 -> 7
    """
    reach = v & -v or 1 << (p - 1).bit_length()  # v's lowest set bit: its children are nearer than that
    children = tuple((v + d, min(v + 2 * d, p)) for d in doubling(reach) if v + d < p)
    return v & (v - 1), children, min(v + reach, p)


@cache
def power_of_two_members(p: int) -> tuple[int, ...]:
    """Return the largest power of two of ranks that recursive doubling runs on, in rank order.

    The r = p - 2**k ranks too many are the odd ones of the first 2 r: each folds into the even neighbour before it.

        p = 6: members 0, 2, 4, 5; rank 1 folds into 0, rank 3 into 2
    """
    extra = p - (1 << (p.bit_length() - 1))
    return (*range(0, 2 * extra, 2), *range(2 * extra, p))
