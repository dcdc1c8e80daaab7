// The kernels of the stream labs, compiled by NVRTC when first used (kernels.py). One thread an element, any number of blocks.

// out[i] = in[i] after `turns` dependent fused multiply-adds: a kernel whose time is chosen by `turns`. a < 1 keeps all values apart.
extern "C" __global__ void work(float* out, const float* in, long long n, int turns) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = in[i];
    for (int t = 0; t < turns; ++t) x = fmaf(x, 0.9999f, 0.0001f);
    out[i] = x;
}

// Holds a stream until the host writes to `flag`, in mapped memory, so that what is issued behind it starts all at once. After `limit`
// nanoseconds it gives up and says so by 2: a host that waits for the stream would wait for ever.
extern "C" __global__ void gate(volatile int* flag, unsigned long long limit) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    while (*flag == 0) {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
        if (now - start > limit) {
            *flag = 2;
            break;
        }
        __nanosleep(200);
    }
}
