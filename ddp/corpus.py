"""What the networks learn from: the text of Python's own library, and scikit-learn's handwritten digits. Both are there without a network.

The text differs from one version of Python to the next: its digest stands beside every loss.
"""

import hashlib
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LENGTH = 4_000_000  # bytes of text, enough for any lab


@cache
def text() -> Tensor:
    """Return the first 4 MB of the standard library's modules, in the order of their names, as bytes."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    joined = b"\n".join(module.read_bytes() for module in modules)[:LENGTH]
    return torch.frombuffer(bytearray(joined), dtype=torch.uint8)


def digest() -> str:
    """Return the first 12 digits of the text's SHA-256."""
    return hashlib.sha256(text().numpy().tobytes()).hexdigest()[:12]


def passages(step: int, batch: int, length: int, vocabulary: int = 256, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets of a training step, each (batch, length) of int64: every target is the input's next byte.

    The same on every worker. A smaller vocabulary folds the bytes.
    """
    choose = torch.Generator().manual_seed(1_000_003 * seed + step)
    starts = torch.randint(len(text()) - length - 1, (batch, 1), generator=choose)
    found = text()[starts + torch.arange(length + 1)].long() % vocabulary
    return found[:, :-1], found[:, 1:]


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the images (n, 64), float32 in 0..1, and classes (n,) to learn from, then those to judge by: 1,437 and 360 of them.

    Source: UCI, Optical Recognition of Handwritten Digits, as scikit-learn carries it.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the digits are in scikit-learn, which is not installed")
    path = Path(package.origin).parent / "datasets/data/digits.csv.gz"  # its own loader takes a second to import
    table = torch.from_numpy(np.loadtxt(path, delimiter=","))
    table = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    x, y = (table[:, :-1] / 16).float(), table[:, -1].long()
    return x[:1437], y[:1437], x[1437:], y[1437:]


def images(step: int, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the images (batch, 64) and classes (batch,) of a training step, the same on every worker."""
    x, y, _, _ = digits()
    chosen = torch.randint(len(y), (batch,), generator=torch.Generator().manual_seed(1_000_003 * seed + step))
    return x[chosen], y[chosen]
