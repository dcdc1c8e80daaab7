"""The layers of the two networks, cut between workers: each does its part of every matrix product.

A column-parallel layer has some of the outputs of each product: it needs all of its input, and nothing is said afterwards. A row-parallel
layer has some of the inputs: what it finds is a part of a sum over the workers. One behind the other they need one exchange, at the end,
and in the backward pass one at the begin. So a block cuts attention by heads and the middle of its MLP by columns, then rows; the
embedding and the scores are cut by tokens. The rest of a block is left as it is.
Source: Shoeybi et al., Megatron-LM, 2019, section 3.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from parlab.ddp.models import Chain, Embedding, Head, Layer
from parlab.ddp.regions import SEQUENCE, Region, all_reduce


class ColumnLinear(nn.Module):
    """Some of the outputs of a linear layer. Input (..., inputs), or a slice of the sequence; output (..., outputs / workers)."""

    cut: ClassVar = {"weight": 0, "bias": 0}  # which of its weights are pieces, and along which dimension

    def __init__(self, whole: nn.Linear, region: Region, parts: int = 1) -> None:
        super().__init__()
        self.region, self.parts = region, parts
        self.weight, self.bias = region.piece(whole.weight, 0, parts), region.piece(whole.bias, 0, parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return this worker's outputs."""
        return functional.linear(self.region.enter(x), self.weight, self.bias)


class RowLinear(nn.Module):
    """A linear layer from some of its inputs. Input (..., inputs / workers), output (..., outputs), or a slice of the sequence."""

    cut: ClassVar = {"weight": 1}

    def __init__(self, whole: nn.Linear, region: Region) -> None:
        super().__init__()
        self.region, self.parts = region, 1
        self.weight, self.bias = region.piece(whole.weight, 1), whole.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the whole layer; the bias is added once, to the sum."""
        return self.region.leave(functional.linear(x, self.weight)) + self.bias


class VocabularyEmbedding(nn.Module):
    """The vectors of some of the tokens: those of the others come from the other workers."""

    cut: ClassVar = {"tokens.weight": 0}

    def __init__(self, whole: Embedding, region: Region) -> None:
        super().__init__()
        self.region, self.parts = region, 1
        self.tokens, self.positions = whole.tokens, whole.positions
        self.tokens.weight = region.piece(whole.tokens.weight, 0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) to vectors (batch, length, width), or to a slice of the sequence. ValueError: it does not divide."""
        length, size = tokens.shape[SEQUENCE], self.region.size
        if self.region.sequence and length % size:
            nearest = f"{length - length % size} or {length - length % size + size}"
            raise ValueError(f"a sequence of {length} cannot be cut into {size} equal slices: take {nearest}")
        index, other = rows(tokens, self.tokens.weight, self.region)
        vectors = functional.embedding(index, self.tokens.weight).masked_fill(other.unsqueeze(-1), 0)
        places = self.positions.weight[:length]
        if self.region.sequence:
            places = places.chunk(size)[self.region.group.rank()]
        return self.region.leave(vectors) + places


class VocabularyHead(nn.Module):
    """The scores of some of the tokens; the loss over all of them, the same on every worker, without ever bringing them together."""

    cut: ClassVar = {"scores.weight": 0}

    def __init__(self, whole: Head, region: Region, tied: nn.Parameter | None) -> None:
        super().__init__()
        self.region, self.parts = region, 1
        self.norm, self.scores = whole.norm, whole.scores
        self.scores.weight = region.piece(whole.scores.weight, 0) if tied is None else tied

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return this worker's scores, or with targets (...) the sum of their cross entropies, in float32."""
        scores: Tensor = self.scores(self.region.enter(self.norm(x)))
        if targets is None:
            return scores
        scores = scores.float()
        highest = all_reduce(scores.detach().amax(-1), self.region.group, "max")
        scores = scores - highest.unsqueeze(-1)
        index, other = rows(targets, self.scores.weight, self.region)
        wanted = scores.gather(-1, index.unsqueeze(-1)).squeeze(-1).masked_fill(other, 0)
        total, wanted = self.region.summed(torch.stack([scores.exp().sum(-1), wanted])).unbind()
        return (total.log() - wanted).sum()


def rows(tokens: Tensor, weight: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """Return which rows of this worker's piece belong to tokens, and which tokens have theirs on another worker (row 0 stands in)."""
    index = tokens - region.group.rank() * len(weight)
    other = (index < 0) | (index >= len(weight))
    return index.masked_fill(other, 0), other


def cut(model: Chain, region: Region) -> dict[str, tuple[int, int]]:
    """Put this worker's pieces in place of a network's weights; return of which weights, each as (dimension, parts), by name.

    Those that are not named are whole on every worker. ValueError: the network cannot be cut like this; nothing is changed then.
    """
    refuse(model, region)
    layers: Any = model.layers
    is_tied = tied(model)
    for i, layer in enumerate(layers):
        if isinstance(layer, Embedding):
            layers[i] = VocabularyEmbedding(layer, region)
        elif isinstance(layer, Head):
            layers[i] = VocabularyHead(layer, region, layers[0].tokens.weight if is_tied else None)
        elif isinstance(layer, Layer):
            cut_layer(layer, i, isinstance(layers[i + 1], Layer), region)
        else:
            cut_block(layer, region)
    return {
        f"{path}.{name}": (dim, module.parts)
        for path, module in model.named_modules()
        for name, dim in getattr(module, "cut", {}).items()
    }


def cut_block(block: Any, region: Region) -> None:
    """Cut a block: attention by heads, of which each worker has the queries, keys and values of some."""
    attention = block.attention
    attention.qkv, attention.out = ColumnLinear(attention.qkv, region, parts=3), RowLinear(attention.out, region)
    attention.heads //= region.size
    block.up, block.down = ColumnLinear(block.up, region), RowLinear(block.down, region)


def cut_layer(layer: Any, i: int, another: bool, region: Region) -> None:
    """Cut the i-th layer of an MLP: of two the first by columns, the second by rows; without another behind it the first stays whole."""
    if i % 2:
        layer.linear = RowLinear(layer.linear, region)
    elif another:
        layer.linear = ColumnLinear(layer.linear, region)


def tied(model: Chain) -> bool:
    """Tell whether the matrix of the scores is the embedding's."""
    first, last = model.layers[0], model.layers[-1]
    return isinstance(first, Embedding) and isinstance(last, Head) and first.tokens.weight is last.scores.weight


def refuse(model: Chain, region: Region) -> None:
    """Raise ValueError where the network cannot be cut between so many workers, with the numbers that would work."""
    layers: Any = model.layers
    counts = {"classes": layers[-1].scores.out_features}
    if isinstance(layers[0], Embedding):
        counts = {"tokens of vocabulary": layers[-1].scores.out_features, "heads": layers[1].attention.heads}
    elif region.sequence:
        raise ValueError("there is no sequence to cut in this network: take sequence=False, or a GPT")
    if off := [f"{count} {what}" for what, count in counts.items() if count % region.size]:
        fit = [p for p in range(1, min(counts.values()) + 1) if not any(count % p for count in counts.values())]
        several = f"{', '.join(map(str, fit[:-1]))} or {fit[-1]}" if len(fit) > 1 else "1"
        raise ValueError(f"{' and '.join(off)} cannot be shared by {region.size} workers: take {several}")
