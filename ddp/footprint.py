"""How many bytes a worker must hold from step to step, by the way of training: by the law, and by really holding them.

Weights, gradients and Adam's two moments take 16 bytes a parameter in float32. What activations take comes on top of it.
Sources: Rajbhandari et al., ZeRO, 2020, section 3; for what tensor parallel leaves whole Shoeybi et al., Megatron-LM, 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import torch

from parlab.ddp.models import Chain, Shape
from parlab.ddp.tasks import network, text, tidy
from parlab.ddp.training import Recipe, Trainer

ADAM = 16  # bytes a parameter: weight 4, gradient 4, moments 8
WAYS = ("DP", "ZeRO-3", "TP", "PP")


@dataclass(frozen=True)
class Growth:
    """Networks of growing size, and the bytes that a worker may hold."""

    limit: int
    shapes: Sequence[Shape]


SMALLEST = Growth(512 * 2**10, [Shape(32, 4, 4, 64, 16)])
WIDER = Growth(64 * 2**20, [Shape(width, 4, 4) for width in (256, 384, 512)])
DEEPER = Growth(24 * 2**30, [Shape(2048, depth, 16, 50304, 256) for depth in (16, 32, 40)])


def law(way: str, shape: Shape, p: int) -> float:
    """Return the bytes of the worker that holds most, of p.

    way: "DP", "ZeRO-3" (shares of all weights), "TP" (of what is cut), "PP" (stages of equally many blocks).
    """
    block = 12 * shape.width**2 + 13 * shape.width
    whole = (6 * shape.depth + 2 + shape.context) * shape.width  # by TP: norms, biases behind a sum, positions
    embedding, head = (shape.vocabulary + shape.context) * shape.width, (shape.vocabulary + 2) * shape.width
    parameters = {
        "DP": shape.parameters,
        "ZeRO-3": shape.parameters / p,
        "TP": whole + (shape.parameters - whole) / p,
        "PP": shape.parameters if p == 1 else shape.depth * block / p + max(embedding, head),
    }
    return ADAM * parameters[way]


def held(make: Callable[[Chain, Recipe], Trainer], shape: Shape, device: torch.device, limit: int) -> float:
    """Return the bytes that this worker holds after a step; inf where it runs out of memory, of which it has `limit` bytes on a GPU."""
    tidy(device)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory)
    try:
        trainer = make(network(shape, device), Recipe("adamw", 1e-4))
        trainer.step(*text(shape, device, 8, 2))
        return trainer.held().total
    except torch.OutOfMemoryError:
        return inf
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
