// The kernels of peers.py and heat.py, compiled by NVRTC when first used (kernels.py).

// A number of its own for each place. Source: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
static __device__ unsigned long long mixed(unsigned long long x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

// out[i] = the number of place i + seed.
extern "C" __global__ void number(unsigned* out, long long n, unsigned long long seed) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) out[i] = (unsigned)mixed(i + seed);
}

// Adds to *found how many elements differ from what `number` makes.
extern "C" __global__ void differing(const unsigned* x, long long n, unsigned long long seed, unsigned long long* found) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n && x[i] != (unsigned)mixed(i + seed)) atomicAdd(found, 1ULL);
}

// out = in, 16 bytes a thread; `in` may be in the memory of another GPU. Both begin at a multiple of 16 bytes.
extern "C" __global__ void pull(unsigned* out, const unsigned* in, long long n) {
    const long long i = 4 * (blockIdx.x * (long long)blockDim.x + threadIdx.x);
    if (i + 4 <= n) {
        *(uint4*)(out + i) = *(const uint4*)(in + i);
    } else {
        for (long long k = i; k < n; ++k) out[k] = in[k];
    }
}

// The beginning of a slab (heat.py): zeros on the boundary of the grid, elsewhere a number in [0, 1) of its own for each point, or NaN.
extern "C" __global__ void start(double* u, int rows, int columns, int pitch, int first, int total, int unknown) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y;
    if (j > columns + 1 || i > rows + 1) return;
    const long long row = first + i - 1LL;  // in the grid, whose inner rows are 1 .. total
    const bool inside = row >= 1 && row <= total && j >= 1 && j <= columns;
    const double nan = 0.0 / 0.0, own = (mixed(row * (columns + 2LL) + j) >> 11) * 0x1p-53;
    u[i * (long long)pitch + j] = !inside ? 0.0 : unknown ? nan : own;
}

const int ROWS = 4;  // that a thread sweeps, one below the other, so that a row that it has read serves three (as in heat.py)

// One sweep over rows begin .. end - 1: now = old + 0.2 (north + south + west + east - 4 old), in this order and each operation rounded by
// itself, so that all ways of cutting the grid, and parlab.mpi.heat, give the same bits. above, below: what stands in for rows 0 and rows + 1.
extern "C" __global__ void sweep(double* __restrict__ now, const double* __restrict__ old, const double* __restrict__ above,
                                 const double* __restrict__ below, int begin, int end, int rows, int columns, int pitch) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x;  // from 0, the boundary, so that rows are read and written in whole lines
    const int i = begin + ROWS * (blockIdx.y * blockDim.y + threadIdx.y);
    if (j < 1 || j > columns || i >= end) return;
    double column[ROWS + 2], west[ROWS], east[ROWS];  // reads come before writes, so that many are under way at a time
    column[0] = i == 1 ? above[j] : old[(i - 1) * (long long)pitch + j];
    column[1] = old[i * (long long)pitch + j];
#pragma unroll
    for (int k = 0; k < ROWS; ++k) {
        const int row = min(i + k, end - 1);  // beyond the end the last row is read again, for nothing, but nobody has to wait to know that
        const double* here = old + row * (long long)pitch;
        column[k + 2] = (row == rows ? below : here + pitch)[j];
        west[k] = here[j - 1];
        east[k] = here[j + 1];
    }
#pragma unroll
    for (int k = 0; k < ROWS; ++k) {
        const double around = __dadd_rn(__dadd_rn(__dadd_rn(column[k], column[k + 2]), west[k]), east[k]), centre = column[k + 1];
        const double made = __dadd_rn(centre, __dmul_rn(0.2, __dadd_rn(around, -4 * centre)));
        if (i + k < end) now[(i + k) * (long long)pitch + j] = made;
    }
}

// What a sweep costs at least: the same points read once and written once, by as many threads.
extern "C" __global__ void carry(double* __restrict__ now, const double* __restrict__ old, int begin, int end, int columns, int pitch) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    const int i = begin + ROWS * (blockIdx.y * blockDim.y + threadIdx.y);
    if (j < 1 || j > columns) return;
#pragma unroll
    for (int k = i; k < i + ROWS; ++k) {
        if (k < end) now[k * (long long)pitch + j] = old[k * (long long)pitch + j];
    }
}
