"""The ways to shard, by hand and by the library, with what each must hold and send by the laws.

With Adam in float32 a parameter takes 16 bytes: weight 4, gradient 4, two moments 8. A step takes reduce-scatters of all gradients and
all-gathers of all weights, each of which sends (p - 1) / p of their bytes from each of p workers; an all-reduce is one of either.
Source: Rajbhandari et al., ZeRO: Memory optimizations toward training trillion parameter models, 2020, sections 5 and 7.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.distributed as dist

from parlab.ddp.data_parallel import TorchDDP
from parlab.ddp.models import Chain
from parlab.ddp.sharded import ZeRO1, ZeRO2, ZeRO3
from parlab.ddp.sharded_by_torch import FSDP2, TorchZeRO1
from parlab.ddp.training import Recipe, Single, Trainer


@dataclass(frozen=True)
class Way:
    """A way to train. sharded: bytes of the 16 of which a worker keeps a share. passes: reduce-scatters and all-gathers in a step.

    reduce_scatters: how many of the passes are the library's own reduce-scatter, which over gloo sends as much as two.
    """

    make: Callable[[Chain, Recipe, dist.ProcessGroup], Trainer]
    sharded: int
    passes: int
    reduce_scatters: int = 0

    def held(self, p: int) -> float:
        """Return the bytes held for a parameter on each of p workers, as their mean."""
        return 16 - self.sharded + self.sharded / p

    def sent(self, p: int, over: str) -> float:
        """Return what each of p workers sends in a step over "gloo" or "NCCL", in bytes of all gradients, as their mean."""
        return (self.passes + (self.reduce_scatters if over == "gloo" else 0)) * (p - 1) / p


ALONE = Way(lambda model, recipe, _: Single(model, recipe), 0, 0)
WAYS = {
    "DDP": Way(TorchDDP, 0, 2),
    "ZeRO-1": Way(ZeRO1, 8, 2),
    "ZeRO-2": Way(ZeRO2, 12, 2),
    "ZeRO-3": Way(ZeRO3, 16, 3),
    "torch's ZeRO-1": Way(
        TorchZeRO1, 8, 3
    ),  # an all-reduce; then each weight goes from the worker that stepped it to all
    "FSDP2": Way(FSDP2, 16, 3, 1),
    "FSDP2 (no reshard)": Way(partial(FSDP2, reshard=False), 16, 2, 1),
    "FSDP2 (our ring)": Way(partial(FSDP2, ring=True), 16, 3),
}
