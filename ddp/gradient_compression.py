"""Send less: gradients that are rounded, thinned out or factored before they are summed over the workers.

    Half       rounded to 16 bits                       half the bytes
    TopK       only the largest, with their places      8 bytes for each that is sent, to every other worker
    PowerSGD   each matrix as a product of two thin ones   rank * (n + m) numbers in place of n * m

Each object is a `Send` (buckets.py) for one trainer: `Flat(model, recipe, group, send=TopK(group, 0.01))`, or Bucketed. It replaces the
gradients of a bucket by about their sum over the workers, the same bits on every worker. What TopK and PowerSGD leave out of a worker's
gradients is kept in `left` and added to its next ones (error feedback): nothing is lost, it is late. `nbytes(bucket)` is the law: what each
worker sends for a bucket, at least; wire.Calls and wire.sent count it.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp import wire
from parlab.ddp.buckets import Bucket, Wait, done


class Half:
    """Gradients as 16-bit floating point; a sum beyond 65,504 becomes infinite, below 6e-8 zero."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group

    def __call__(self, bucket: Bucket) -> Wait:
        """Begin to sum the rounded gradients."""
        rounded = bucket.flat.half()
        work = dist.all_reduce(rounded, group=self.group, async_op=True)
        assert work is not None

        def wait() -> None:
            work.wait()
            bucket.flat.copy_(rounded)

        return wait

    def nbytes(self, bucket: Bucket) -> float:
        """Return what each worker sends for a bucket."""
        return wire.ring_all_reduce(self.group.size(), 2 * bucket.flat.numel())


class TopK:
    """The share of the gradients that is largest in magnitude, of each worker. Source: Stich et al., Sparsified SGD with Memory, 2018."""

    def __init__(self, group: dist.ProcessGroup, share: float) -> None:
        self.group, self.share = group, share
        self.left: dict[Bucket, Bucket] = {}

    def count(self, bucket: Bucket) -> int:
        """Return how many gradients each worker sends."""
        return max(1, round(self.share * bucket.flat.numel()))

    def __call__(self, bucket: Bucket) -> Wait:
        """Sum what each worker picked."""
        left = self.left.setdefault(bucket, Bucket(bucket.parameters)).flat
        left += bucket.flat
        places = left.abs().topk(self.count(bucket), sorted=False).indices
        values = left[places]
        left[places] = 0
        bucket.flat.zero_()
        # In the order of the workers, so that all round alike.
        for at, picked in zip(self._gathered(places.int()), self._gathered(values), strict=True):
            bucket.flat.index_add_(0, at, picked)
        return done

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        found = [torch.empty_like(mine) for _ in range(self.group.size())]
        dist.all_gather(found, mine, group=self.group)
        return found

    def nbytes(self, bucket: Bucket) -> float:
        """Return what each worker sends for a bucket: 4 bytes for a place, 4 for a number, to all others."""
        p = self.group.size()
        return wire.ring_half(p, p * 8 * self.count(bucket))


class PowerSGD:
    """Each matrix of gradients (n, m) as thin (n, rank) times thin (rank, m), found by one power iteration from those of the step before.

    Gradients of one dimension, and matrices that the thin ones do not make smaller, are sent as they are.
    Source: Vogels et al., PowerSGD: Practical Low-Rank Gradient Compression for Distributed Optimization, 2019.
    """

    def __init__(self, group: dist.ProcessGroup, rank: int) -> None:
        self.group, self.rank = group, rank
        self.left: dict[Bucket, Bucket] = {}
        self.right: dict[Bucket, list[Tensor]] = {}  # (m, rank) for each matrix

    def thin(self, gradient: Tensor) -> bool:
        """Tell whether a gradient is sent as two thin matrices."""
        n = gradient.shape[0]
        m = gradient.numel() // n
        return gradient.dim() > 1 and self.rank * (n + m) < n * m

    def __call__(self, bucket: Bucket) -> Wait:
        """Sum the left factors, make them orthogonal, then sum the right factors and what is sent as it is."""
        left = self.left.setdefault(bucket, Bucket(bucket.parameters))
        left.flat += bucket.flat
        matrices = [view.flatten(1) for view in left.views if self.thin(view)]
        right = self.right.get(bucket) or [self._start(matrix) for matrix in matrices]
        factors = self._summed([matrix @ q for matrix, q in zip(matrices, right, strict=True)])
        factors = [torch.linalg.qr(factor).Q for factor in factors]
        mine = [matrix.T @ factor for matrix, factor in zip(matrices, factors, strict=True)]
        for matrix, factor, q in zip(matrices, factors, mine, strict=True):
            matrix -= factor @ q.T  # what this worker's own share of the product does not hold
        plain = [view for view in left.views if not self.thin(view)]
        summed = self._summed([*mine, *plain])
        self.right[bucket] = right = summed[: len(mine)]
        products = (factor @ q.T for factor, q in zip(factors, right, strict=True))
        exact = iter(summed[len(mine) :])
        for view in bucket.views:
            view.copy_((next(products) if self.thin(view) else next(exact)).view_as(view))
        for view in plain:
            view.zero_()
        return done

    def _start(self, matrix: Tensor) -> Tensor:
        """Return a random right factor, the same on every worker."""
        chance = torch.Generator().manual_seed(matrix.shape[1])
        return torch.randn(matrix.shape[1], self.rank, generator=chance).to(matrix)

    def _summed(self, tensors: list[Tensor]) -> list[Tensor]:
        """Sum tensors over the workers, all in one message."""
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat, group=self.group)
        parts = flat.split([t.numel() for t in tensors])
        return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]

    def nbytes(self, bucket: Bucket) -> float:
        """Return what each worker sends for a bucket."""
        thin = sum(self.rank * (v.shape[0] + v.numel() // v.shape[0]) for v in bucket.views if self.thin(v))
        plain = sum(v.numel() for v in bucket.views if not self.thin(v))
        return wire.ring_all_reduce(self.group.size(), 4 * (thin + plain))
