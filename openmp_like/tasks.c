/* The two programs of tasks.py under gcc's OpenMP tasks. */

static long fib(long n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static long fib_task(long n, long cutoff) {
    if (n < cutoff || n < 2) return fib(n);
    long x, y;
#pragma omp task shared(x)
    x = fib_task(n - 1, cutoff);
#pragma omp task shared(y)
    y = fib_task(n - 2, cutoff);
#pragma omp taskwait
    return x + y;
}

long fib_by_tasks(long n, long cutoff, long threads) {
    long result;
#pragma omp parallel num_threads(threads)
#pragma omp single
    result = fib_task(n, cutoff);
    return result;
}

static void common(const int *a, const int *b, int *table, long n, long m, long top, long left, long side) {
    for (long i = top; i < top + side && i < n; i++)
        for (long j = left; j < left + side && j < m; j++) {
            int *here = table + (i + 1) * (m + 1) + j + 1, up = here[-m - 1], back = here[-1];
            *here = a[i] == b[j] ? here[-m - 2] + 1 : up > back ? up : back;
        }
}

/* ready: a byte for each block, with a row above and a column to the left, by which the blocks depend on each other */
void common_by_tasks(const int *a, const int *b, int *table, long n, long m, long side, char *ready, long threads) {
    long rows = (n + side - 1) / side, columns = (m + side - 1) / side;
#pragma omp parallel num_threads(threads)
#pragma omp single
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < columns; j++) {
            char *me = ready + (i + 1) * (columns + 1) + j + 1, *up = me - columns - 1, *back = me - 1;
#pragma omp task depend(in : *up, *back) depend(out : *me)
            common(a, b, table, n, m, i * side, j * side, side);
        }
}
