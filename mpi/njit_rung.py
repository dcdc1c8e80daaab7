"""The ladder's rung under Numba: numba-mpi calls the library from compiled code, so Python is paid once per loop.

Needs the package numba-mpi (pip install parlab[njit]); without it importing this file is an ImportError.
"""

from typing import Any

from mpi4py import MPI
from numba import njit
from numba_mpi import recv, send

from parlab.mpi.rung import Loop

TAG = 271  # numba-mpi knows COMM_WORLD alone: a tag that nobody else uses keeps the messages apart


def _pingpong(first: bool, peer: int, outgoing: Any, incoming: Any, rounds: int) -> int:
    """Make `rounds` round trips; return 0, or the sum of MPI's error codes."""
    error = 0
    for _ in range(rounds):
        if first:
            error += send(outgoing, peer, TAG)
            error += recv(incoming, peer, TAG)
        else:
            error += recv(incoming, peer, TAG)
            error += send(outgoing, peer, TAG)
    return error


class NjitLoop(Loop):
    """All rounds of a call happen in compiled code: Python's own time is paid once.

    nbytes is 1 at least: numba-mpi looks at the first element.
    """

    def _setup(self) -> None:
        pair, world = self.pair.Get_group(), MPI.COMM_WORLD.Get_group()
        [self.peer] = pair.Translate_ranks([self.peer], world)
        pair.Free()
        world.Free()
        self.loop: Any = njit(_pingpong)
        self.repeat(0)  # compiles

    def repeat(self, rounds: int) -> None:
        """Make `rounds` round trips, all with the same bytes."""
        error = self.loop(self.first, self.peer, self.outgoing, self.incoming, rounds)
        if error != MPI.SUCCESS:
            raise RuntimeError(f"MPI failed under numba-mpi, error code {error}")
