// Kernels that copy. Pinned host memory is mapped: to a kernel its addresses are as good as the GPU's own, only farther away.

struct Piece {
    unsigned char* to;
    const unsigned char* from;
    long long bytes;
};

// What thread `first` of `step` threads does: 16 bytes at a time where both ends lie on multiples of 16, what is left byte by byte.
__device__ void move(Piece piece, long long first, long long step) {
    const bool wide = ((unsigned long long)piece.to | (unsigned long long)piece.from) % 16 == 0;
    const long long quads = wide ? piece.bytes / 16 : 0;
    for (long long i = first; i < quads; i += step) ((uint4*)piece.to)[i] = ((const uint4*)piece.from)[i];
    for (long long i = 16 * quads + first; i < piece.bytes; i += step) piece.to[i] = piece.from[i];
}

// One piece, by the whole grid.
extern "C" __global__ void copy_bytes(unsigned char* to, const unsigned char* from, long long bytes) {
    move({to, from, bytes}, blockIdx.x * (long long)blockDim.x + threadIdx.x, gridDim.x * (long long)blockDim.x);
}

// Many pieces, each by a row of the grid.
extern "C" __global__ void copy_pieces(const Piece* pieces) {
    move(pieces[blockIdx.y], blockIdx.x * (long long)blockDim.x + threadIdx.x, gridDim.x * (long long)blockDim.x);
}
