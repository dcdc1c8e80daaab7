"""How long a multiplication of matrices should take, from what a multiplication-addition moves and what was measured of this machine.

Of n^3 multiplications-additions each takes as long as the slowest of three: to compute it, to bring its operands from the first cache to
the registers (`near`, bytes), to bring those that are not there from the cache that holds them, or from memory (`far`, bytes; `held`: bytes
of what is used again and again). That the three overlap perfectly is the model's one assumption, besides a copy of a and b where they are
packed. It is the roofline model with a roof for each level of memory (A. Ilic, F. Pratas, L. Sousa, Cache-aware roofline model,
IEEE Computer Architecture Letters 13(1), 2014).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from parlab.openmp_like.matmul_registers import DEPTH, HIGH, ROWS, WIDE

WORD, LINE = 8, 64  # bytes
TILE = 128  # of the tiled loops: 128 KiB of b, in the second cache

Compute = Literal["vectors", "one by one", "waiting"]


@dataclass(frozen=True)
class Machine:
    """What was measured here with a number of threads.

    vector: seconds for one multiplication-addition, of many that need no memory; sum: seconds for one of additions that wait for each
    other; both by all threads together. bandwidth: bytes/s of a triad, by the bytes that a level holds (inf: memory).
    """

    vector: float
    sum: float
    bandwidth: Mapping[float, float]

    def compute(self, how: Compute) -> float:
        """Return the seconds for one multiplication-addition: in vectors, one in an instruction, or one after the other."""
        return {"vectors": self.vector, "one by one": self.vector * LINE / WORD, "waiting": self.sum}[how]

    def move(self, size: float, held: float) -> float:
        """Return the seconds that `size` bytes take from the level that holds `held` bytes."""
        return size / self.bandwidth[min(level for level in self.bandwidth if level >= held)]


@dataclass(frozen=True)
class Reuse:
    """What one way of multiplying moves for each multiplication-addition."""

    compute: Compute
    near: float
    far: float
    held: Callable[[int], float]
    copied: bool = False

    def seconds(self, n: int, machine: Machine) -> float:
        """Return the seconds that matrices of n x n should take."""
        near, far = machine.move(self.near, 0), machine.move(self.far, self.held(n))
        copies = machine.move(4 * WORD * n**2, WORD * n**2) if self.copied else 0.0  # a and b, read and written
        return n**3 * max(machine.compute(self.compute), near, far) + copies


def _matrix(n: int) -> float:
    return WORD * n**2


def _tile(n: int) -> float:
    return WORD * TILE**2


def _rows(n: int) -> float:
    return WORD * ROWS * min(n, DEPTH)


# In a loop over rows an element of b is loaded, and one of c loaded and stored: 3 words. A block of r x s in registers loads r + s words
# for r s of them, and of these the r of a come from the second cache.
REUSE = {
    "ijk": Reuse("waiting", 2 * WORD, LINE, _matrix),
    "ikj": Reuse("vectors", 3 * WORD, WORD, _matrix),
    "tiled by index": Reuse("one by one", 3 * WORD, WORD, _tile),
    "tiled by slices": Reuse("vectors", 3 * WORD, WORD, _tile),
    "dots 4 x 4": Reuse("vectors", 8 * WORD / 16, 4 * WORD / 16, _rows, copied=True),
    "packed 8 x 16": Reuse("vectors", (HIGH + WIDE) * WORD / (HIGH * WIDE), WORD / WIDE, _rows, copied=True),
}
