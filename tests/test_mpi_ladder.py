"""Every rung of the ladder brings every payload to the other side, of any size, between two ranks of three."""

import time

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi.ladder import LADDER
from parlab.mpi.message_rungs import Windowed
from parlab.mpi.rung import Rung

SIZES = (0, 1, 7, 64, 1000, 4096, 65537, 1 << 20)  # bytes; the last ones are above the eager limit
POISON = 0xEE


def payload(nbytes: int, rank: int, call: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng([nbytes, rank, call]).integers(0, POISON, nbytes, np.uint8)


def play(comm: MPI.Intracomm, rung: Rung, calls: int = 3) -> None:
    """Some round trips, each with new payloads and poisoned receive buffers."""
    with rung:
        for call in range(calls):
            if comm.rank < 2:
                rung.outgoing[...] = payload(rung.nbytes, comm.rank, call)
                rung.incoming[...] = POISON
                rung.pair.Barrier()  # the poison is there before the other's bytes may be
                time.sleep(0.001 if call % 2 == comm.rank else 0)  # now one is late, now the other
                rung()
                np.testing.assert_array_equal(rung.incoming, payload(rung.nbytes, 1 - comm.rank, call))
                np.testing.assert_array_equal(rung.outgoing, payload(rung.nbytes, comm.rank, call))
                rung.pair.Barrier()  # both have looked before either calls again


@pytest.mark.ranks(3)
def test_payloads_arrive_on_all_rungs() -> None:
    comm = MPI.COMM_WORLD
    for rung in LADDER.values():
        for nbytes in SIZES:
            play(comm, rung(comm, nbytes))


@pytest.mark.ranks(3)
def test_calls_back_to_back_without_a_barrier() -> None:
    """Rungs that receive into private memory, and those that wait for the other, need nothing between the calls."""
    comm = MPI.COMM_WORLD
    for name in ("pickle", "buffer", "persistent", "get, fence", "get, flush"):
        with LADDER[name](comm, 1000) as rung:
            for call in range(100 if comm.rank < 2 else 0):
                rung.outgoing[...] = payload(1000, comm.rank, call)
                rung()
                np.testing.assert_array_equal(rung.incoming, payload(1000, 1 - comm.rank, call), name)


@pytest.mark.ranks(3)
def test_windowed_messages_arrive_in_their_rows() -> None:
    comm = MPI.COMM_WORLD
    for nbytes in SIZES:
        for width in (1, 5, 64):
            with Windowed(comm, nbytes, width) as rung:
                want = payload(width * nbytes, 0, width).reshape(width, nbytes)
                if comm.rank == 0:
                    rung.outgoing[...] = want
                    rung()
                elif comm.rank == 1:
                    rung.incoming[...] = POISON
                    rung()
                    np.testing.assert_array_equal(rung.incoming, want)


@pytest.mark.ranks(3)
def test_payloads_arrive_in_c_and_the_rounds_are_counted() -> None:
    from parlab.mpi.c_rung import CLoop, build

    try:
        build()
    except RuntimeError as error:
        pytest.skip(str(error))
    comm = MPI.COMM_WORLD
    for nbytes in SIZES:
        play(comm, CLoop(comm, nbytes))
    with CLoop(comm, 8) as c:
        if comm.rank == 0:
            c.repeat(10)
        elif comm.rank == 1:
            for _ in range(2):  # 10 rounds here are 5 and 5 there
                c.repeat(5)


@pytest.mark.ranks(3)
def test_payloads_arrive_under_njit() -> None:
    njit_rung = pytest.importorskip("parlab.mpi.njit_rung", reason="the package numba-mpi is not there")
    comm = MPI.Intracomm(MPI.COMM_WORLD.Split(0, key=-MPI.COMM_WORLD.rank))  # its ranks 0 and 1 are the world's 2 and 1
    for nbytes in SIZES[1:]:
        play(comm, njit_rung.NjitLoop(comm, nbytes))
    comm.Free()


@pytest.mark.ranks(1)
def test_one_rank_alone_is_an_error() -> None:
    with pytest.raises(ValueError, match="two ranks"):
        LADDER["buffer"](MPI.COMM_WORLD, 1)
