"""What sharded training is made of: weights as one flat vector that is cut into parts, and a place for messages beside the computation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp import rings


class Unit:
    """Weights that are cut, sent and updated together: they are views of one flat vector, `whole`.

    mine: this worker's part, which its optimizer steps; a view of `whole` too. Parts differ by one element at most: nothing is padded.
    """

    def __init__(self, weights: Sequence[nn.Parameter], group: dist.ProcessGroup) -> None:
        self.weights, self.group = weights, group
        self.whole = torch.cat([w.detach().flatten() for w in weights])
        self.mine = nn.Parameter(self.parts(self.whole)[group.rank()])
        self.show(self.whole)

    def parts(self, flat: Tensor) -> Sequence[Tensor]:
        """Cut a flat vector into one part for each worker."""
        return flat.tensor_split(self.group.size())

    def views(self, flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yield each weight with its piece of a flat vector, in its shape."""
        pieces = flat.split([w.numel() for w in self.weights])
        return ((w, piece.view_as(w)) for w, piece in zip(self.weights, pieces, strict=True))

    def show(self, whole: Tensor) -> None:
        """Let the weights be views of this flat vector from now on."""
        self.whole = whole
        for w, piece in self.views(whole):
            w.data = piece

    def reduce(self, gradient: Tensor) -> None:
        """Sum a flat gradient over the workers; this worker's part of the sum becomes the gradient of `mine`."""
        if self.mine.grad is None:
            self.mine.grad = torch.empty_like(self.mine)
        rings.reduce_scatter(self.mine.grad, self.parts(gradient), self.group)

    def gather(self, flat: Tensor) -> Tensor:
        """Fill a flat vector, of any type, with the parts of all workers; return it."""
        rings.all_gather(self.parts(flat), self.mine.detach().to(flat.dtype), self.group)
        return flat


Wait = Callable[[], object]  # returns when what was begun is done; on a GPU, what is issued after it runs after that


class Aside:
    """A place for messages beside the computation: a second stream of a GPU, a thread on a CPU. They go in the order of their begin."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.thread = ThreadPoolExecutor(1)

    def begin(self, messages: Callable[[], object], *sent: Tensor) -> Wait:
        """Begin with messages, after all that was computed before; `sent`: what nobody else keeps until they are through."""
        if self.stream is None:
            return self.thread.submit(messages).result
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            messages()
        for x in sent:
            x.record_stream(self.stream)
        through = self.stream.record_event()
        return lambda: torch.cuda.current_stream().wait_event(through)


def memory(tensors: Iterable[Tensor]) -> int:
    """Return the bytes behind tensors; memory that several of them share counts once, and all of it counts."""
    storages = [x.untyped_storage() for x in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
