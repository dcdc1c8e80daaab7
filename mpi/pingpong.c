/* The ping-pong of ladder.py in C: rank 0 sends and receives, rank 1 receives and sends, `rounds` times. */

#include <mpi.h>

int pingpong(const MPI_Comm *comm, int first, const void *outgoing, void *incoming, int nbytes, int rounds)
{
    int peer = first ? 1 : 0, error = MPI_SUCCESS;
    for (int round = 0; round < rounds && error == MPI_SUCCESS; round++) {
        if (first)
            error = MPI_Send(outgoing, nbytes, MPI_BYTE, peer, 0, *comm);
        if (error == MPI_SUCCESS)
            error = MPI_Recv(incoming, nbytes, MPI_BYTE, peer, 0, *comm, MPI_STATUS_IGNORE);
        if (error == MPI_SUCCESS && !first)
            error = MPI_Send(outgoing, nbytes, MPI_BYTE, peer, 0, *comm);
    }
    return error;
}
