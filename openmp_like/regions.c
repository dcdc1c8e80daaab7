/* The constructs of regions.py under gcc's OpenMP: the same delays on the same elements. out: double[threads][APART], state: long[], zeros. */

#include <omp.h>

enum { APART = 16, TURN = 32 }; /* as in regions.py: each thread's element on cache lines of its own; the word that all share */

static inline void delay(volatile double *out, long lane, long turns) {
    double x = out[APART * lane];
    for (long i = 0; i < turns; i++) x += 1.0;
    out[APART * lane] = x;
}

void reference(double *out, long *state, long threads, long reps, long turns) {
    for (long r = 0; r < reps; r++) delay(out, 0, turns);
}

void parallel(double *out, long *state, long threads, long reps, long turns) {
    for (long r = 0; r < reps; r++) {
#pragma omp parallel num_threads(threads)
        delay(out, omp_get_thread_num(), turns);
    }
}

void parallel_for(double *out, long *state, long threads, long reps, long turns) {
    for (long r = 0; r < reps; r++) {
#pragma omp parallel for num_threads(threads)
        for (long lane = 0; lane < threads; lane++) delay(out, lane, turns);
    }
}

void reduction(double *out, long *state, long threads, long reps, long turns) {
    for (long r = 0; r < reps; r++) {
        double total = 0.0;
#pragma omp parallel for reduction(+ : total) num_threads(threads)
        for (long lane = 0; lane < threads; lane++) {
            delay(out, lane, turns);
            total += turns;
        }
        out[1] += total;
    }
}

void for_loop(double *out, long *state, long threads, long reps, long turns) {
#pragma omp parallel num_threads(threads)
    for (long r = 0; r < reps; r++) {
#pragma omp for schedule(static, 1)
        for (long i = 0; i < threads; i++) delay(out, i, turns);
    }
}

void barrier(double *out, long *state, long threads, long reps, long turns) {
#pragma omp parallel num_threads(threads)
    for (long r = 0; r < reps; r++) {
        delay(out, omp_get_thread_num(), turns);
#pragma omp barrier
    }
}

void single(double *out, long *state, long threads, long reps, long turns) {
#pragma omp parallel num_threads(threads)
    for (long r = 0; r < reps; r++) {
#pragma omp single
        delay(out, 0, turns);
    }
}

void ordered(double *out, long *state, long threads, long reps, long turns) {
#pragma omp parallel for ordered schedule(static, 1) num_threads(threads)
    for (long r = 0; r < reps; r++) {
#pragma omp ordered
        delay(out, 0, turns);
    }
}

void lock(double *out, long *state, long threads, long reps, long turns) {
    omp_lock_t *door = (omp_lock_t *)(state + TURN);
    omp_init_lock(door);
#pragma omp parallel num_threads(threads)
    for (long r = omp_get_thread_num(); r < reps; r += threads) {
        omp_set_lock(door);
        delay(out, 0, turns);
        omp_unset_lock(door);
    }
    omp_destroy_lock(door);
}

void critical(double *out, long *state, long threads, long reps, long turns) {
#pragma omp parallel num_threads(threads)
    for (long r = omp_get_thread_num(); r < reps; r += threads) {
#pragma omp critical
        delay(out, 0, turns);
    }
}

void atomic(double *out, long *state, long threads, long reps, long turns) {
#pragma omp parallel num_threads(threads)
    for (long r = omp_get_thread_num(); r < reps; r += threads) {
#pragma omp atomic
        state[TURN] += 1;
    }
    out[0] = state[TURN];
}
