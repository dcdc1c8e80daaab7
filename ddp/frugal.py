"""A network made to fit: weights in bfloat16, made where they are to stay, and blocks that are computed again for their backward pass."""

import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from parlab.ddp.models import Block, Chain, Shape
from parlab.ddp.tasks import network


def frugal(shape: Shape, device: torch.device) -> Chain:
    """Return a GPT whose optimizer will keep its state in bfloat16 too, and of whose blocks only the inputs last until backward.

    The blocks are compiled, one by one: so they can still be sharded one by one.

    models.SEVEN with two rows of 4096 tokens takes, in GB: weights 13.8, gradients 13.8, AdamW's moments 27.5; inputs of the blocks 2.1,
    the inside of one 2, the scores and their gradients 7: about 66 on one GPU. Sharded over two, the first three take 28 on each, two
    blocks that are whole 1; 13.8 while it is made.
    """
    model = network(shape, device, torch.bfloat16)
    for i, layer in enumerate(model.layers):
        if isinstance(layer, Block):
            model.layers[i] = torch.compile(checkpoint_wrapper(layer))  # type: ignore[assignment]
    return model
