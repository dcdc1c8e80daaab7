"""One network on two devices, one process: its first layers on the one, the others on the other, for what does not fit into a GPU.

The devices take turns: neither works while the other does. Autograd sends the gradient back the way that the activation came.
"""

import torch
from torch import Tensor, nn

from parlab.ddp.models import Chain


class TwoDevices(nn.Module):
    """The layers of a chain: `count` of them on the device `first`, the others on `then`. Inputs and targets may be anywhere."""

    def __init__(self, model: Chain, count: int, first: torch.device, then: torch.device) -> None:
        super().__init__()
        self.layers, self.count, self.first, self.then = model.layers, count, first, then
        for place, layer in enumerate(self.layers):
            layer.to(first if place < count else then)

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the scores, or with targets the sum of their losses, on the device of the last layer."""
        last = self.then if self.count < len(self.layers) else self.first
        targets = None if targets is None else targets.to(last)
        for place, layer in enumerate(self.layers):
            x = x.to(self.first if place < self.count else self.then)
            x = layer(x, targets) if place == len(self.layers) - 1 else layer(x)
        return x


class Copies:
    """What crosses between the devices where the first one has so many layers: an activation one way, its gradient the other.

    given: what each layer is given, as Apart.given has it, on the device `first`.
    """

    def __init__(self, given: list[Tensor], first: torch.device, then: torch.device) -> None:
        self.here = [x.detach().to(first) for x in given]
        self.there = [x.to(then) for x in self.here]

    def run(self, count: int) -> None:
        """Copy what crosses in front of layer `count`; tokens have no gradient."""
        if count < len(self.here):
            self.there[count].copy_(self.here[count])
            if self.here[count].is_floating_point():
                self.here[count].copy_(self.there[count])
