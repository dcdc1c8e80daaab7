"""A way to cut a network is held against the single process: by a fresh trainer, since the one that is timed goes on learning."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from torch import Tensor

from parlab.ddp import corpus, models, training
from parlab.ddp.training import Recipe, Single
from parlab.workers import Workers

Make = Callable[..., Any]  # of a model, a recipe and a group: a Trainer
Network = Callable[[], models.Chain]
Batches = Sequence[tuple[Tensor, Tensor]]


def single(model: models.Chain, recipe: Recipe, _: object) -> Single:
    """Make the trainer of the single process, as those of a group are made."""
    return Single(model, recipe)


def checked(team: Workers, make: Make, network: Network, batches: Batches) -> Callable[[], str | None]:
    """Return the check of a way, done once for all times that it is asked for."""

    @cache
    def check() -> str | None:
        alone, trainer = (way(network().to(team.device), Recipe(), team.group) for way in (single, make))
        for batch in batches:
            here = [x.to(team.device) for x in batch]
            alone.step(*here)
            trainer.step(*here)
        return training.differs(trainer.weights(), alone.weights())

    return check


def text(shape: models.Shape, rows: int, step: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows of text that fill the context."""
    return corpus.passages(step, rows, shape.context, shape.vocabulary)


def as_tiny(team: Workers, make: Make) -> Callable[[], str | None]:
    """Return the check of a way on a small GPT."""
    return checked(team, make, partial(models.gpt, models.TINY), [text(models.TINY, 8, step) for step in range(2)])
