"""All-reduce over several nodes: shared memory inside a node, messages between nodes.

The result is cut into one stripe per rank of a node.  Each rank combines its stripe over its node, all-reduces it with
the ranks that have the same stripe on the other nodes, and shares it with its node: all of a node's ranks drive the
network at once, and each byte crosses it once per node, not once per rank.
"""

from collections.abc import Callable

import numpy.typing as npt
from mpi4py import MPI

from parlab.mpi import allreduce
from parlab.mpi.buffers import Array, Buffer, edges
from parlab.mpi.lent import Lent
from parlab.mpi.operation import SUM, Op
from parlab.mpi.shared_window import SharedWindow, fold


class TwoLevel(Lent):
    """Allocate once (collective), call as often as needed, free (collective); or use `with`.

    shape, dtype: of the arrays, the same on all ranks; axis 0 counts the elements.
    between: the all-reduce between nodes; it is called as between(comm, MPI.IN_PLACE, stripe, op).
    node: number of this rank's node; by default the ranks that share memory are a node.
    Nodes of different size have as many stripes as the smallest has ranks.
    ValueError on every rank if op is not commutative and the ranks are not numbered node by node.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        op: Op = SUM,
        between: Callable[[MPI.Intracomm, Buffer, Array, Op], None] = allreduce.rabenseifner,
        node: int | None = None,
    ) -> None:
        self.op, self.between = op, between
        self.inside = MPI.Intracomm(comm.Split_type(MPI.COMM_TYPE_SHARED) if node is None else comm.Split(node))
        first = self.inside.bcast(comm.rank)
        in_order = comm.allreduce(comm.rank == first + self.inside.rank, MPI.LAND)
        if not op.commutative and not in_order:
            self.inside.Free()
            raise ValueError(f"the operation '{op.name}' is not commutative: it needs ranks numbered node by node")
        stripes = comm.allreduce(self.inside.size, MPI.MIN)
        cuts = [
            *edges(shape[0], stripes),
            *[shape[0]] * (self.inside.size - stripes),
        ]  # a rank too many has an empty one
        self.stripe = slice(*cuts[self.inside.rank : self.inside.rank + 2])
        self.across = MPI.Intracomm(comm.Split(self.inside.rank if self.inside.rank < stripes else MPI.UNDEFINED))
        self.window = SharedWindow(self.inside, shape, dtype, op)
        self.input = self.window.inputs[0][self.inside.rank]
        self.inputs = [x[self.stripe] for x in self.window.inputs[0]]

    def __call__(self, send: Buffer, recv: Array) -> None:
        """All-reduce send, or with MPI.IN_PLACE recv, into recv: private arrays of the shape and dtype given first.

        Two barriers inside the node are enough from call to call as well: see InWindow.reduce.
        """
        self.input[...] = recv if send is MPI.IN_PLACE else send
        self.window.barrier()
        if self.across != MPI.COMM_NULL:
            stripe = self.window.result[self.stripe]
            fold(self.op, self.inputs, stripe)
            self.between(self.across, MPI.IN_PLACE, stripe, self.op)
        self.window.barrier()
        recv[...] = self.window.result

    def free(self) -> None:
        """Give memory and communicators back (collective)."""
        del self.input, self.inputs
        self.window.free()
        if self.across != MPI.COMM_NULL:
            self.across.Free()
        self.inside.Free()
