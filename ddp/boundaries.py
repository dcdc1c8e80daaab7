"""What passes between the stages of a pipeline: learnt from the first batch of a shape, since a receiver must know what comes.

Once learnt the stages rehearse on GPUs: each runs forward and backward by itself. What a GPU runs for the first time it must load, for
which it may have to be idle; and it never is while it waits for a message. Two that do so would wait for ever (NVIDIA, CUDA programming
guide, "Lazy loading").
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from parlab.ddp.stages import Stages

Form = tuple[list[int], torch.dtype]  # of activations: their shape but for the rows, and their type
TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MOST_DIMENSIONS = 6


def forms(held: Stages, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[int, Form]:
    """Return, by the later of two stages, the forms of what goes into this worker's stages and of what comes out of them.

    inputs, targets: those of each micro-batch, which every worker of the pipeline has. Gradients are left behind: clear them.
    """
    found = _told(held, inputs[0])
    if held.device.type == "cuda":
        for x, y in {len(x): (x, y) for x, y in zip(inputs, targets, strict=True)}.values():
            for s in held.stages:
                rehearse(held, s, x if s == 0 else nothing(len(x), found[s], held.device), y)
    return found


def _told(held: Stages, first: Tensor) -> dict[int, Form]:
    """Tell the forms from each stage to the next.

    Then a word comes back down: NCCL connects two ranks, each way apart, when first used, and both wait until the other comes, in the
    middle of a schedule perhaps for ever.
    """
    found: dict[int, Form] = {}
    header = torch.empty(2 + MOST_DIMENSIONS, dtype=torch.int64, device=held.device)
    for s, stage in held.stages.items():
        x = first
        if s > 0:
            held.irecv(header, (s - 1) % held.p).wait()
            kind, dimensions, *sizes = header.tolist()
            found[s] = sizes[:dimensions], TYPES[kind]
            x = nothing(len(x), found[s], held.device)
        if s < held.count - 1:
            y = stage(x)
            found[s + 1] = list(y.shape[1:]), y.dtype
            told = [TYPES.index(y.dtype), y.dim() - 1, *y.shape[1:]]
            header[: len(told)] = torch.tensor(told)
            held.isend(header, (s + 1) % held.p).wait()
    for s in reversed(held.stages):
        if s < held.count - 1:
            held.irecv(header, (s + 1) % held.p).wait()
        if s > 0:
            held.isend(header, (s - 1) % held.p).wait()
    return found


def nothing(rows: int, form: Form, device: torch.device) -> Tensor:
    """Return zeros in the place of what another stage would send."""
    shape, dtype = form
    return torch.zeros(rows, *shape, dtype=dtype, device=device, requires_grad=True)


def rehearse(held: Stages, s: int, x: Tensor, targets: Tensor) -> None:
    """Run a stage forward and backward."""
    y = held.stages[s](x, targets) if s == held.count - 1 else held.stages[s](x)
    if y.requires_grad:
        y.sum().backward()
    torch.cuda.synchronize(held.device)
