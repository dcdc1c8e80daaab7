"""What stands in for the all-reduce to tell apart what it costs: each is a `Send` (buckets.py) that leaves a part of that out.

    nothing   buckets are filled and not sent: what the handling of buckets costs
    Copied    a copy on the same GPU of as many bytes, on a stream of its own: what the traffic in memory costs
    Late      sent, but awaited only when the bucket is next sent: nothing is exposed; what the sending slows down is left

Networks trained by them differ from worker to worker: for timing only.
"""

import torch
from torch import Tensor

from parlab.ddp.buckets import Bucket, Send, Wait, done


def nothing(bucket: Bucket) -> Wait:
    """Send nothing."""
    return done


class Copied:
    """Copies each bucket, where an all-reduce would sum it."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self.there: dict[Bucket, Tensor] = {}

    def __call__(self, bucket: Bucket) -> Wait:
        """Copy the bucket behind what the current stream has been given so far."""
        if bucket not in self.there:
            self.there[bucket] = torch.empty_like(bucket.flat)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.there[bucket].copy_(bucket.flat)
        return lambda: torch.cuda.current_stream().wait_stream(self.stream)


class Late:
    """Waits for a bucket's sum when the bucket is sent the next time, a step later."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.pending: dict[Bucket, Wait] = {}

    def __call__(self, bucket: Bucket) -> Wait:
        """Send the bucket after its last sum has come."""
        self.pending.get(bucket, done)()
        self.pending[bucket] = self.send(bucket)
        return done

    def close(self) -> None:
        """Wait for all that is under way."""
        for wait in self.pending.values():
            wait()
