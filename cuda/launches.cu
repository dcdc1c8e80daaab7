// Kernels that do next to nothing, for what it costs to launch them.

// x[i] += by, `times` times: one thread an element, the additions one after the other.
extern "C" __global__ void add(float* x, float by, int times) {
    float sum = x[threadIdx.x];
    for (int t = 0; t < times; ++t) sum += by;
    x[threadIdx.x] = sum;
}

// x[i] += by, after `length` nanoseconds: a kernel whose time is chosen.
extern "C" __global__ void add_slowly(float* x, float by, unsigned long long length) {
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - begin < length);
    x[threadIdx.x] += by;
}
