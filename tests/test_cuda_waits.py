"""Ways to wait: each waits for what CUDA's rules say and not for more; the lab that times them judges fairly.

The tests marked gpu also run on the stand-in for CuPy.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import catalogue, results
from parlab.cuda.profiles import H200
from parlab.cuda.wait_rules import BEFORE, PLACES, RULES, row
from parlab.records import Comparison, Conclusion, Limit, Measurement, Record, Row
from parlab.stats import Interval, verdict

LAB = "stream_sync"
lab = partial(catalogue.script, LAB)


# The rules, the law and the conclusions: no GPU is needed.


def test_a_row_says_what_is_waited_for() -> None:
    assert list(row("callback", RULES["callback"]).values()) == ["callback", "waits", "goes on", "goes on", "goes on"]
    assert all(set(places) <= set(PLACES) for places in RULES.values())


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 9))
def test_the_law_of_launches_is_what_issuing_one_by_one_gives(count: int, issue: int, gpu: int) -> None:
    free = 0
    for i in range(1, count + 1):
        free = max(free, i * issue) + gpu  # the GPU takes an operation when it is issued and the last is done
    assert lab().in_line(count, issue, gpu) == free


def test_without_a_gpu_every_row_is_labelled_as_predicted() -> None:
    said: list[dict[str, str]] = []
    lab().predict(type("Bench", (), {"row": lambda _, row: said.append(row)})())
    assert {told["predicted for"] for told in said} == {"any GPU", H200.name}
    assert [told["wait"] for told in said if "wait" in told] == list(RULES)
    (plain,) = (told for told in said if told.get("1000 additions by") == lab().PLAIN)
    assert (plain["issue"], plain["until done"], plain["hides behind kernels of"]) == ("8.4 ms", "8.4 ms", "6.1 us")


def made_up(
    *, late: float = 10e-6, block_burns: float = 0.1, spin_burns: float = 1.0, dear: float = 10e-6, issue: float = 5e-6,
    graph: float = 5.0, off: float = 1.0, over: float = 1.0, spread: float = 0.01, odd: bool = False,
) -> list[Record]:  # fmt: skip
    """Records of a run. late: a blocking wait; dear: a callback on an idle GPU; graph: times as fast; off: of the prediction;
    over: what kernels issued one by one take, of what the device needs."""

    def around(median: float) -> Interval:
        return Interval(median, median * (1 - spread), median * (1 + spread), 24)

    def measured(what: str, way: str, seconds: float, **more: Any) -> Measurement:
        swept: dict[str, int] = {name: more.pop(name) for name in ("kernels", "kernel_us") if name in more}
        case: dict[str, str | int | float] = {"measured": what, **swept, "way": way}
        return Measurement("stream_sync", case, 1, "GPUs", around(seconds), [], {}, True, **more)

    def compared(what: str, way: str, than: str, ratio: float, **swept: int) -> Comparison:
        told = around(ratio)
        case: dict[str, str | int | float] = {"measured": what, **swept, "way": way}
        return Comparison("stream_sync", case, {**case, "way": than}, 1, told, verdict(told))

    made: list[Record] = [Row("stream_sync", row(name, places)) for name, places in RULES.items()]
    if odd:
        made.append(Row("stream_sync", row("callback", PLACES)))
    names = [name for name in RULES if name not in ("null stream synchronise", "copy back by get")]
    for name in names:
        idle = dear if name == "callback" else 1e-6
        reaction = lab().KERNEL + 7e-6 + (late if name == lab().BLOCKING else 0.0)
        burnt = block_burns if name == lab().BLOCKING else spin_burns
        made += [
            measured(lab().IDLE, name, idle),
            measured(lab().REACT, name, reaction, facts={"cores busy": burnt}),
        ]
    again = lab().SPINNING + " again"
    made.append(measured(lab().REACT, again, lab().KERNEL + 7e-6))
    ratio = (lab().KERNEL + 7e-6) / (lab().KERNEL + 7e-6 + late)
    made.append(compared(lab().REACT, lab().BLOCKING, lab().SPINNING, ratio))
    for kernels in (1, 100):
        for way in lab().SINGLY:
            made.append(measured(lab().ISSUE, way, issue, kernels=kernels))
            made.append(measured(lab().DEVICE, way, 2.5e-6, kernels=kernels))
    told = Limit("issue and device", 5e-6)
    made += [measured(lab().DONE, way, 5e-6 * off, kernels=1000, prediction=told) for way in lab().SINGLY]
    for way in (lab().GRAPH, lab().INSIDE):
        made.append(compared(lab().DONE, way, lab().PLAIN, graph, kernels=1000))
    made.append(compared(lab().DONE, lab().PLAIN + " again", lab().PLAIN, 1.0, kernels=1000))
    for us in lab().LENGTHS_US:
        gpu = us * 1e-6 + 2e-6
        bound = Limit(lab().ALONE, gpu)
        seconds = max(gpu * over, issue)
        made.append(measured(lab().KNOWN, lab().ONE_BY_ONE, seconds, kernel_us=us, bound=bound))
        made.append(measured(lab().KNOWN, lab().ALONE, gpu, kernel_us=us))
    return made


def told(found: list[tuple[str, bool | None]]) -> tuple[list[bool | None], str]:
    return [holds for _, holds in found], " | ".join(words for words, _ in found)


def test_a_run_as_expected_holds_in_all_points_and_gives_its_figures(judged: Any) -> None:
    found, words = told(judged(made_up()))
    assert found == [True] * 8, words
    for figure in ("each of 9 ways", "1 us by", "10 us by callback", "7 us by", "17 us by event synchronise, blocking"):
        assert figure in words
    for figure in (
        "comes back 10 us later",
        "burns 0.10 cores, not 1.00",
        "x += 1 5 us and 2.5 us",
        "graph 5, loop in",
    ):
        assert figure in words
    # 3 us of kernel and 2 us of gap take as long as an issue; between 2 and 4 us the curve is taken as straight in logarithms
    assert "behind kernels of 2.93 us and longer" in words


@pytest.mark.parametrize(
    ("wrong", "which"),
    [
        ({"odd": True}, {0: False}),
        ({"dear": 1e-6}, {1: None}),
        ({"late": 0.0}, {2: None, 3: False}),
        ({"block_burns": 0.9}, {3: False}),
        ({"spin_burns": 0.5}, {3: False}),
        ({"issue": 1e-6}, {4: False}),
        ({"graph": 0.5}, {5: False}),
        ({"off": 1.5}, {6: False}),
        ({"off": 0.5}, {6: False}),
        ({"over": 1.3}, {7: False}),
        ({"spread": 0.3}, {2: None, 3: None, 6: None, 7: None}),
    ],
)
def test_what_a_run_does_not_show_does_not_hold(wrong: dict[str, Any], which: dict[int, Any], judged: Any) -> None:
    found, words = told(judged(made_up(**wrong)))
    assert {i: holds for i, holds in enumerate(found) if holds is not True} == which, words


# The waits themselves: on a GPU, and on the stand-in.


@pytest.mark.gpu
def test_each_way_waits_for_what_the_rules_say_and_for_no_more(gpu: None) -> None:
    from parlab.cuda import waits
    from parlab.cuda.streams import several

    assert waits.waited(*several(2)) == RULES


@pytest.mark.gpu
def test_a_way_that_forgets_to_wait_is_found(gpu: None) -> None:
    from parlab.cuda import waits
    from parlab.cuda.streams import main

    for way in (waits.Way(waits.nothing, waits.nothing), waits.Way(waits.nothing, lambda: main().done)):
        hasty = waits.Waiting(way, main(), 0.05)  # seconds: the host looks long before
        hasty.stamps.fill(90)
        hasty.run()
        assert "before the kernel had ended" in str(hasty.wrong())
        main().synchronize()
        assert hasty.wrong() is None
        assert not waits.waits_for(way, main(), BEFORE, {})


@pytest.mark.gpu
def test_every_way_comes_back_after_the_kernel_and_from_an_idle_gpu(gpu: None) -> None:
    from parlab.cuda import waits
    from parlab.cuda.streams import main

    for name, way in waits.ways(main()).items():
        waiting = waits.Waiting(way, main(), 1e-3)
        for _ in range(2):
            waiting.stamps.fill(90)
            waiting.run()
            assert waiting.wrong() is None, name
            waiting.idle()
        assert waiting.cores_busy()["cores busy"] >= 0


@pytest.mark.parametrize(("style", "seed"), [("random", 1), ("last", 0), ("lazy", 0)])
def test_what_holds_on_a_gpu_holds_on_the_stand_in(standin: Any, style: str, seed: int) -> None:
    assert "3 passed" in standin.tests(style, seed)


def test_the_lab_runs_to_its_conclusions_on_the_stand_in(standin: Any, tmp_path: Path) -> None:
    standin.lab("stream_sync", tmp_path)
    kept = results.read(tmp_path).of("stream_sync")
    said = [r for r in kept if isinstance(r, Conclusion)]
    assert len(said) == 8
    assert said[0].holds, said[0].sentence  # of what is waited for: no matter of time
    assert all(m.verified for m in kept if isinstance(m, Measurement) and m.case["way"] != lab().ALONE)
