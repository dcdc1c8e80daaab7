"""A network whose layers take very different times, which neither their number nor their size tells; and each of them by itself.

A large vocabulary makes embedding and head large, but the embedding only looks up. The later blocks are four times as wide as those before
them: they have sixteen times the weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parlab.ddp.models import Block, Chain, Embedding, Head, Layer, Shape
from parlab.ddp.training import Recipe

HEADS, BLOCKS = 4, 4
LAYERS = 2 * BLOCKS + 4
CLOSE = 1e-3  # of a gradient, as a share of it: on GPUs sums come out differently each time


@dataclass(frozen=True)
class Sizes:
    """Of the chain: width of the narrow blocks, vocabulary, tokens in a row."""

    narrow: int
    vocabulary: int
    context: int


def chain(sizes: Sizes, seed: int = 0) -> Chain:
    """Return embedding, a layer that narrows, narrow blocks, one that widens, wide blocks, head. A seed gives the same weights."""
    narrow, wide = sizes.narrow, 4 * sizes.narrow
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Chain(
            Embedding(Shape(wide, 0, HEADS, sizes.vocabulary, sizes.context)),
            Layer(wide, narrow),
            *(Block(narrow, HEADS) for _ in range(BLOCKS)),
            Layer(narrow, wide),
            *(Block(wide, HEADS) for _ in range(BLOCKS)),
            Head(wide, sizes.vocabulary),
        )


def names(model: Chain) -> list[str]:
    """Return a name for each layer: its place and its kind."""
    return [f"{place} {type(layer).__name__.lower()}" for place, layer in enumerate(model.layers)]


def weights(model: Chain) -> list[float]:
    """Return how many weights each layer has."""
    return [float(sum(w.numel() for w in layer.parameters())) for layer in model.layers]


class Apart:
    """Each layer of a chain by itself, on what it is given in a step on this micro-batch: forward and backward, as in a pipeline.

    of: how many targets the global batch has.
    """

    def __init__(self, model: Chain, recipe: Recipe, inputs: Tensor, targets: Tensor, of: int) -> None:
        self.layers, self.recipe, self.targets, self.of = list(model.layers), recipe, targets, of
        model.zero_grad()
        self.given, x = [inputs], inputs
        for layer in self.layers[:-1]:
            x = self.forward(layer, x)
            x.retain_grad()
            self.given.append(x)
        self.forward(self.layers[-1], x, targets).backward()
        self.gradients = [x.grad for x in self.given[1:]]
        self.given = [x.detach().requires_grad_(x.is_floating_point()) for x in self.given]
        self.wanted = [[w.grad.clone() for w in layer.parameters() if w.grad is not None] for layer in self.layers]
        model.zero_grad()

    def forward(self, layer: nn.Module, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return what the next layer is given, or with targets this micro-batch's part of the loss."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.recipe.autocast):
            done: Tensor = layer(x) if targets is None else layer(x, targets) / self.of
        return done

    def run(self, place: int) -> None:
        """Run a layer forward and backward; its weights' gradients add up."""
        x = self.given[place]
        x.grad = None
        if place == len(self.layers) - 1:
            self.forward(self.layers[place], x, self.targets).backward()
        else:
            torch.autograd.backward(self.forward(self.layers[place], x), self.gradients[place])

    def wrong(self, place: int) -> str | None:
        """Say which gradients of a layer alone are not those that it has within the chain."""
        self.layers[place].zero_grad()
        self.run(place)
        found = [w.grad for w in self.layers[place].parameters() if w.grad is not None]
        pairs = zip(found, self.wanted[place], strict=True)
        bad = sum(bool((mine - its).norm() > CLOSE * its.norm() + 1e-9) for mine, its in pairs)
        return f"{bad} gradients differ from those within the chain" if bad else None
