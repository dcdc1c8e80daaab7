"""The closed forms: what they say for calls counted by hand, and that they fit together (no messages are sent here)."""

from collections import Counter

import pytest

from parlab.mpi.collectives import COLLECTIVES
from parlab.mpi.costmodel import Call, predict
from parlab.mpi.costs import COSTS

KEYS = list(COSTS)


def test_every_algorithm_has_its_costs() -> None:
    assert [(operation, name) for operation, named in COLLECTIVES.items() for name in named] == KEYS


@pytest.mark.parametrize(
    ("key", "call", "steps"),
    [
        (("bcast", "linear"), Call(4, 10, 8), [(80, 0)] * 3),
        (("bcast", "binomial"), Call(5, 10, 8), [(80, 0)] * 3),
        (("bcast", "scatter_allgather"), Call(4, 10, 1), [(6, 0), (3, 0), (3, 0), (3, 0), (3, 0)]),
        (("scatter", "binomial"), Call(6, 1, 8), [(16, 0), (16, 0), (8, 0)]),
        (("gather", "binomial"), Call(6, 1, 8), [(8, 0), (16, 0), (16, 0)]),
        (("allgather", "ring"), Call(3, 2, 4), [(8, 0), (8, 0)]),
        (("allgather", "recursive_doubling"), Call(8, 1, 1), [(1, 0), (2, 0), (4, 0)]),
        (("allgather", "recursive_doubling"), Call(5, 1, 1), [(1, 0), (2, 0), (3, 0), (5, 0)]),
        (("allgather", "bruck"), Call(5, 1, 1), [(1, 0), (2, 0), (1, 0)]),
        (("reduce", "binomial"), Call(3, 2, 8), [(16, 16)] * 2),
        (("reduce", "binomial"), Call(3, 2, 8, root=1, commutative=False), [(16, 16), (16, 16), (16, 0)]),
        (("allreduce", "reduce_bcast"), Call(4, 1, 8), [(8, 8), (8, 8), (8, 0), (8, 0)]),
        (("allreduce", "recursive_doubling"), Call(8, 1, 8), [(8, 8)] * 3),
        (("allreduce", "recursive_doubling"), Call(6, 1, 8), [(8, 8), (8, 8), (8, 8), (8, 0)]),
        (("allreduce", "ring"), Call(3, 4, 1), [(2, 2), (2, 2), (2, 0), (2, 0)]),
        (("allreduce", "rabenseifner"), Call(4, 8, 1), [(4, 4), (2, 2), (2, 0), (4, 0)]),
        (("allreduce", "rabenseifner"), Call(3, 8, 1), [(8, 8), (4, 4), (4, 0), (8, 0)]),
        (("reduce_scatter", "ring"), Call(3, 6, 1, counts=(1, 2, 3)), [(3, 3)] * 2),
        (("reduce_scatter", "pairwise"), Call(3, 7, 1), [(3, 3)] * 2),
        (("alltoall", "pairwise"), Call(3, 1, 8), [(8, 0)] * 2),
        (("alltoall", "bruck"), Call(6, 1, 1), [(3, 0), (2, 0), (2, 0)]),
        (("barrier", "dissemination"), Call(5, 0, 8), [(0, 0)] * 3),
        (("scan", "recursive_doubling"), Call(4, 1, 8), [(8, 8)] * 2),
    ],
)
def test_critical_path_counted_by_hand(key: tuple[str, str], call: Call, steps: list[tuple[int, int]]) -> None:
    assert COSTS[key].steps(call) == steps


@pytest.mark.parametrize("key", KEYS)
def test_one_rank_alone_sends_nothing(key: tuple[str, str]) -> None:
    assert COSTS[key].sent(Call(1, 10, 8), 0) == (0, 0)
    assert COSTS[key].steps(Call(1, 10, 8)) == []


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("p", range(1, 10))
def test_no_rank_sends_more_than_the_critical_path(key: tuple[str, str], p: int) -> None:
    call = Call(p, 37, 8)
    path = COSTS[key].steps(call)
    for rank in range(p):
        messages, sent = COSTS[key].sent(call, rank)
        assert messages <= len(path)
        assert sent <= sum(moved for moved, _ in path)


@pytest.mark.parametrize("p", range(1, 10))
def test_ring_sends_the_least_that_an_allreduce_can(p: int) -> None:
    """2 (p - 1) / p n for each rank (Patarasuk and Yuan, 2009): so 2 (p - 1) n in all, however the vector is cut."""
    call = Call(p, 37, 8)
    for name, exact in (("ring", True), ("rabenseifner", False), ("recursive_doubling", False)):
        total = sum(COSTS["allreduce", name].sent(call, rank)[1] for rank in range(p))
        assert total >= 2 * (p - 1) * 37 * 8
        assert not exact or total == 2 * (p - 1) * 37 * 8


def test_predict_adds_messages_and_combinations() -> None:
    asked: Counter[float] = Counter()

    def hockney(nbytes: float) -> float:
        asked[nbytes] += 1
        return 1e-6 + nbytes * 1e-9

    seconds = predict([(1000, 1000), (1000, 0), (0, 0)], hockney, 2e-9)
    assert seconds == pytest.approx(3e-6 + 2000 * 1e-9 + 1000 * 2e-9)
    assert asked == {1000: 2, 0: 1}
    assert predict([], hockney, 1.0) == 0.0
