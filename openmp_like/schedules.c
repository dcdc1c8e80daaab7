/* The loop of schedules.py under gcc's OpenMP: rows of the Mandelbrot set, shared out as omp_set_schedule is told. */

#include <omp.h>
#include <stdint.h>

static const double LEFT = -2.0, RIGHT = 0.5, TOP = 1.5; /* as in escape.py */

static int32_t escape(double x, double y, long limit)
{
    double re = 0, im = 0;
    long n;
    for (n = 0; n < limit; n++) {
        double re2 = re * re, im2 = im * im;
        if (re2 + im2 > 4)
            break;
        im = 2 * re * im + y;
        re = re2 - im2 + x;
    }
    return n;
}

static void row(int32_t *counts, long i, long height, long width, long limit)
{
    double y = TOP * (i + 0.5) / height;
    for (long j = 0; j < width; j++)
        counts[i * width + j] = escape(LEFT + (RIGHT - LEFT) * (j + 0.5) / width, y, limit);
}

/* counts: (height, width). kind: 1 static, 2 dynamic, 3 guided (omp_sched_t); chunk 0: not given. log: (height, 1, 5) as in stamps.py, of
   which first, last and thread are written, or NULL. */
void loop(int32_t *counts, long height, long width, long limit, int kind, int chunk, int threads, int64_t *log)
{
    omp_set_schedule((omp_sched_t)kind, chunk);
    #pragma omp parallel for schedule(runtime) num_threads(threads)
    for (long i = 0; i < height; i++) {
        row(counts, i, height, width, limit);
        if (log) {
            log[5 * i] = i;
            log[5 * i + 1] = i + 1;
            log[5 * i + 4] = omp_get_thread_num();
        }
    }
}
