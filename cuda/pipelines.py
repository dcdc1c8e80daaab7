"""Copy in, compute, copy out: the same problem in several ways, from naive to overlapped. Needs CuPy.

Each way is a function of a problem that prepares everything (buffers, streams, arguments) and returns a run: what is timed. A run begins
and ends on streams.main(), so that the next one finds the buffers free. Within a stream, operations keep their order; between streams
only events do, and every one of them is needed: the tests remove each.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import Host, address, pinned, seen_by_gpu
from parlab.cuda.kernels import THREADS, blocks, kernel
from parlab.cuda.plan import STAGES, Operation, Order, parts, plan
from parlab.cuda.streams import Do, Run, event, fork, join, main, several
from parlab.cuda.transfers import by_engine

Around = Callable[[Do, Operation], Do]  # puts something around it


class Problem:
    """result = work(source), element by element: `count` float32 on the host, as many on the GPU for each of input and output.

    turns: dependent operations on each element, which set the kernel's time. locked: whether the host's memory is pinned.
    inputs, outputs: for who changes the input, or fills all that a run must write, between runs; the GPU does it faster than NumPy.
    """

    def __init__(self, count: int, turns: int, locked: bool = True) -> None:
        self.count, self.turns = count, turns
        needed, (free, _) = 2 * 4 * count, cp.cuda.Device().mem_info
        if needed > (free := free + cp.get_default_memory_pool().free_bytes()):
            raise MemoryError(
                f"{needed} bytes of the GPU's memory are needed, {free} would fit: see who holds it in nvidia-smi"
            )
        self.source: Host = pinned(count) if locked else np.empty(count, np.float32)
        self.result: Host = pinned(count) if locked else np.empty(count, np.float32)
        self.given, self.made = cp.empty(count, cp.float32), cp.empty(count, cp.float32)
        hosts = self.source, self.result
        source, result = map(seen_by_gpu, hosts) if locked else hosts
        self.inputs, self.outputs = [source], [result, self.given, self.made]

    def with_turns(self, turns: int) -> "Problem":
        """Return the problem with another kernel, in the same memory."""
        other = copy(self)
        other.turns = turns
        return other

    def stage(self, what: str, part: slice) -> Do:
        """Return what issues one stage for a part of the elements, with everything worked out beforehand."""
        if what == "h2d":
            return by_engine(self.given[part], self.source[part])
        if what == "d2h":
            return by_engine(self.result[part], self.made[part])
        return self.kernel(self.made, part)

    def kernel(self, out: Any, part: slice) -> Do:
        """Return what launches the kernel on a part of `given`. out: what it writes that part of, on the GPU or pinned."""
        return compute(address(out[part]), address(self.given[part]), part.stop - part.start, self.turns)

    def wrong(self) -> str | None:
        """Say where the result differs, bit by bit, from the plain serial program's; None where nowhere."""
        return different(self.result, self.computed(self.source))

    def computed(self, given: Any) -> Any:
        """Return what the kernel makes of all elements, given on the host or on the GPU: a new array on the GPU."""
        made, there = cp.empty(self.count, cp.float32), on_gpu(given)
        cp.cuda.runtime.deviceSynchronize()
        compute(address(made), address(there), self.count, self.turns)(main())
        main().synchronize()
        return made


def on_gpu(array: Any) -> Any:
    """Return an array's elements on the GPU: itself where it is there. A copy is over on return."""
    if isinstance(array, cp.ndarray):
        return array
    made = cp.empty(array.shape, array.dtype)
    made.set(array)
    cp.cuda.runtime.deviceSynchronize()
    return made


def different(found: Any, expected: Any) -> str | None:
    """Say where two arrays of float32, on the host or on the GPU, differ in a bit; None where nowhere."""
    cp.cuda.runtime.deviceSynchronize()
    there, right = on_gpu(found), on_gpu(expected)
    differs = there.view(cp.uint32) != right.view(cp.uint32)
    many = int(differs.sum())
    if not many:
        return None
    at = int(differs.argmax())
    return f"{many} of {there.size} elements differ; element {at} is {float(there[at])!r}, not {float(right[at])!r}"


