/* The loops of sharing.py in C: the compiler may not keep a volatile counter in a register. Distances are in elements of 8 bytes. */

#include <stdint.h>

void count_stored(volatile int64_t *counters, int64_t per_thread, int64_t n, int64_t threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t lane = 0; lane < threads; lane++)
        for (int64_t i = 0; i < n; i++)
            counters[lane * per_thread] += 1;
}

void histogram(int64_t *counters, const uint8_t *samples, int64_t n, int64_t threads, int64_t per_thread, int64_t per_bin)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t lane = 0; lane < threads; lane++)
        for (int64_t k = 0; k < n; k++)
            counters[lane * per_thread + samples[lane * n + k] * per_bin] += 1;
}
