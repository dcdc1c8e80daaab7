/* The histogram of updates.py under gcc's OpenMP. samples: each below bins; counts: overwritten. */

#include <stdint.h>
#include <string.h>

void atomic(const uint16_t *samples, long n, int64_t *counts, long bins, int threads)
{
    memset(counts, 0, bins * sizeof *counts);
    #pragma omp parallel for num_threads(threads)
    for (long i = 0; i < n; i++) {
        #pragma omp atomic
        counts[samples[i]]++;
    }
}

void critical(const uint16_t *samples, long n, int64_t *counts, long bins, int threads)
{
    memset(counts, 0, bins * sizeof *counts);
    #pragma omp parallel for num_threads(threads)
    for (long i = 0; i < n; i++) {
        #pragma omp critical
        counts[samples[i]]++;
    }
}

void reduction(const uint16_t *samples, long n, int64_t *counts, long bins, int threads)
{
    memset(counts, 0, bins * sizeof *counts);
    #pragma omp parallel for num_threads(threads) reduction(+ : counts[:bins])
    for (long i = 0; i < n; i++)
        counts[samples[i]]++;
}
