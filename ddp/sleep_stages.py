"""Layers that sleep in place of computing: any number of stages then runs at full speed on any number of cores.

They show what a schedule does, and nothing of what stages that share cores do to each other.
"""

from time import sleep
from typing import Any

import torch
from torch import Tensor, nn

from parlab.ddp.models import Chain


class Sleep(torch.autograd.Function):
    """The identity, which takes its time in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: float, backward: float) -> Tensor:
        """Sleep for the seconds of `forward`."""
        ctx.seconds = backward
        sleep(forward)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Sleep for the seconds of `backward`."""
        sleep(ctx.seconds)
        return gradient, None, None


class Sleeper(nn.Module):
    """(rows, width) times a weight (width,), after some sleep; with targets the sum of the squared differences to them."""

    def __init__(self, width: int, forward: float, backward: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.seconds = forward, backward

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the product, or the summed loss."""
        y: Tensor = Sleep.apply(x * self.weight, *self.seconds)  # type: ignore[no-untyped-call]
        return y if targets is None else ((y - targets) ** 2).sum()


def sleepers(stages: int, forward: float, backward: float, width: int = 4) -> Chain:
    """Return a chain of equal stages, whose passes of a micro-batch take so many seconds, of whatever size it is."""
    return Chain(*(Sleeper(width, forward, backward) for _ in range(stages)))
