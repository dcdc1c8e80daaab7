"""What the lab data_vs_model concludes from its records; that each way holds what its law says, and equals the single process."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
from parlab.ddp import every_way, footprint, models
from parlab.ddp.tasks import Task
from parlab.records import Limit, Measurement, Record, Row
from parlab.stats import Interval

if TYPE_CHECKING:
    from parlab.workers import Workers

LAB = "data_vs_model"
Judged = Callable[[Sequence[Record]], list[tuple[str, bool | None]]]


def step(
    way: str,
    seconds: float,
    workers: int = 2,
    shape: models.Shape = models.SMALL,
    facts: dict[str, float] | None = None,
) -> Measurement:
    """A step of a way, whose time is known within 1 %; a matrix product would do its operations in 0.8 s."""
    task, time = Task(shape, 8, every_way.ADAM), Interval(seconds, seconds * 0.99, seconds * 1.01, 24)
    case, work, how = {**task.told, "way": way}, {"flops": task.flops}, {"oversubscribed": False}
    bound = Limit("matmul", 0.8)
    return Measurement(LAB, case, workers, "processes", time, [seconds], work, True, bound, None, how, facts or {})


def shared(way: str, seconds: float, holds: float, off: float = 1e-7) -> Measurement:
    return step(way, seconds, facts={"holds, MiB": holds, "sends, MiB": 1.0, "off": off})


def test_the_fastest_way_is_told_and_the_one_to_take_where_memory_is_short(judged: Judged) -> None:
    serial, dp, pp = step("serial", 1.0), shared("DP", 0.6, 50), shared("PP", 0.7, 25)
    (same, equal), (fastest, gain) = judged([serial, dp, pp, shared("ZeRO-3", 0.8, 25)])
    assert equal
    assert gain
    assert "within 1e-07" in same
    assert "DP is fastest, 1.67" in fastest
    assert "where memory is short take PP: 25 of its 50 MiB, 1.17" in fastest
    assert [holds for _, holds in judged([serial, shared("DP", 1.2, 50, off=1e-5)])] == [False, False]
    assert [holds for _, holds in judged([serial, replace(dp, seconds=Interval(0.9, 0.7, 1.1, 8))])] == [True, None]
    assert len(judged([dp])) == 1  # processes that share a core: nothing is said of time


def test_goals_are_held_against_the_data_sheet_and_the_ideal(judged: Judged) -> None:
    gpt = replace(models.GPT2)
    at_goal = Task(gpt, 8, every_way.ADAM).flops / (0.48 * 989e12)
    for seconds, holds in ((at_goal * 0.9, True), (at_goal * 1.1, False), (at_goal, None)):
        ((told, found),) = judged([step("serial", seconds, 1, gpt)])
        assert found is holds
        assert "of 989 TFLOP/s (goal: 0.48)" in told
    assert judged([step("serial", 0.9, 1)])[0][1]  # without a goal: the product is a bound
    assert judged([step("serial", 0.7, 1)])[0][1] is False
    for seconds, holds in ((0.7, True), (0.9, False), (1 / 1.26, None)):
        both = [step("serial", 1.0, shape=models.SEVEN), shared("TP, sequence", seconds, 9)]
        told, found = judged([both[0], replace(both[1], case={**both[0].case, "way": "TP, sequence"})])[-1]
        assert found is holds
        assert "of ideal (goal: 0.63)" in told


def test_what_fits_is_told_by_way_and_held_against_the_law(judged: Judged) -> None:
    def row(network: str, way: str, ratio: str, fits: str) -> Row:
        told = {
            "network": network,
            "workers": "2 processes",
            "way": way,
            "by the law": "",
            "a worker holds": "1",
            "of the law": ratio,
        }
        return Row(LAB, told | {"fits 64 MiB": fits})

    rows = [row("small", "DP", "1.0000", "yes"), row("small", "TP", "1.0000", "yes"), row("large", "DP", "", "no")]
    (exact, right), (told, several) = judged([*rows, row("large", "TP", "1.0001", "yes"), row("large", "PP", "", "no")])
    assert right
    assert several
    assert "3 times the fullest worker of a way held what the law says within 0.01%" in exact
    assert "2 processes of 64 MiB: the largest network that fits, by way: DP small; ZeRO-3, PP none; TP large" in told
    assert judged([row("small", "DP", "1.1000", "yes")])[0][1] is False


@pytest.mark.workers(2)
def test_every_way_is_the_single_process_and_holds_what_its_law_says(team: "Workers") -> None:
    shape = models.TINY
    for way, make in every_way.ways(team.group, team.device).items():
        proof = every_way.Proof(make, team.group, team.device, shape, 2)
        assert proof.check() is None, way
        assert proof.losses[0] > proof.losses[1]
        if way in footprint.WAYS:
            held = max(team.gathered(footprint.held(make, shape, team.device, limit=0)))
            assert held == footprint.law(way, shape, 2), way
    trainer, facts = every_way.counted(Task(shape, 8, every_way.ADAM), make, team.group, team.device)
    assert facts["holds"] == trainer.held().total / 2**20
    assert facts["sends"] > 0
    assert shape.name == "GPT 0.0555M"
    assert models.SEVEN.name == "GPT 6.87B"
