"""Rules do what they say, trainings are the same whoever does them, the law's fit finds the law, and the lab judges by its records."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch
from hypothesis import given
from hypothesis import strategies as st

from parlab.ddp import batch_scaling, corpus, critical_batch, exam
from parlab.ddp.batch_scaling import BASE, RATE, RULES, Run, steps_to_goal, study
from parlab.ddp.critical_batch import Law, fit, left_out, noise_scale, resampled
from parlab.ddp.training import Recipe, Single
from parlab.records import Comparison, Curve, Measurement, Record
from parlab.stats import Interval, verdict

if TYPE_CHECKING:
    from parlab.workers import Workers

LAB = "batch_and_rate"

Judged = Callable[[Sequence[Record]], list[tuple[str, bool | None]]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Such small networks are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_rates_follow_the_batch_as_the_rules_say() -> None:
    assert all(rule.rate(BASE) == RATE for rule in RULES.values())
    factors = {name: rule.rate(16 * BASE) / RATE for name, rule in RULES.items()}
    assert factors == {"constant": 1, "square root": 4, "linear": 16, "linear, warm-up": 16}


def test_a_warm_up_raises_the_rate_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = Single.step

    def noted(self: Single, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(self.optimizer.param_groups[0]["lr"])
        return step(self, inputs, targets)

    monkeypatch.setattr(Single, "step", noted)
    steps_to_goal(Run(16, 0.4, 4, seed=0), cap=6)
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_what_does_not_arrive_within_the_cap_or_diverges_took_endless_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_to_goal(Run(64, 0.1, 0, seed=0), cap=20) == inf
    assert steps_to_goal(Run(64, 0.1, 0, seed=0), cap=200) < 150
    looks: list[float] = []

    def noted(model: torch.nn.Module) -> float:
        looks.append(exam.accuracy(model))
        return looks[-1]

    monkeypatch.setattr("parlab.ddp.batch_scaling.accuracy", noted)
    assert steps_to_goal(Run(16, 3.0, 0, seed=0), cap=1000) == inf
    assert len(looks) == batch_scaling.LATE / batch_scaling.EVERY  # given up early


@pytest.mark.workers(3)
def test_a_study_is_the_same_whoever_does_which_run(team: "Workers") -> None:
    found = study(team.group, [16, 128], [3], cap=60)
    assert found.keys() == {(rule, batch) for rule in RULES for batch in (16, 128)}
    assert team.gathered(found) == [found] * 3
    rule = list(RULES)[team.rank + 1]  # each checks another one
    assert found[rule, 128] == [steps_to_goal(Run(128, RULES[rule].rate(128), RULES[rule].warm, s), 60) for s in (3,)]
    assert found["linear", 16] == found["constant", 16]


@given(st.floats(1, 1e3), st.floats(2, 5e4))
def test_a_fit_finds_the_law(least: float, critical: float) -> None:
    law = Law(least, critical)
    steps = {batch: law.steps(batch) for batch in (16, 64, 256, 1024, 4096)}
    assert fit(steps).critical == pytest.approx(critical, rel=0.02)  # the candidates are 1.2 % apart
    assert fit(steps).least == pytest.approx(least, rel=0.05)
    assert left_out(steps).keys() == {64, 256, 1024}
    assert max(map(abs, left_out(steps).values())) < 0.05
    scattered = [one.critical for one in resampled({b: [0.9 * s, s, 1.1 * s] for b, s in steps.items()}, times=20)]
    assert scattered == pytest.approx(
        [critical] * 20, rel=0.02
    )  # a seed that is slow with every batch says nothing of it


def test_steps_of_one_batch_have_no_law() -> None:
    with pytest.raises(ValueError, match="two batches or more, not of 1"):
        fit({16: 100.0})


def test_the_noise_scale_is_that_of_single_samples_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace of their covariance over the square of their mean."""
    model = batch_scaling.network(0)
    images, classes, *_ = corpus.digits()
    gradients = []
    for i in range(len(classes)):
        loss = Recipe().loss(model, images[i : i + 1], classes[i : i + 1], 1)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    found = torch.stack(gradients)
    mean = found.mean(0)
    exact = (found - mean).square().sum(1).mean() / mean.square().sum()
    assert noise_scale(model, draws=200) == pytest.approx(exact.item(), rel=0.15)
    monkeypatch.setattr(critical_batch, "squares", lambda gradients: sum(g.square().mean() for g in gradients))
    assert noise_scale(model, draws=200) != pytest.approx(exact.item(), rel=0.15)  # mutant: a mean over the numbers


def timed(batch: int, workers: int, time: float, way: str) -> Measurement:
    how = {"oversubscribed": False, "disturbed": 0, "dropped": 0}
    spread = Interval(time, 0.98 * time, 1.02 * time, 24)
    return Measurement(LAB, {"batch": batch, "way": way}, workers, "processes", spread, [time] * 24, {}, True, how=how)


def line(steps: "dict[int, float]", spread: float) -> list[tuple[float, ...]]:
    return [(batch, s, (1 - spread) * s, (1 + spread) * s) for batch, s in steps.items()]


def records(spread: float = 0.05, linear: int = 256, noise: float = 60, together: float = 1.5) -> list[Record]:
    law = Law(50, 50)
    batches = (16, 64, 256, 1024)
    lines: dict[str, list[tuple[float, ...]]] = {
        "constant": line(dict.fromkeys(batches, law.steps(16)), spread),
        "square root": line({b: law.steps(b) for b in batches}, spread),
        "linear": line({b: law.steps(b) for b in batches if b <= linear}, spread),
        "law of the best rule": [(b, law.steps(b)) for b in batches],
    }
    noises: dict[str, list[tuple[float, ...]]] = {
        "fitted to the steps": [(10, 50, 45, 55)],
        "noise scale of the gradients": line({10: noise}, spread),
    }
    ratio = Interval(together, 0.95 * together, 1.05 * together, 24)
    shared: list[Record] = [
        Comparison(
            LAB, {"batch": b, "way": "data parallel"}, {"batch": b, "way": "one process"}, 2, ratio, verdict(ratio)
        )
        for b in (64, 1024)
    ]
    return [
        timed(16, 1, 1e-3, "one process"),
        timed(1024, 1, 4e-3, "one process"),
        timed(1024, 2, 3e-3, "data parallel"),
        *shared,
        Curve(LAB, "steps to the goal", "batch", "steps", lines, True, True),
        Curve(LAB, "critical batch", "steps", "samples", noises, False, True),
    ]


def test_the_lab_concludes_that_its_claims_hold(judged: Judged) -> None:
    said = judged(records())
    assert [holds for _, holds in said] == [True] * 6
    assert "52 steps, the constant rate in 206, 3.9" in said[0][0]
    assert "constant 1024, square root 1024, linear 256" in said[1][0]
    assert "steps = 50 (1 + 50 / batch)" in said[2][0]
    assert "16.0 [15.4, 16.7] times as many samples a second" in said[4][0]
    assert "from batch 64 on" in said[5][0]


def test_the_lab_concludes_that_they_do_not_or_that_it_cannot_tell(judged: Judged) -> None:
    verdicts = {
        "noise": [holds for _, holds in judged(records(noise=500))],
        "spread": [holds for _, holds in judged(records(spread=0.9))],
        "alone": [holds for _, holds in judged(records(together=0.5))],
        "linear": [holds for _, holds in judged(records(linear=1024))],
    }
    assert verdicts["noise"][3] is False
    assert verdicts["spread"][0] is None
    assert verdicts["spread"][3] is None
    assert verdicts["alone"][5] is False
    assert verdicts["linear"][1] is None
