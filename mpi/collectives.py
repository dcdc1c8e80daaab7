"""The hand-written collectives by operation and name: COLLECTIVES["allreduce"]["ring"](comm, send, recv, op).

Each takes a communicator and arrays, and uses point-to-point messages only, with tag 0: no point-to-point message of
the caller's own may be on its way on that communicator meanwhile. A duplicate (comm.Dup()) keeps the two apart.
"""

from collections.abc import Callable

from parlab.mpi import (
    allgather,
    allreduce,
    alltoall,
    barrier,
    bcast,
    gather,
    reduce,
    reduce_scatter,
    scan,
    scatter,
)

COLLECTIVES: dict[str, dict[str, Callable[..., None]]] = {
    "bcast": {
        "linear": bcast.linear,
        "binomial": bcast.binomial,
        "scatter_allgather": bcast.scatter_allgather,
    },
    "scatter": {"binomial": scatter.binomial},
    "gather": {"binomial": gather.binomial},
    "allgather": {
        "ring": allgather.ring,
        "recursive_doubling": allgather.recursive_doubling,
        "bruck": allgather.bruck,
    },
    "reduce": {"binomial": reduce.binomial},
    "allreduce": {
        "reduce_bcast": allreduce.reduce_bcast,
        "recursive_doubling": allreduce.recursive_doubling,
        "ring": allreduce.ring,
        "rabenseifner": allreduce.rabenseifner,
    },
    "reduce_scatter": {"ring": reduce_scatter.ring, "pairwise": reduce_scatter.pairwise},
    "alltoall": {"pairwise": alltoall.pairwise, "bruck": alltoall.bruck},
    "barrier": {"dissemination": barrier.dissemination},
    "scan": {"recursive_doubling": scan.recursive_doubling},
}
