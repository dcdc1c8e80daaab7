"""The two networks that every mode trains: a small GPT, and an MLP. Both are a chain of layers, the last of which knows the loss.

That they are chains is what lets a pipeline cut them; that the loss is a sum over targets is what lets a batch be cut unevenly.
Source of the GPT: Radford et al., Language Models are Unsupervised Multitask Learners, 2019 (pre-norm, learned positions, GELU by tanh).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of a GPT: width of the residual stream, blocks, attention heads, tokens known, and tokens in a row."""

    width: int
    depth: int
    heads: int
    vocabulary: int = 256  # bytes
    context: int = 64
    tied: bool = False  # the head's matrix is the embedding's

    @property
    def name(self) -> str:
        """Return what such a GPT is called, by its parameters."""
        millions = self.parameters / 1e6
        return f"GPT {millions / 1e3:.3g}B" if millions >= 1e3 else f"GPT {millions:.3g}M"

    @property
    def parameters(self) -> int:
        """Return how many numbers are trained."""
        block = 12 * self.width**2 + 13 * self.width  # qkv 3, out 1, mlp 4 + 4; biases 3 + 1 + 4 + 1, two norms 2 + 2
        ends = self.width * ((1 if self.tied else 2) * self.vocabulary + self.context + 2)
        return self.depth * block + ends

    @property
    def flops_per_token(self) -> float:
        """Return the operations that training on one token needs, without those of any recomputation.

        6 for each weight that multiplies (2 forward, 4 backward), 12 * width * context a block for attention, of which the causal half
        is counted in full. Source: Chowdhery et al., PaLM, 2022, appendix B.
        """
        multiplied = self.depth * 12 * self.width**2 + self.width * self.vocabulary
        return 6 * multiplied + 12 * self.depth * self.width * self.context


STD = 0.02  # of the weights at first

TINY = Shape(width=32, depth=4, heads=4, vocabulary=64, context=16)  # for tests: 54 thousand parameters
SMALL = Shape(width=256, depth=4, heads=4)  # for a core: 3.3 million
GPT2 = Shape(width=768, depth=12, heads=12, vocabulary=50304, context=1024, tied=True)  # 124 million
BILLION = Shape(width=2048, depth=20, heads=16, vocabulary=50304, context=2048, tied=True)  # 1.1 thousand million
SEVEN = Shape(width=4096, depth=32, heads=32, vocabulary=50304, context=4096)  # 6.9 thousand million


class Embedding(nn.Module):
    """Tokens (batch, length) to vectors (batch, length, width)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the sum of the vectors of the token and of its place."""
        vectors: Tensor = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return vectors


class Attention(nn.Module):
    """Causal self-attention. The rows of `qkv` are the queries, keys and values, each of them head after head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        fused = self.qkv(x)
        batch, length, _ = fused.shape
        query, key, value = fused.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        done: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return done


class Block(nn.Module):
    """Attention, then two layers with a GELU between, each beside the residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        x = x + self.attention(self.norm1(x))
        done: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return done


class Head(nn.Module):
    """The last layer of a chain: scores (..., classes), or with targets (...) the sum of their cross entropies, in float32."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, classes, bias=False)

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the scores, or the summed loss."""
        scores: Tensor = self.scores(self.norm(x))
        return scores if targets is None else summed_loss(scores, targets)


class Layer(nn.Module):
    """One layer of the MLP."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) to (batch, outputs)."""
        return functional.relu(self.linear(x))


class Chain(nn.Module):
    """Layers that follow each other; the last of them takes the targets too."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the scores, or with targets the sum of their losses."""
        for layer in self.layers[:-1]:
            x = layer(x)
        done: Tensor = self.layers[-1](x, targets)
        return done


def gpt(shape: Shape, seed: int = 0) -> Chain:
    """Return a GPT: embedding, blocks, head. The same seed gives the same weights, on every worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks = [Block(shape.width, shape.heads) for _ in range(shape.depth)]
        embedding, head = Embedding(shape), Head(shape.width, shape.vocabulary)
        model = Chain(embedding, *blocks, head)
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(
                    weight,
                    std=STD / (2 * shape.depth) ** 0.5 if name.endswith(("out.weight", "down.weight")) else STD,
                )
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        if shape.tied:
            head.scores.weight = embedding.tokens.weight
    return model


def mlp(inputs: int = 64, width: int = 256, depth: int = 4, classes: int = 10, seed: int = 0) -> Chain:
    """Return an MLP with `depth` hidden layers. The same seed gives the same weights, on every worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = [Layer(inputs if i == 0 else width, width) for i in range(depth)]
        return Chain(*hidden, Head(width, classes))


def summed_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of the cross entropies of scores (..., classes) against targets (...), in float32."""
    return functional.cross_entropy(scores.float().flatten(0, -2), targets.flatten(), reduction="sum")
