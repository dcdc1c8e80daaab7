/* The kernels of pi.py, stream.py and chain.py under gcc's OpenMP. */

#include <stdint.h>

#define BLOCK 4096 /* steps: pi.py says why */

#define PI(name, real)                                                              \
    static inline real name##_strip(long first, real width)                         \
    {                                                                               \
        real total = 0;                                                             \
        _Pragma("omp simd reduction(+ : total)")                                    \
        for (long i = 0; i < BLOCK; i++) {                                          \
            real x = ((real)(first + i) + (real)0.5) * width;                       \
            total += (real)4 / ((real)1 + x * x);                                   \
        }                                                                           \
        return total;                                                               \
    }                                                                               \
                                                                                    \
    void name(real *out, long steps, long alone, int threads)                       \
    {                                                                               \
        real width = (real)1 / (real)steps, total = 0;                              \
        for (long block = 0; block < alone / BLOCK; block++)                        \
            total += name##_strip(block * BLOCK, width);                            \
        _Pragma("omp parallel for num_threads(threads) reduction(+ : total)")       \
        for (long block = alone / BLOCK; block < steps / BLOCK; block++)            \
            total += name##_strip(block * BLOCK, width);                            \
        out[0] = total * width;                                                     \
    }

PI(pi_float64, double)
PI(pi_float32, float)

void triad(double *a, const double *b, const double *c, long n, long sweeps, int threads)
{
    #pragma omp parallel num_threads(threads)
    for (long sweep = 1; sweep <= sweeps; sweep++) {
        double scale = sweep;
        #pragma omp for nowait
        for (long i = 0; i < n; i++)
            a[i] = b[i] + scale * c[i];
    }
}

void walk(const uint64_t *next, uint64_t *at, long apart, long hops, int threads)
{
    #pragma omp parallel for num_threads(threads)
    for (long thread = 0; thread < threads; thread++) {
        uint64_t here = at[thread * apart];
        for (long hop = 0; hop < hops; hop++)
            here = next[here];
        at[thread * apart] = here;
    }
}
