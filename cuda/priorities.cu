// A kernel whose blocks each stay for a time that is known, and write down when they came and went.

// Every block stays `length` nanoseconds; stamps[2 b] and stamps[2 b + 1] are when block b began and ended, by the clock of the whole GPU.
// One thread of each warp stays, which keeps all that the block holds; two blocks of 1024 threads fill a multiprocessor. `begun`, where
// it is not null, is set to 1 as soon as block 0 runs: it may be memory of the host that is mapped.
extern "C" __global__ void __launch_bounds__(1024, 2) occupy(unsigned long long* stamps, unsigned long long length, int* begun) {
    if (threadIdx.x % 32) return;
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
    if (begun && blockIdx.x == 0 && threadIdx.x == 0) {
        *begun = 1;
        __threadfence_system();
    }
    do {
        __nanosleep(100);  // else thousands of warps would crowd the timer
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - begin < length);
    if (threadIdx.x == 0) {
        stamps[2 * blockIdx.x] = begin;
        stamps[2 * blockIdx.x + 1] = now;
    }
}
