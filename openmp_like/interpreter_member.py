"""What the other Python of parlab.openmp_like.interpreter_pool runs: standard library only, in this folder's plain Python.

`python3.14t interpreter_member.py THREADS`: reads tasks from its input, answers on its output, until the input ends.
"""

import struct
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor

HEAD = struct.Struct("<3q")  # count, parts, steps; then the values, as doubles
DONE = b"."  # then the results


def main(threads: int) -> None:
    """Serve until the pool hangs up."""
    from orbit import iterate  # type: ignore[import-not-found]  # run by its path, it finds its neighbours

    with ThreadPoolExecutor(threads) as executor:
        while len(head := sys.stdin.buffer.read(HEAD.size)) == HEAD.size:
            count, parts, steps = HEAD.unpack(head)
            values, results = array("d", sys.stdin.buffer.read(8 * count)), array("d", bytes(8 * count))
            given, made = memoryview(values), memoryview(results)
            cuts = [(part * count // parts, (part + 1) * count // parts) for part in range(parts)]
            tasks = [executor.submit(iterate, given[a:b], made[a:b], steps) for a, b in cuts]
            for task in tasks:
                task.result()
            sys.stdout.buffer.write(DONE + results.tobytes())
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
