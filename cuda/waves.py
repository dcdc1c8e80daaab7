"""When the GPU's scheduler finds room for a block: waves of blocks, and when a kernel that comes later begins. No GPU is needed.

    grid = Waves(blocks=2640, slots=264, block=200e-6)     # 264 blocks run at a time, so 2640 of them take ten waves
    grid.seconds                                           # 2e-3
    grid.begins(50e-6, first=False)                        # 2e-3: a kernel that comes after 50 us begins when all of these have run,
    grid.begins(50e-6, first=True)                         # 0.2e-3: with a higher priority as soon as any block ends

A block that runs is never taken off: priority decides only who gets the slots that become free. Blocks of equal length, all begun at once,
free their slots at once, wave by wave.

Source: NVIDIA, CUDA C++ Programming Guide, Stream Priorities.
"""

from dataclasses import dataclass
from math import ceil

THREADS = 1024  # in a block of those kernels: two of them fill a multiprocessor


@dataclass(frozen=True)
class Waves:
    """A grid of `blocks` blocks of `block` seconds each, where `slots` of them run at a time; it begins at 0."""

    blocks: int
    slots: int
    block: float

    def __post_init__(self) -> None:
        """Refuse what cannot be: ValueError."""
        if min(self.blocks, self.slots) < 1 or self.block <= 0:
            raise ValueError(f"at least one block and one slot, and a time above 0: {self}")

    @property
    def seconds(self) -> float:
        """Return when the last block ends."""
        return -(-self.blocks // self.slots) * self.block

    def begins(self, arrival: float, first: bool) -> float:
        """Return when a kernel of one block begins that comes at `arrival`. first: it has a higher priority than the grid."""
        all_placed = (
            self.blocks // self.slots * self.block
        )  # from here on a slot is free that no block of the grid needs
        slot_freed = ceil(arrival / self.block) * self.block
        return max(arrival, min(slot_freed, all_placed) if first else all_placed)

    def latency(self, way: float, short: float, first: bool) -> float:
        """Return the seconds from the issue of a kernel of `short` seconds, when the grid has just begun, to its end.

        way: seconds that a kernel takes from its issue to an idle GPU.
        """
        return self.begins(way, first) + short


def together(kernels: int, each: int, slots: int, block: float) -> float:
    """Return the seconds of so many kernels of `each` blocks on a stream each: as if all blocks were those of one grid."""
    return Waves(kernels * each, slots, block).seconds


def in_turn(kernels: int, each: int, slots: int, block: float) -> float:
    """Return the seconds of the same kernels on one stream: each waits for the one before, however few slots that uses."""
    return kernels * Waves(each, slots, block).seconds
