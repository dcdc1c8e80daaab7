"""Reduce-scatter, all-gather and all-reduce by messages round a ring: each worker sends the least that the task allows.

They take the same lists of tensors as torch.distributed's own, so that one can stand for the other: any dtype that can be added, parts of
any and of unequal lengths, on gloo (CPU) and on NCCL (GPU). A part travels from worker to worker: for a reduce-scatter each adds its own
to it and passes the sum on, for an all-gather each keeps a copy. Of n bytes in p equal parts each worker sends (p-1)/p n, for an all-reduce
twice that (Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009). gloo's own reduce-scatter is an all-reduce of which the
rest is thrown away. A message is a whole part: cut finer, so that adding overlaps receiving, it was slower on gloo at nearly every size.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def reduce_scatter(out: Tensor, parts: Sequence[Tensor], group: dist.ProcessGroup) -> None:
    """Fill `out` with the sum, over the workers, of what each has as parts[rank of this worker].

    parts: one tensor for each worker, part k of the same length on all of them; `out` must not share memory with any.
    """
    p, rank = group.size(), group.rank()
    if p == 1:
        out.copy_(parts[0])
    outgoing = parts[rank - 1]
    for step in range(2, p + 1):
        mine = parts[(rank - step) % p]
        incoming = out if step == p else torch.empty_like(mine)
        shift(outgoing, incoming, group)
        outgoing = incoming.add_(mine)


def all_gather(parts: Sequence[Tensor], mine: Tensor, group: dist.ProcessGroup) -> None:
    """Fill parts[k] with what worker k has as `mine`, on every worker; `mine` may be parts[rank] itself."""
    p, rank = group.size(), group.rank()
    if mine.data_ptr() != parts[rank].data_ptr():
        parts[rank].copy_(mine)
    for step in range(p - 1):
        shift(parts[rank - step], parts[rank - step - 1], group)


def all_reduce(x: Tensor, group: dist.ProcessGroup) -> None:
    """Replace x, contiguous and of any shape, by its sum over the workers."""
    parts = x.view(-1).tensor_split(group.size())
    mine = torch.empty_like(parts[group.rank()])
    reduce_scatter(mine, parts, group)
    all_gather(parts, mine, group)


def shift(outgoing: Tensor, incoming: Tensor, group: dist.ProcessGroup) -> None:
    """Send to the next worker of the ring while receiving from the one before; empty messages are not sent."""
    p, rank = group.size(), group.rank()
    # Both at once, as one operation: of two GPUs that each first sent and then received neither would come to receive.
    receive = dist.P2POp(dist.irecv, incoming, group=group, group_peer=(rank - 1) % p)
    send = dist.P2POp(dist.isend, outgoing, group=group, group_peer=(rank + 1) % p)
    if both := [message for message in (receive, send) if message.tensor.numel()]:
        for work in dist.batch_isend_irecv(both):
            work.wait()
