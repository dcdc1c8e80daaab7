"""A bubble is told from steps with several numbers of micro-batches; the lab's conclusions follow from its records, whatever they say."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

pytest.importorskip("torch")
from hypothesis import given
from hypothesis import strategies as st

from parlab.ddp.pipelines import WAYS, bubbles
from parlab.recorder import Recorder, lanes
from parlab.records import Case, Comparison, Measurement, Record, Row
from parlab.stats import Interval, median_interval, verdict

LAB = "model_parallel"
Judged = Callable[[Sequence[Record]], list[tuple[str, bool | None]]]


@given(st.sampled_from(sorted(WAYS.keys() - {"naive"})), st.integers(2, 6), st.floats(0.001, 1), st.floats(0.001, 1))
def test_virtual_steps_have_the_bubble_of_the_law(way: str, p: int, forward: float, backward: float) -> None:
    numbers = [p, 2 * p, 5 * p]
    spans = [WAYS[way].in_virtual_time(p, m, forward, backward) for m in numbers]
    times = np.array([[max(span.end for mine in found for span in mine)] * 2 for found in spans])
    shares, each, once = bubbles(numbers, times)
    assert shares == pytest.approx(np.array([[WAYS[way].bubble(p, m)] * 2 for m in numbers]))
    assert each == pytest.approx(forward + backward)
    assert once == pytest.approx((p - 1) / WAYS[way].chunks)


def test_a_recorder_notes_spans_which_become_lanes_from_0() -> None:
    first, second = Recorder(), Recorder()
    for what, recorder in enumerate((first, second, first)):
        with recorder(what):
            pass
    (_, mine), (name, others) = lanes([first.spans, second.spans])
    assert (mine[0][0], mine[0][2], mine[1][2], name, others[0][2]) == (0, "0", "2", "rank 1", "1")
    assert 0 <= mine[0][1] <= others[0][0] <= others[0][1] <= mine[1][0]


def step(case: Case, samples: Sequence[float], **facts: float) -> Measurement:
    """Two processes did a step in so many seconds, round by round."""
    return Measurement(LAB, case, 2, "processes", median_interval(samples), [*samples], {}, True, facts=facts)


def asleep(way: str, noise: float, few: float, many: float) -> list[Record]:
    """Steps of sleeping stages with 4 and with 8 micro-batches; rounds differ by this much."""
    rounds = 1 + noise * np.linspace(-1, 1, 7)
    return [
        step({"stages": "asleep", "way": way, "micro_batches": 4}, (few * rounds).tolist()),
        step({"stages": "asleep", "way": way, "micro_batches": 8}, (many * rounds[::-1]).tolist()),
    ]


def test_the_bubble_is_held_against_the_law(judged: Judged) -> None:
    for way, few, many, noise, expected in (
        ("1F1B", 5, 9, 0.001, True),
        ("1F1B", 5.1, 9.1, 0.001, True),
        ("1F1B", 6, 10, 0.001, False),
        ("1F1B", 6, 10, 0.2, None),
        ("interleaved", 4.5, 8.5, 0.001, True),
        ("interleaved", 4.7, 8.7, 0.001, True),
        ("interleaved", 5, 9, 0.001, False),
    ):
        ((told, holds),) = judged(asleep(way, noise, few, many))
        assert (told.split(": ")[0], holds) == (f"2 processes, stages asleep, {way}", expected)
    assert "20.0% of a step with 4 (law 20.0%), 11.1% of a step with 8" in judged(asleep("1F1B", 0, 5, 9))[0][0]


def test_ours_is_held_against_torchs(judged: Judged) -> None:
    for ours, expected in ((5, True), (6, False)):
        found = judged([*asleep("1F1B", 0, ours, 9), *asleep("1F1B by torch", 0, 5, 9)])
        assert dict(found)[next(told for told, _ in found if "4 micro-batches: our 1F1B" in told)] is expected


def test_counts_of_what_is_kept_are_exact(judged: Judged) -> None:
    row = {"schedule": "1F1B", "processes": "2", "micro-batches": "4"}
    for kept, expected in (("2 1", True), ("4 4", False)):
        found = judged([Row(LAB, {**row, "micro-batches kept, by rank": kept, "by the law": "2 1"})])
        assert found == [
            (f"micro-batches kept at once, by rank: 1F1B {kept} of 4; all 1 counts are the law's", expected)
        ]


def raced(sent: float, tensor: Interval) -> list[Record]:
    """A GPT, cut in several ways."""
    common: Case = {"network": "GPT", "batch": "4 x 64", "over": "gloo", "micro_batches": 4}
    ups = {"naive": Interval(0.9, 0.8, 1.0, 9), "1F1B": Interval(1.4, 1.3, 1.5, 9), "tensor": tensor}
    ups |= {"tensor, sequence": Interval(1.0, 0.9, 1.1, 9), "tensor by torch": Interval(1.0, 0.9, 1.1, 9)}
    alone = step({**common, "way": "single process"}, [1.0] * 9, **{"sent, MiB": 0.0})
    laws = {"1F1B": {"law, MiB": 0.25}}
    cases = {way: step({**common, "way": way}, [1.0] * 9, **{"sent, MiB": sent}, **laws.get(way, {})) for way in ups}
    against = [Comparison(LAB, m.case, alone.case, 2, ups[way], verdict(ups[way])) for way, m in cases.items()]
    return [alone, *cases.values(), *against]


def test_ways_to_cut_a_network_are_compared(judged: Judged) -> None:
    for sent, tensor, expected in (
        (0.25, Interval(1.8, 1.7, 1.9, 9), [True, True, True]),
        (0.5, Interval(1.4, 1.3, 1.5, 9), [False, None, True]),
    ):
        found = judged(raced(sent, tensor))
        assert [holds for _, holds in found] == expected
    assert "by 1F1B 1.40 [1.30, 1.50] times as fast as alone" in found[1][0]
