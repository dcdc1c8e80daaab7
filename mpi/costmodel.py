"""The cost of a collective: one call's parameters, an algorithm's closed forms, and the time that a model predicts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Pair = tuple[int, int]  # of a rank: messages and elements sent; of a step: elements exchanged and elements combined


@dataclass(frozen=True)
class Call:
    """One call of a collective on p ranks.

    count: elements of the vector; for scatter, gather, allgather and alltoall: of one block.  itemsize: bytes of each.
    counts: elements of each rank's block, for reduce_scatter; None: cut evenly, the first blocks longer by 1.
    """

    p: int
    count: int
    itemsize: int
    root: int = 0
    commutative: bool = True
    counts: tuple[int, ...] | None = None

    @property
    def log(self) -> int:
        """ceil(log2 p): the least number of steps in which one rank's data can reach all."""
        return (self.p - 1).bit_length()

    @property
    def powers(self) -> range:
        """The steps k = 0, 1, 2 ... of the power of two of ranks that take part in recursive doubling."""
        return range(self.p.bit_length() - 1)

    @property
    def extra(self) -> int:
        """The ranks above that power of two: each folds into a neighbour."""
        return self.p - (1 << len(self.powers))

    @property
    def longest(self) -> int:
        """Elements of the longest block of the vector."""
        return max(self.counts) if self.counts else -(-self.count // self.p)

    def start(self, block: int) -> int:
        """Elements before this block of the vector, cut evenly."""
        return block * (self.count // self.p) + min(block, self.count % self.p)

    def block(self, rank: int) -> int:
        """Elements of this block of the vector; the block after the last is the first."""
        rank %= self.p
        return self.counts[rank] if self.counts else self.start(rank + 1) - self.start(rank)

    def node(self, rank: int) -> int:
        """Return the rank's number in a binomial tree that starts at the root."""
        return (rank - self.root) % self.p


@dataclass(frozen=True)
class Cost:
    """The closed forms of one algorithm, in elements; `sent` and `steps` give them in bytes."""

    sent_elements: Callable[[Call, int], Pair]
    step_elements: Callable[[Call], list[Pair]]

    def sent(self, call: Call, rank: int) -> Pair:
        """Return the messages and the bytes that this rank sends."""
        messages, elements = self.sent_elements(call, rank)
        return messages, elements * call.itemsize

    def steps(self, call: Call) -> list[Pair]:
        """Return the critical path: for each step the bytes exchanged and the bytes combined, at the busiest rank."""
        return [(moved * call.itemsize, combined * call.itemsize) for moved, combined in self.step_elements(call)]


def predict(
    steps: Iterable[tuple[float, float]], message_seconds: Callable[[float], float], reduce_seconds_per_byte: float
) -> float:
    """Return the seconds of the steps, one after the other, if a message of b bytes takes message_seconds(b).

    With message_seconds = lambda b: alpha + beta * b this is the model of Hockney, "The communication challenge
    for MPP: Intel Paragon and Meiko CS-2", 1994. reduce_seconds_per_byte: of the result of a combination.
    """
    return sum(message_seconds(moved) + reduce_seconds_per_byte * combined for moved, combined in steps)
