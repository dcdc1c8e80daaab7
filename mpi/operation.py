"""The operations of a reduction: how two arrays combine, and whether the order of the ranks matters."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array


class Combine(Protocol):
    """A NumPy ufunc of two arguments, or a function that is called like one."""

    def __call__(self, left: Array, right: Array, /, out: Array) -> object:
        """Write left OP right into out, which may be left or right itself."""


@dataclass(frozen=True)
class Op:
    """An associative operation on elements.

    combine(left, right, out=out): writes left OP right into out, element by element along axis 0; out may be left or
        right itself. `left` comes from the lower ranks. (A keyword: np.maximum will not take `out` by position.)
    commutative: whether left and right may change places; if not, an algorithm must keep the order of the ranks.
    mpi: the same operation for the MPI library's own collectives.
    """

    name: str
    combine: Combine
    commutative: bool
    mpi: MPI.Op = field(compare=False)  # an MPI.Op cannot be hashed


def require_commutative(op: Op, algorithm: str) -> None:
    """Raise ValueError if `op` depends on the order of the ranks, which `algorithm` does not keep."""
    if not op.commutative:
        raise ValueError(
            f"{algorithm} does not combine in rank order, and the operation '{op.name}' is not commutative"
        )


def _matmul(left: Any, right: Any, _datatype: MPI.Datatype) -> None:
    """MPI's user function: right = left OP right (MPI standard, MPI_Op_create: inoutvec = invec op inoutvec)."""
    a, b = (np.frombuffer(operand, np.int64).reshape(-1, 2, 2) for operand in (left, right))
    np.matmul(a, b, out=b)


SUM = Op("sum", np.add, True, MPI.SUM)
MAX = Op("max", np.maximum, True, MPI.MAX)

# The product of 2 x 2 matrices is associative and not commutative: it shows whether an algorithm keeps the order.
# One element is one matrix, so arrays have the shape (count, 2, 2). For the library an element must be one datatype,
# or it may cut a matrix in two: comm.Allreduce([x, len(x), MATRIX], [y, len(y), MATRIX], MATMUL.mpi), int64 only.
MATMUL = Op("matmul", np.matmul, False, MPI.Op.Create(_matmul, commute=False))
MATRIX = MPI.INT64_T.Create_contiguous(4).Commit()
