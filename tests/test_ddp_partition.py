"""No cut of a chain is better than the one that dynamic programming finds, whatever layers, messages and devices cost."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.ddp.partition import best_cut, equal_layers, in_turn, stage_costs

COST = st.floats(0, 100, allow_nan=False)


def all_cuts(layers: int, stages: int) -> list[list[int]]:
    return [list(cut) for cut in combinations(range(1, layers), stages - 1)]


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[list[float]], list[float]]:
    """Costs on each of several devices, which may be of different speeds for each layer, and of the messages, or none."""
    layers = draw(st.integers(1, 8))
    stages = draw(st.integers(1, layers))
    row = st.lists(COST, min_size=layers, max_size=layers)
    alike = draw(st.booleans())
    costs = [draw(row)] * stages if alike else [draw(row) for _ in range(stages)]
    return costs, draw(st.one_of(st.just([]), st.lists(COST, min_size=layers - 1, max_size=layers - 1)))


@settings(deadline=None)
@given(chains())
def test_no_cut_has_a_faster_slowest_stage(chain: tuple[list[list[float]], list[float]]) -> None:
    costs, messages = chain
    found = best_cut(costs, messages)
    tried = {tuple(cut): max(stage_costs(costs, cut, messages)) for cut in all_cuts(len(costs[0]), len(costs))}
    assert tried[tuple(found)] == min(tried.values())
    assert max(stage_costs(costs, found, messages)) <= max(
        stage_costs(costs, equal_layers(len(costs[0]), len(costs)), messages)
    )


@given(st.integers(1, 60), st.integers(1, 60))
def test_equal_cuts_differ_by_one_layer_at_most_or_are_refused(layers: int, stages: int) -> None:
    if stages > layers:
        with pytest.raises(ValueError, match=f"{layers} layers .* {stages} stages: ask for 1 to {layers}"):
            equal_layers(layers, stages)
        with pytest.raises(ValueError, match=f"ask for 1 to {layers}"):
            best_cut([[1.0] * layers] * stages)
        return
    counts = stage_costs([[1.0] * layers] * stages, equal_layers(layers, stages))
    assert sum(counts) == layers
    assert sorted(counts, reverse=True) == counts
    assert counts[0] - counts[-1] <= 1


def test_a_head_that_costs_as_much_as_all_blocks_gets_a_stage_of_its_own() -> None:
    costs = [0, 1, 1, 1, 1, 4]
    assert best_cut([costs] * 2) == [5]
    assert stage_costs([costs] * 2, [5]) == [4, 4]
    assert stage_costs([costs] * 2, equal_layers(6, 2)) == [2, 6]


def test_a_device_that_is_four_times_as_fast_gets_four_times_the_layers() -> None:
    assert best_cut([[4.0] * 10, [1.0] * 10]) == [2]
    assert best_cut([[1.0] * 10, [4.0] * 10]) == [8]


def test_a_dear_message_moves_the_cut_to_where_little_is_said() -> None:
    costs = [[1.0] * 4] * 2
    assert best_cut(costs) == [2]
    assert best_cut(costs, [0.5, 3, 0.5]) == [1]
    assert stage_costs(costs, [1], [0.5, 3, 0.5]) == [1.5, 3.5]
    assert stage_costs([[1.0] * 4] * 3, [1, 2], [1, 2, 4]) == [1 + 1, 1 + 1 + 2, 2 + 2]


def test_two_devices_in_turn_add_up() -> None:
    assert in_turn([5, 5], [1, 1], [0, 2, 3]) == [2, 8, 13]
