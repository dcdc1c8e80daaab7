"""An emulated slow link, and the law of overlap over it.

Waiting takes no core. So a step of layers that sleep (sleep_stages.py) over such a link lasts as long as the law says, on a computer whose
cores are busy too, and for any number of workers.
"""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import torch.distributed as dist

from parlab.ddp.buckets import Bucket, Wait


class Link:
    """A link of so many bytes a second over which one bucket goes after the other; a `Send` (buckets.py).

    The sum is the library's, on a copy; the bucket gets it when it would have come over the link, so who does not wait computes with
    gradients that are not summed yet. `close` ends the thread that carries the buckets, when all have arrived.
    """

    def __init__(self, group: dist.ProcessGroup, rate: float) -> None:
        self.group, self.rate = group, rate
        self.carrier = ThreadPoolExecutor(max_workers=1)

    def __call__(self, bucket: Bucket) -> Wait:
        """Begin to sum the bucket; it takes its bytes / rate, from when the bucket before it has arrived."""
        total = bucket.flat.clone()
        work = dist.all_reduce(total, group=self.group, async_op=True)
        assert work is not None

        def carry() -> None:
            sleep(bucket.flat.nbytes / self.rate)
            work.wait()
            bucket.flat.copy_(total)

        return self.carrier.submit(carry).result

    def close(self) -> None:
        """Wait for all that is on the link, and close it."""
        self.carrier.shutdown()


def law(forward: float, backward: float, communication: float, buckets: int) -> float:
    """Return the seconds of a step whose gradients go over a link in equal buckets, each as soon as backward has completed it.

    Either the link waits for backward, and only the last bucket is exposed, or backward is done first, and only the first bucket's share
    of it does not overlap.
    """
    n = buckets
    return forward + max(backward + communication / n, backward / n + communication)
