"""Chains are one cycle each, in their own thread's part, and every walk goes as far along them as it should."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from parlab.openmp_like import chain, scaling_in_c
from parlab.openmp_like.stream import LINE


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


@pytest.mark.parametrize(("threads", "nodes"), [(1, 1), (1, 64), (2, 50), (3, 33)])
def test_each_chain_is_one_cycle_through_all_nodes_of_its_part(threads: int, nodes: int) -> None:
    chains = chain.Chains(threads, nodes, seed=3)
    for k in range(threads):
        here, seen = int(chains.at[k * LINE]), []
        for _ in range(nodes):
            seen.append(here)
            here = int(chains.next[here])
        assert here == chains.at[k * LINE]
        assert sorted(seen) == [(k * nodes + i) * LINE for i in range(nodes)]


def test_the_order_is_random_and_follows_the_seed() -> None:
    first, same, other = (chain.Chains(1, 4096, seed).next[::LINE] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    steps = np.abs(first.astype(np.int64) - np.arange(4096) * LINE)
    assert np.mean(steps <= 4 * LINE) < 0.02  # hardly any step that a prefetcher could guess


def in_c(next: Any, at: Any, hops: int) -> None:
    try:
        scaling_in_c.walk(next, at, hops)()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("walk", [chain.walk_serial, chain.walk, in_c])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_walk_goes_on_by_its_hops(walk: Callable[..., None], threads: int) -> None:
    chains = chain.Chains(threads, 40, seed=5)
    expected, start = chains.at.copy(), chains.at.copy()
    for _ in range(17):
        expected[::LINE] = chains.next[expected[::LINE].astype(np.int64)]
    walk(chains.next, chains.at, 17)
    assert np.array_equal(chains.at, expected)
    assert (chains.went(start, chains.at) == 17).all()
    walk(chains.next, chains.at, 40)  # a full turn
    assert np.array_equal(chains.at, expected)


def test_a_walk_that_stands_still_or_goes_elsewhere_is_seen() -> None:
    chains = chain.Chains(2, 40, seed=5)
    before = chains.at.copy()
    assert (chains.went(before, chains.at) == 0).all()
    chain.walk_serial(chains.next, chains.at[:LINE], 3)
    assert chains.went(before, chains.at).tolist() == [3, 0]


def test_a_walk_says_how_far_it_went_wrong() -> None:
    chains = chain.Chains(2, 40, seed=5)
    good = chain.Walk(chains, chains.at, 50, lambda: chain.walk_serial(chains.next, chains.at, 50))
    lame = chain.Walk(chains, chains.at, 50, lambda: chain.walk_serial(chains.next, chains.at, 49))
    still = chain.Walk(chains, chains.at, 50, lambda: None)
    for walk, right in ((good, True), (lame, False), (still, False), (good, True)):
        walk.run()
        assert (walk.wrong() is None) == right


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_reading_in_order_reads_every_line(threads: int) -> None:
    chains, sums = chain.Chains(threads, 30, seed=1), np.full(threads * LINE, 9, np.uint64)
    chain.read(chains.next, sums)
    assert sums[::LINE].tolist() == chains.next[::LINE].reshape(threads, 30).sum(axis=1).tolist()
