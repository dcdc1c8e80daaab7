"""What a network knows of the digits that it does not learn from."""

import torch
from torch import Tensor, nn

from parlab.ddp import corpus


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Return the share of the 360 test images whose class has the highest score."""
    _, _, images, classes = corpus.digits()
    known: Tensor = model(images).argmax(1) == classes
    return known.float().mean().item()


@torch.no_grad()
def loss(model: nn.Module) -> float:
    """Return the mean cross entropy of the test images, in nats; ln 10 = 2.30 is guessing."""
    _, _, images, classes = corpus.digits()
    total: Tensor = model(images, classes)
    return total.item() / len(classes)
