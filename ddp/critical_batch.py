"""The batch from which on more samples a step hardly save steps: fitted to the steps of trainings, and from the gradients' noise alone.

    steps = least * (1 + critical / batch)

With small batches twice the batch takes half the steps; with large ones nothing more is to be gained. At the critical batch a training
takes twice the least number of steps, and twice the least number of samples. If all gradients pulled alike it is about the noise scale,
the trace of the covariance of single samples' gradients over the square of the mean gradient.
Source: McCandlish, Kaplan and Amodei, An Empirical Model of Large-Batch Training, 2018 (equation 2.11, appendix A.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from parlab.ddp import corpus
from parlab.ddp.training import Recipe, squares

CANDIDATES = np.geomspace(1, 1e5, 1000)  # critical batches that a fit chooses from


@dataclass(frozen=True)
class Law:
    """Steps to a goal by batch. least: with an endless batch. critical: the batch that takes twice as many."""

    least: float
    critical: float

    def steps(self, batch: float) -> float:
        """Return the steps that a batch takes."""
        return self.least * (1 + self.critical / batch)


def fit(steps: Mapping[int, float]) -> Law:
    """Return the law of least squared relative error, of steps by batch. ValueError for fewer than two batches."""
    if len(steps) < 2:
        raise ValueError(f"two unknowns need the steps of two batches or more, not of {len(steps)}")
    logs = np.log(list(steps.values())) - np.log1p(CANDIDATES[:, None] / np.array(list(steps)))  # (candidates, batches)
    best = int(logs.var(axis=1).argmin())
    return Law(float(np.exp(logs[best].mean())), float(CANDIDATES[best]))


def left_out(steps: Mapping[int, float]) -> dict[int, float]:
    """Return for each batch but the smallest and the largest by what share a fit to the others misses it: not seen, yet between them."""
    inner = sorted(steps)[1:-1]
    fits = {batch: fit({b: s for b, s in steps.items() if b != batch}) for batch in inner}
    return {batch: law.steps(batch) / steps[batch] - 1 for batch, law in fits.items()}


def resampled(steps: Mapping[int, Sequence[float]], times: int = 200) -> list[Law]:
    """Return fits to medians over seeds drawn with repetition: how they scatter is how well the law is known. Source: Efron, 1979."""
    chance = np.random.default_rng(0)
    count = min(map(len, steps.values()))
    drawn = chance.integers(count, size=(times, count))
    return [fit({b: float(np.median(np.array(s)[seeds])) for b, s in steps.items()}) for seeds in drawn]


def noise_scale(model: nn.Module, small: int = 16, large: int = 512, draws: int = 24, seed: int = 0) -> float:
    """Return the noise scale of the digits' gradients at these weights, in samples, from the mean squares of gradients of two batches.

    The square of a batch's mean gradient is too large by trace / batch; two batches tell both apart.
    """
    below, above = (_mean_square(model, batch, draws, seed) for batch in (small, large))
    square = (large * above - small * below) / (large - small)
    trace = (below - above) / (1 / small - 1 / large)
    return trace / square


def _mean_square(model: nn.Module, batch: int, draws: int, seed: int) -> float:
    found = []
    for draw in range(draws):
        inputs, targets = corpus.images(draw, batch, seed)
        loss = Recipe().loss(model, inputs, targets, batch)
        found.append(squares(torch.autograd.grad(loss, list(model.parameters()))))
    return torch.stack(found).mean().item()
