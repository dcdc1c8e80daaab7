"""What the lab four_models calls its ways and its parameters. Nothing is imported: programs whose start is timed read it."""

NUMPY, SERIAL, PRANGE, MPI, HYBRID, TORCH = "NumPy", "serial loop", "prange", "MPI", "MPI x prange", "torch"
GPU, TWO_GPUS, TORCH_GPU = "GPU", "2 GPUs", "torch on a GPU"
STREAMS = 3  # in which tiles go: one comes in, one is swept, one goes out
ONE_BY_ONE, STREAMED, BLOCKED = "tiles, 1 stream", f"tiles, {STREAMS} streams", f"tiles, {STREAMS} streams, many steps"

ON_CORES = (NUMPY, SERIAL, PRANGE, MPI, HYBRID, TORCH)
ON_GPUS = (GPU, TWO_GPUS, TORCH_GPU, ONE_BY_ONE, STREAMED, BLOCKED)
CARRY = "carry"  # the bound
AFRESH = ", compiling"  # the program of a way that finds no compiled kernels

TIME_OF = "time of"  # a parameter, and its values:
POINT, GRID, START = "a step of a point", "a grid there and back", "a program with one step"
