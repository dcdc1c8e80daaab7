"""The measured limit of delayed gradients is the theory's within 1 %."""

import pytest

from parlab.ddp import staleness


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 7])
def test_the_limit_is_the_theorys(delay: int) -> None:
    assert staleness.measured_limit(delay) == pytest.approx(staleness.limit(delay), rel=0.01)


def test_known_limits() -> None:
    golden = (5**0.5 - 1) / 2
    assert [staleness.limit(delay) for delay in (0, 1, 2)] == pytest.approx([2, 1, golden])


@pytest.mark.parametrize("delay", [0, 3])
def test_the_descent_converges_below_the_limit_and_not_above(delay: int) -> None:
    limit = staleness.limit(delay)
    assert not staleness.diverges(0.99 * limit, delay)
    assert staleness.diverges(1.01 * limit, delay)
    assert staleness.diverges(0.99 * limit, delay + 1)  # mutant: one step more of delay
