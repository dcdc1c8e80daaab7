"""One ping-pong, rung by rung: how much of a message's time is Python, how much the library, how much the memory.

One call is one round trip: rank 0's `outgoing` reaches rank 1's `incoming`, and then rank 1's reaches rank 0's.
The rungs in C and under Numba, where a call is a whole loop, are c_rung.py and njit_rung.py.
"""

from parlab.mpi.message_rungs import Buffered, Persistent, Pickled
from parlab.mpi.rung import Rung
from parlab.mpi.window_rungs import GetFence, GetFlush, PutFence, PutFlush, SharedMemory

LADDER: dict[str, type[Rung]] = {
    "pickle": Pickled,  # send and recv: any object, serialised
    "buffer": Buffered,  # Send and Recv: the bytes as they lie
    "persistent": Persistent,  # Send_init and Recv_init: the arguments checked once
    "put, fence": PutFence,
    "put, flush": PutFlush,
    "get, fence": GetFence,
    "get, flush": GetFlush,
    "shared window": SharedMemory,  # plain stores and a flag; one node only
}
