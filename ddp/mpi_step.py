"""The sum of gradients over MPI: mpi4py reads and writes the memory of tensors, which `tensor.numpy()` shows it without a copy.

For `Flat(model, recipe, group, send=blocking(comm))`; each process must be a rank of MPI too, in the same order, its tensors on the CPU.
This is what a framework does that has an MPI backend; torch's wheels come without one.
"""

from typing import TYPE_CHECKING

from parlab.ddp.buckets import Bucket, Send, Wait, done

if TYPE_CHECKING:
    from mpi4py import MPI


def blocking(comm: "MPI.Intracomm") -> Send:
    """Return what sends by MPI_Allreduce, and has ended when it returns."""
    from mpi4py import MPI  # imported only where MPI is used: the import starts it

    def send(bucket: Bucket) -> Wait:
        comm.Allreduce(MPI.IN_PLACE, bucket.flat.numpy())
        return done

    return send


def nonblocking(comm: "MPI.Intracomm") -> Send:
    """Return what sends by MPI_Iallreduce: how far it gets before it is waited for is the MPI library's business."""
    from mpi4py import MPI

    def send(bucket: Bucket) -> Wait:
        return comm.Iallreduce(MPI.IN_PLACE, bucket.flat.numpy()).Wait

    return send
