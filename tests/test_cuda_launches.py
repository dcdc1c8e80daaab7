"""Ways to add 1 a thousand times: every one adds exactly as often as it says, and a sum that is off is seen.

The tests marked gpu also run on the stand-in for CuPy.
"""

from typing import Any

import pytest

COUNTS = (1, 10, 100, 1000)


@pytest.mark.gpu
@pytest.mark.parametrize("count", COUNTS)
def test_every_way_adds_exactly_so_often(gpu: None, count: int) -> None:
    from parlab.cuda import launches

    x = launches.numbers()
    runs = {name: make(x, count) for name, make in launches.WAYS.items()}
    if count == max(COUNTS):
        runs["graphs"] = launches.graphs(x, count, 100)
    for _ in range(2):  # a graph must not remember the numbers of its first run
        assert {name: launches.wrong(x, run, count) for name, run in runs.items()} == dict.fromkeys(runs)


@pytest.mark.gpu
def test_one_addition_too_few_or_too_many_is_seen(gpu: None) -> None:
    from parlab.cuda import launches

    x = launches.numbers()
    for name, make in launches.WAYS.items():
        for count in (9, 11):
            if name != f"fused by {launches.CHAIN}" or count < launches.CHAIN:
                assert "32 of 32 numbers are not 10 more" in str(launches.wrong(x, make(x, count), 10)), name
    assert "32 of 32 numbers" in str(launches.wrong(x, lambda: None, 10))


@pytest.mark.gpu
def test_a_replayed_graph_of_kernels_of_known_length_adds_as_often(gpu: None) -> None:
    from parlab.cuda import launches
    from parlab.cuda.streams import captured

    x = launches.numbers()
    run = launches.slowly(x, 7, 3e-6)
    assert launches.wrong(x, run, 7) is None
    assert launches.wrong(x, captured(run), 7) is None


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("last", 0), ("lazy", 0)])
def test_what_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    assert "6 passed" in standin.tests(style, seed)
