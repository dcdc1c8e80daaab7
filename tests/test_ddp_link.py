"""The emulated link: its law, sums that come late but right, and what happens to who does not wait for them."""

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch

from parlab.ddp import link, sleep_stages
from parlab.ddp.buckets import Bucket, Wait, done
from parlab.ddp.data_parallel import Bucketed
from parlab.ddp.models import Chain
from parlab.ddp.training import Recipe, Single, differs

if TYPE_CHECKING:
    from parlab.workers import Workers

WIDTH, DEPTH, STEPS = 64, 4, 3
RECIPE = Recipe(rate=1e-3)


def sleepers() -> Chain:
    return sleep_stages.sleepers(DEPTH, 0.0, 0.0, WIDTH)


def train(trainer: Bucketed | Single) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        trainer.step(torch.rand(4, WIDTH, generator=chance), torch.rand(4, WIDTH, generator=chance))
    return trainer.weights()


@pytest.mark.workers(2)
def test_sums_come_late_and_who_does_not_wait_is_found(team: "Workers") -> None:
    wanted = train(Single(sleepers(), RECIPE))
    slow = link.Link(team.group, rate=4 * WIDTH / 0.01)  # 10 ms a bucket

    def unawaited(bucket: Bucket) -> Wait:
        slow(bucket)
        return done

    for send, right in ((slow, True), (unawaited, False)):
        trainer = Bucketed(sleepers(), RECIPE, team.group, cap=1, first=1, send=send)
        assert len(trainer.buckets) == DEPTH
        assert (differs(train(trainer), wanted) is None) == right
    slow.close()


@pytest.mark.workers(2)
def test_one_bucket_goes_after_the_other(team: "Workers") -> None:
    slow = link.Link(team.group, rate=4 * WIDTH / 0.005)
    long, short = Bucket([torch.zeros(20 * WIDTH)]), Bucket([torch.zeros(WIDTH)])
    long.flat.fill_(team.rank + 1)
    short.flat.fill_(10.0 * (team.rank + 1))
    waits = [slow(long), slow(short)]
    assert (long.flat == team.rank + 1).all()  # it is under way
    waits[1]()  # so the first has arrived too
    assert (long.flat == 3).all()
    assert (short.flat == 30).all()
    slow.close()


def timed(forward: float, backward: float, communication: float, n: int) -> float:
    """What happens, bucket by bucket: the link takes the next one when it is free and the bucket is ready."""
    free = forward
    for bucket in range(1, n + 1):
        free = max(free, forward + backward * bucket / n) + communication / n
    return free


def test_the_law_is_what_happens_bucket_by_bucket() -> None:
    for n in (1, 2, 4, 8):
        for communication in (0, 80, 160, 240):
            assert link.law(80, 160, communication, n) == pytest.approx(timed(80, 160, communication, n))
    assert [link.law(80, 160, 160, n) for n in (1, 2, 4, 8)] == [400, 320, 280, 260]