def compute(out: int, given: int, count: int, turns: int) -> Do:
    """Return what launches the kernel on `count` elements at these addresses."""
    arguments = (np.uint64(out), np.uint64(given), np.int64(count), np.int32(turns))
    work, grid = kernel("work"), blocks(count)
    return lambda stream: work(grid, (THREADS,), arguments, stream=stream)


def serial(problem: Problem) -> Run:
    """Copy, compute, copy back on one stream. Where the host's memory is pageable the copies also keep the host waiting."""
    everything = slice(0, problem.count)
    stages = [problem.stage(what, everything) for what in STAGES]

    def run() -> None:
        for issue in stages:
            issue(main())

    return run


def naive(problem: Problem) -> Run:
    """Write it as one first writes it in CuPy: asarray, kernel, asnumpy, all on the current stream, with fresh memory each time."""

    def run() -> None:
        given = cp.asarray(problem.source)
        made = cp.empty_like(given)
        kernel("work")(
            blocks(problem.count), (THREADS,), (made, given, np.int64(problem.count), np.int32(problem.turns))
        )
        problem.result = cp.asnumpy(made)

    return run


def mapped(problem: Problem) -> Run:
    """Let the kernel itself read the host's memory and write to it: no copy, no chunk. The host's memory must be pinned."""
    issue = compute(address(problem.result), address(problem.source), problem.count, problem.turns)
    return lambda: issue(main())


def chunked(
    problem: Problem, chunks: int, streams: int, order: Order = "depth", around: Around = lambda issue, step: issue
) -> Run:
    """Cut the problem into chunks and issue them to streams in the order of the plan. ValueError as `plan` and `parts` say.

    around: puts something around each operation (a recorder).
    """
    pieces = parts(problem.count, chunks)
    steps = plan(len(pieces), streams, order)
    return planned(steps, [around(problem.stage(step.stage, pieces[step.chunk]), step) for step in steps])


def planned(steps: list[Operation], issues: list[Do]) -> Run:
    """Return the run that issues these, each to the stream and after the operations that its step of a plan says."""
    lanes = several(1 + max(step.stream for step in steps))
    awaited = {at for step in steps for at in step.after}
    done = {at: event() for at in awaited}

    def run() -> None:
        fork(lanes)
        for i, (step, issue) in enumerate(zip(steps, issues, strict=True)):
            stream = lanes[step.stream]
            for at in step.after:
                stream.wait_event(done[at])
            issue(stream)
            if i in awaited:
                stream.record(done[i])
        join(lanes)

    return run


def writes_home(problem: Problem, chunks: int, kernel_streams: int = 2) -> Run:
    """Copy in chunk by chunk in one stream; the kernels, in turns in others, write their results to the host by themselves.

    No copy out is needed, nor its handover. A kernel begins while the one before it still writes its last: hence two streams for them.
    """
    pieces = parts(problem.count, chunks)
    steps, issues = list[Operation](), list[Do]()
    for i, part in enumerate(pieces):
        steps += [Operation("h2d", i, 0), Operation("kernel", i, 1 + i % kernel_streams, (2 * i,))]
        issues += [problem.stage("h2d", part), problem.kernel(problem.result, part)]
    return planned(steps, issues)


def by_slices(problem: Problem, chunks: int, streams: int) -> Run:
    """Do the same, depth first, with CuPy's own words: slices, `set`, a kernel on arrays, `get` that does not wait."""
    pieces, lanes, work = parts(problem.count, chunks), several(streams), kernel("work")

    def run() -> None:
        fork(lanes)
        for i, part in enumerate(pieces):
            size, stream = part.stop - part.start, lanes[i % streams]
            given, made = problem.given[part], problem.made[part]
            given.set(problem.source[part], stream)
            work(blocks(size), (THREADS,), (made, given, np.int64(size), np.int32(problem.turns)), stream=stream)
            made.get(stream=stream, out=problem.result[part], blocking=False)
        join(lanes)

    return run
