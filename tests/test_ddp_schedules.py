"""The lists of every schedule are valid, their bubble in virtual time and what they keep are the laws'; broken lists are named."""

import pytest

pytest.importorskip("torch")  # with the rest of the topic
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.ddp import schedules
from parlab.ddp.schedules import Lists, Operation

PLAIN = st.tuples(st.sampled_from(["naive", "GPipe", "1F1B"]), st.integers(1, 8), st.integers(1, 24), st.just(1))
ROUNDS = st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(2, 4))
NUMBERS = PLAIN | ROUNDS.map(lambda of: ("interleaved", of[0], of[0] * of[1], of[2]))
SECONDS = st.floats(0.1, 10)


@settings(deadline=None)
@given(NUMBERS)
def test_every_schedule_is_valid_and_keeps_as_much_as_the_law_says(numbers: tuple[str, int, int, int]) -> None:
    name, p, m, chunks = numbers
    plan = schedules.lists(*numbers)
    assert schedules.wrong(plan) is None
    assert [schedules.most_live(mine) for mine in plan] == [
        schedules.live_law(name, p, m, rank, chunks) for rank in range(p)
    ]
    if name == "1F1B":
        assert [schedules.most_live(mine) for mine in plan] == [min(m, p - rank) for rank in range(p)]


@settings(deadline=None)
@given(NUMBERS, SECONDS, SECONDS)
def test_the_bubble_in_virtual_time_is_the_law(
    numbers: tuple[str, int, int, int], forward: float, backward: float
) -> None:
    name, p, m, chunks = numbers
    stages = p * chunks
    spans = schedules.in_virtual_time(schedules.lists(*numbers), [forward] * stages, [backward] * stages)
    law = (p - 1) / p if name == "naive" else (p - 1) / (chunks * m + p - 1)
    assert schedules.bubble_law(*numbers) == law
    assert schedules.bubble(spans) == pytest.approx(law, abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), SECONDS, SECONDS, SECONDS)
def test_messages_delay_gpipe_once_up_and_once_down(
    p: int, m: int, forward: float, backward: float, message: float
) -> None:
    spans = schedules.in_virtual_time(schedules.gpipe(p, m), [forward] * p, [backward] * p, message)
    end = max(span.end for mine in spans for span in mine)
    assert end == pytest.approx(m * (forward + backward) + (p - 1) * (forward + backward + 2 * message))


def test_the_slowest_stage_sets_the_pace() -> None:
    spans = schedules.in_virtual_time(schedules.gpipe(3, 5), [1, 4, 2], [1, 1, 1])
    assert [span.begin for span in spans[2] if span.operation.kind == "F"] == [5, 9, 13, 17, 21]


def f(k: int, chunk: int = 0) -> Operation:
    return Operation("F", k, chunk)


def b(k: int, chunk: int = 0) -> Operation:
    return Operation("B", k, chunk)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ([[f(0), f(1), b(1), b(0)], [f(0), b(0), f(1), b(1)]], "rank 1 sends the result of B 0 where rank 0 waits for"),
        ([[f(0), f(1), b(0), b(1)], [f(1), b(1), f(0), b(0)]], "rank 0 sends the result of F 0 where rank 1 waits for"),
        ([[f(0), b(0), f(1), b(1)], [f(0), f(1), b(0), b(1)]], "deadlock: rank 0 waits with B 0 for B 0 of rank 1"),
        ([[f(0), b(0)], [b(0), f(0)]], "rank 1 does B 0 before F 0"),
        ([[f(0), f(1), b(0), b(1)], [f(0), b(0), b(1)]], "rank 1 does not do every pass"),
        ([[f(0), b(0), b(0)], [f(0), b(0)]], "rank 0 does not do every pass"),
    ],
)
def test_lists_that_are_no_schedule_are_named(plan: Lists, told: str) -> None:
    assert (schedules.wrong(plan) or "").startswith(told)


def test_numbers_that_do_not_go_together_are_refused_with_those_that_would() -> None:
    for numbers, told in {
        ("interleaved", 4, 6, 2): "6 micro-batches cannot be interleaved on 4 ranks: ask for 4 or 8",
        ("interleaved", 4, 3, 2): "ask for 4 or 8",
        ("interleaved", 4, 8, 1): "at least 2 chunks on at least 2 ranks",
        ("1F1B", 4, 8, 2): "1F1B with 2 chunks: ask for 1 chunk, or for the schedule interleaved",
        ("1f1b", 4, 8, 1): "there is no schedule '1f1b': ask for naive, GPipe, 1F1B or interleaved",
        ("GPipe", 2, 0, 1): "0 micro-batches",
    }.items():
        with pytest.raises(ValueError, match=told):
            schedules.lists(*numbers)


def test_operations_and_bytes_are_told() -> None:
    assert [str(f(3)), str(b(0, 2))] == ["F 3", "B'' 0"]
    assert schedules.sent_per_step(4, 1000) == 6000
