"""temp"""
from parlab.bench import Case, lab
def main(bench):
    import numpy as np
    for comm in bench.communicators():
        for n in bench.sizes("8 B", "64 KiB", 3):
            x = bench.random(n // 8); y = np.empty_like(x)
            c = {"library": Case(lambda: comm.Allreduce(x, y), lambda: None, (y,), (x,)), "serial": Case(lambda: comm.Allreduce(x, y), lambda: None, (y,), (x,))}
            bench.contrast(comm, {"op": "allreduce", "bytes": n}, "way", c, against="library", control=True)
if __name__ == "__main__":
    lab("mpi_farm", main)
