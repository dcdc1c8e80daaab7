"""The stand-in for CuPy keeps CUDA's order and no other: right programs are right under every adversary, a missing wait is found.

The stand-in is loaded under another name (`load`), so that `import cupy` elsewhere in the session still finds a real CuPy; one test runs
a script with PYTHONPATH, as labs are run. Adversaries are asked for by `reset(style=..., seed=...)`.
"""

import ctypes
import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.cuda.pipeline_model import Pipeline
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.plan import STAGES, Order

STANDIN = Path(__file__).parent
_names = (f"standin_cupy_{i}" for i in count())


def load(**environment: object) -> Any:
    """Import the stand-in anew, under a name of its own."""
    name = next(_names)
    spec = importlib.util.spec_from_file_location(name, STANDIN / "cupy" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, str(value))
        spec.loader.exec_module(module)
    return module


cp = load()
ADVERSARIES = [*product(("random",), range(12)), *product(("last", "lazy"), range(3))]
compiled = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    gc.collect()  # memory that is freed makes the host wait: not in the middle of the next test
    cp.standin.reset()
    yield
    cp.standin.reset()


def outcomes(program: Callable[[], Any]) -> set[Any]:
    """Return what a program answers under all the adversaries."""
    found = set()
    for style, seed in ADVERSARIES:
        cp.standin.reset(style=style, seed=seed)
        found.add(program())
    cp.standin.drain()
    return found


def pinned(n: int, value: float = 0.0) -> Any:
    """Return float64[n] in pinned memory."""
    made = np.frombuffer(cp.cuda.alloc_pinned_memory(n * 8), np.float64, n)
    made[...] = value
    return made


def status(act: Callable[[], object]) -> int:
    """Return the number of the CUDA error that a call raises."""
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError) as caught:
        act()
    return int(caught.value.status)


# order


def test_a_stream_keeps_its_order() -> None:
    def program() -> float:
        stream, noise = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        host, out = pinned(4, 1.0), pinned(4)
        with noise:
            cp.zeros(4)
        with stream:
            x = cp.empty(4)
            x.set(host)
            for _ in range(5):
                x *= 2
                x += 1
            x.get(out=out, blocking=False)
        stream.synchronize()
        return float(out[0])

    assert outcomes(program) == {63.0}


def test_nothing_has_run_before_somebody_waits() -> None:
    out = pinned(2, 7.0)
    with cp.cuda.Stream(non_blocking=True) as stream:
        x = cp.ones(2)
        x.get(out=out, blocking=False)
        assert not stream.done
        assert out[0] == 7.0
        stream.synchronize()
    assert out[0] == 1.0


@pytest.mark.parametrize("waits", [True, False])
def test_a_missing_wait_for_an_event_is_found(waits: bool) -> None:
    def program() -> float:
        first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        x, out = cp.zeros(3), pinned(3)
        cp.cuda.Stream.null.synchronize()
        with first:
            x += 5
            event = first.record()
        with second:
            if waits:
                second.wait_event(event)
            x.get(out=out, blocking=False)
        second.synchronize()
        return float(out[0])

    assert outcomes(program) == ({5.0} if waits else {0.0, 5.0})


@pytest.mark.parametrize("waits", [True, False])
def test_a_buffer_that_is_filled_again_too_early_is_found(waits: bool) -> None:
    def program() -> bool:
        copies, kernels = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        host, total, buffers = pinned(8), cp.zeros(1), [cp.empty(1) for _ in range(2)]
        host[...] = 10.0 ** np.arange(8)
        cp.cuda.Stream.null.synchronize()
        free = [cp.cuda.Event() for _ in range(2)]
        for i in range(8):
            with copies:
                if waits:
                    copies.wait_event(free[i % 2])
                buffers[i % 2].set(host[i : i + 1])
                filled = copies.record()
            with kernels:
                kernels.wait_event(filled)
                total += buffers[i % 2]
                kernels.record(free[i % 2])
        kernels.synchronize()
        return bool(total.item() == 11_111_111.0)

    assert outcomes(program) == ({True} if waits else {True, False})


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=14)


@given(STEPS, st.sampled_from(ADVERSARIES), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_a_right_program_is_never_accused(steps: list[tuple[int, int, int]], adversary: Any, asked: int) -> None:
    """Every step (stream, target, source) waits for the last steps that touched its two buffers, and is right under all adversaries."""
    cp.standin.reset(style=adversary[0], seed=adversary[1])
    streams = [cp.cuda.Stream(non_blocking=True) for _ in range(4)]
    cells, right = [cp.full((2,), float(i + 1)) for i in range(4)], [float(i + 1) for i in range(4)]
    start = cp.cuda.Stream.null.record()
    touched: list[list[Any]] = [[start] for _ in range(4)]
    for s, target, source in steps:
        with streams[s] as stream:
            for event in {*touched[target], *touched[source]}:
                stream.wait_event(event)
            cells[target] *= 3
            cells[target] += cells[source]
            event = stream.record()
        right[target] *= 3
        right[target] += right[source]
        touched[target] = [event]
        if source != target:
            touched[source].append(event)
    streams[asked].synchronize()
    cp.cuda.Device().synchronize()
    assert [float(cell.get()[1]) for cell in cells] == right


def test_an_event_that_was_never_recorded_holds_nobody_up() -> None:
    with cp.cuda.Stream(non_blocking=True) as stream:
        event = cp.cuda.Event()
        stream.wait_event(event)
        stream.synchronize()
    assert event.done
    event.synchronize()


def test_a_wait_is_for_the_record_that_was_there() -> None:
    def program() -> float:
        first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        x, out = cp.zeros(1), pinned(1)
        cp.cuda.Stream.null.synchronize()
        with first:
            x += 1
            event = first.record()
        second.wait_event(event)
        with first:
            x += 1
            first.record(event)
        x.get(out=out, stream=second, blocking=False)
        second.synchronize()
        return float(out[0])

    assert outcomes(program) == {1.0, 2.0}  # the second record came after the wait


@pytest.mark.parametrize("non_blocking", [False, True])
@pytest.mark.parametrize("null_first", [False, True])
def test_the_null_stream_orders_itself_with_blocking_streams_only(non_blocking: bool, null_first: bool) -> None:
    def program() -> float:
        stream = cp.cuda.Stream(non_blocking=non_blocking)
        x, out = cp.zeros(1), pinned(1)
        cp.cuda.Device().synchronize()
        producer, consumer = (cp.cuda.Stream.null, stream) if null_first else (stream, cp.cuda.Stream.null)
        with producer:
            x += 1
        x.get(out=out, stream=consumer, blocking=False)
        consumer.synchronize()
        return float(out[0])

    assert outcomes(program) == ({0.0, 1.0} if non_blocking else {1.0})


def test_two_blocking_streams_meet_only_through_the_null_stream() -> None:
    def program(between: bool) -> float:
        first, second = (cp.cuda.Stream() for _ in range(2))
        x, other, out = cp.zeros(1), cp.zeros(1), pinned(1)
        cp.cuda.Device().synchronize()
        with first:
            x += 1
        if between:
            other.fill(3)
        x.get(out=out, stream=second, blocking=False)
        second.synchronize()
        return float(out[0])

    assert outcomes(lambda: program(True)) == {1.0}
    assert outcomes(lambda: program(False)) == {0.0, 1.0}


# host memory


def test_the_host_waits_for_pageable_copies_and_not_for_pinned_ones() -> None:
    def program(host: Any) -> float:
        with cp.cuda.Stream(non_blocking=True) as stream:
            host[...] = 1.0
            x = cp.empty(3)
            x.set(host)
            host[...] = 2.0  # too early, where the copy has not been
            out = x.get(stream)
        return float(out[0])

    def back(host: Any) -> float:
        host[...] = 0.0
        with cp.cuda.Stream(non_blocking=True) as stream:
            x = cp.full(3, 4.0)
            x.get(out=host, blocking=False)
            seen = float(host[0])
            stream.synchronize()
            return seen

    assert outcomes(lambda: program(np.zeros(3))) == {1.0}
    assert outcomes(lambda: program(pinned(3))) == {2.0}
    assert outcomes(lambda: back(np.zeros(3))) == {4.0}
    assert outcomes(lambda: back(pinned(3))) == {0.0}


def test_registered_memory_is_pinned_until_it_is_unregistered() -> None:
    host, runtime = np.zeros(100), cp.cuda.runtime
    x = cp.ones(100)
    runtime.hostRegister(host.ctypes.data, host.nbytes, runtime.hostRegisterDefault)
    assert status(lambda: runtime.hostRegister(host.ctypes.data + 80, 8, 0)) == 712
    x.get(out=host, blocking=False)
    assert host[0] == 0
    runtime.hostUnregister(host.ctypes.data)
    assert status(lambda: runtime.hostUnregister(host.ctypes.data)) == 713
    x.get(out=host, blocking=False)
    assert host[0] == 1


def test_pinned_memory_is_a_buffer_and_comes_back_to_its_pool() -> None:
    pointer = cp.cuda.PinnedMemoryPointer(cp.cuda.PinnedMemory(64), 16)
    assert isinstance(pointer, cp.cuda.PinnedMemoryPointer)
    array = np.frombuffer(pointer, np.float32, 4)
    assert (array.ctypes.data, pointer.size()) == (pointer.ptr, 48)
    pool = cp.cuda.PinnedMemoryPool()
    again = pool.malloc(1000).ptr
    assert pool.n_free_blocks() == 1
    assert pool.malloc(1000).ptr == again


def test_memory_that_nobody_wrote_is_no_number() -> None:
    with cp.cuda.using_allocator(None):
        assert np.isnan(cp.empty(10).get()).all()


def test_a_device_is_full_some_time() -> None:
    small = load(STANDIN_MEMORY=1 << 20)
    assert small.cuda.Device().mem_info == (1 << 20, 1 << 20)
    x = small.empty(1 << 16)
    assert small.cuda.Device().mem_info[0] == 1 << 19
    with pytest.raises(small.cuda.memory.OutOfMemoryError):
        small.empty((1 << 16) + 1)
    del x
    assert small.empty((1 << 16) + 1).size == (1 << 16) + 1  # the pool gave back what it kept
    with pytest.raises(small.cuda.runtime.CUDARuntimeError) as caught:
        small.cuda.runtime.malloc(1 << 21)
    assert caught.value.status == 2


def test_freeing_waits_for_what_still_runs() -> None:
    runtime, out = cp.cuda.runtime, pinned(1)
    ptr = runtime.malloc(8)
    with cp.cuda.Stream(non_blocking=True) as stream:
        runtime.memsetAsync(ptr, 0, 8, stream.ptr)
        runtime.memcpyAsync(out.ctypes.data, ptr, 8, runtime.memcpyDeviceToHost, stream.ptr)
        out[...] = 9
        runtime.free(ptr)
    assert out[0] == 0
    assert status(lambda: runtime.memcpy(out.ctypes.data, ptr, 8, runtime.memcpyDeviceToHost)) == 1


def test_memory_in_the_order_of_a_stream_is_freed_when_the_stream_comes_to_it() -> None:
    runtime, stream, out = cp.cuda.runtime, cp.cuda.Stream(non_blocking=True), pinned(1)
    before = cp.cuda.Device().mem_info
    with stream, cp.cuda.using_allocator(cp.cuda.MemoryAsyncPool().malloc):
        x = cp.full(1, 5.0)
        x.get(out=out, blocking=False)
        del x
    assert cp.cuda.Device().mem_info[0] < before[0]
    stream.synchronize()
    assert (out[0], cp.cuda.Device().mem_info) == (5.0, before)
    ptr = runtime.mallocAsync(8, stream.ptr)
    runtime.freeAsync(ptr, stream.ptr)
    stream.synchronize()
    assert cp.cuda.Device().mem_info == before


def test_what_is_collected_while_the_machine_works_is_freed_afterwards() -> None:
    before = cp.cuda.Device().mem_info
    box, stream = [cp.cuda.Memory(1 << 20)], cp.cuda.Stream(non_blocking=True)
    stream.launch_host_func(lambda _: box.clear(), None)
    assert cp.cuda.Device().mem_info[0] == before[0] - (1 << 20)
    stream.synchronize()
    assert cp.cuda.Device().mem_info == before


def test_what_is_not_contiguous_is_copied_together_in_the_stream_that_copies_back() -> None:
    def program() -> float:
        stream = cp.cuda.Stream(non_blocking=True)
        x = cp.zeros((3, 3))
        cp.cuda.Device().synchronize()
        with stream:
            x += 1
        return float(x[:, 1].get(stream)[2])

    assert outcomes(program) == {1.0}


# graphs


def _captured(first: Any, second: Any, x: Any, y: Any) -> Any:
    """Record x += 1, y += x in a second stream, x *= 2 after it."""
    with first:
        first.begin_capture()
        x += 1
        second.wait_event(first.record())
        with second:
            y += x
        first.wait_event(second.record())
        x *= 2
        return first.end_capture()


def test_a_graph_replays_its_order_as_often_as_it_is_launched() -> None:
    def program() -> tuple[float, float]:
        first, second, other = (cp.cuda.Stream(non_blocking=True) for _ in range(3))
        x, y = cp.zeros(1), cp.zeros(1)
        cp.cuda.Device().synchronize()
        graph = _captured(first, second, x, y)
        first.synchronize()
        assert x.get(first).item() == 0.0  # recorded, not run
        graph.upload(other)
        for _ in range(3):
            graph.launch(other)  # a launch waits for the one before it, whatever its stream
            graph.launch(first)
        first.synchronize()
        return x.get(first).item(), y.get(first).item()

    assert outcomes(program) == {(126.0, 120.0)}


def test_a_graph_costs_the_host_one_operation() -> None:
    first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    graph = _captured(first, second, cp.zeros(1), cp.zeros(1))
    before = cp.standin.now
    graph.launch(first)
    assert cp.standin.now - before == pytest.approx(cp.standin.profile.issue)


def test_what_a_capture_does_not_allow() -> None:
    x, host = cp.zeros(2), np.zeros(2)

    def spoilt(act: Callable[[Any, Any], object], error: int, at_end: int | None) -> None:
        first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        first.begin_capture()
        if error:
            assert status(lambda: act(first, second)) == error
        else:
            act(first, second)
        if at_end is None:
            first.end_capture()
        else:
            assert status(first.end_capture) == at_end
        assert not first.is_capturing()

    def drawn(first: Any, second: Any) -> None:
        second.wait_event(first.record())
        with second:
            x.fill(3)

    spoilt(lambda first, second: first.synchronize(), 900, 901)
    spoilt(lambda first, second: x.set(host, first), 900, 901)
    spoilt(lambda first, second: x.get(first), 900, 901)
    spoilt(lambda first, second: first.wait_event(second.record()), 905, 901)
    spoilt(lambda first, second: second.end_capture(), 903, None)
    spoilt(lambda first, second: first.record().synchronize(), 907, None)
    spoilt(drawn, 0, 904)
    with pytest.raises(RuntimeError, match="legacy"):
        cp.cuda.Stream.null.begin_capture()
    with cp.cuda.Stream() as blocking:
        blocking.begin_capture()
        assert status(cp.cuda.Stream.null.record) == 906
        blocking.end_capture()


# time


SECONDS = st.floats(1e-4, 1e-2)


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from(["depth", "breadth", "staged"]),
    st.tuples(SECONDS, SECONDS, SECONDS),
    st.floats(0, 1e-4),
    st.floats(0, 3e-4),
)
@settings(max_examples=60, deadline=None)
def test_virtual_times_are_those_of_the_pipeline_model(
    chunks: int, streams: int, order: Order, stages: tuple[float, float, float], overhead: float, issue: float
) -> None:
    """Every operation begins and ends as the model says. Waits and records cost the host time here, not there: not so if it has none."""
    pipeline = Pipeline(*stages, overhead=overhead, issue=0.0 if order == "staged" else issue)
    spans = simulate(pipeline, chunks, 3 if order == "staged" else streams, order).spans
    lanes = [cp.cuda.Stream(non_blocking=True) for _ in range(5)]
    host, device = pinned(chunks), cp.cuda.MemoryPool().malloc(8 * chunks)
    profile = type(cp.standin.profile)(copy_latency=overhead, issue=0.0 if order == "staged" else issue)
    cp.standin.reset(profile)
    events: list[Any] = []
    work = dict(zip(STAGES, (w / chunks for w in pipeline.stages), strict=True))
    for span in spans:
        stage, stream = span.what.stage, lanes[span.what.stream]
        profile.pinned = 8 / work[span.what.stage]
        profile.kernel_seconds = lambda *_, seconds=work[span.what.stage] + overhead: seconds
        here, there = host.ctypes.data + 8 * span.what.chunk, device + 8 * span.what.chunk
        for at in span.what.after:
            stream.wait_event(events[at])
        if stage == "h2d":
            there.copy_from_host_async(here, 8, stream)
        elif stage == "d2h":
            there.copy_to_host_async(here, 8, stream)
        else:
            with stream:
                cp.ndarray((1,), memptr=there).fill(0)
        if order == "staged":
            events.append(stream.record())
    cp.cuda.Device().synchronize()
    timeline = sorted((o for o in cp.standin.timeline if o.seconds), key=lambda o: o.number)
    assert [o.stage for o in timeline] == [span.what.stage for span in spans]
    assert [o.begin for o in timeline] == pytest.approx([span.begin for span in spans], rel=1e-9, abs=1e-15)
    assert [o.end for o in timeline] == pytest.approx([span.end for span in spans], rel=1e-9)
    assert cp.standin.now == pytest.approx(max(span.end for span in spans), rel=1e-9)


def test_virtual_times_do_not_depend_on_the_adversary() -> None:
    def program() -> float:
        streams = [cp.cuda.Stream(non_blocking=True) for _ in range(3)]
        start = cp.cuda.Stream.null.record()
        for i in range(9):
            with streams[i % 3]:
                cp.full(1000 * i + 1, 1.0).get(out=pinned(1000 * i + 1), blocking=False)
            if i == 4:
                streams[1].synchronize()
        end = [stream.record() for stream in streams]
        cp.cuda.Device().synchronize()
        return max(float(cp.cuda.get_elapsed_time(start, e)) for e in end)

    assert len(outcomes(program)) == 1


def test_events_tell_the_time_once_they_are_over() -> None:
    stream = cp.cuda.Stream(non_blocking=True)
    start, never = stream.record(), cp.cuda.Event()
    assert status(lambda: cp.cuda.get_elapsed_time(start, never)) == 400
    n = 1 << 20
    with stream:
        x = cp.cuda.alloc(n)
        cp.cuda.runtime.memcpyAsync(cp.cuda.alloc_pinned_memory(n).ptr, x.ptr, n, 2, stream.ptr)
    end = stream.record()
    assert status(lambda: cp.cuda.get_elapsed_time(start, end)) == 600
    polls = 1 + sum(1 for _ in iter(lambda: end.done, True))  # one was for the time
    profile = cp.standin.profile
    copy = profile.copy_latency + n / profile.pinned
    assert cp.cuda.get_elapsed_time(start, end) == pytest.approx((profile.issue + copy) * 1e3)
    assert polls == pytest.approx((copy - profile.issue) / profile.query, abs=2)
    untimed = cp.cuda.Event(disable_timing=True)
    stream.record(untimed)
    stream.synchronize()
    assert status(lambda: cp.cuda.get_elapsed_time(start, untimed)) == 400


def test_a_host_function_runs_in_its_stream_and_must_not_call_cuda() -> None:
    seen: list[object] = []
    stream = cp.cuda.Stream(non_blocking=True)
    stream.launch_host_func(seen.append, 3)
    assert not seen
    stream.synchronize()
    assert seen == [3]
    stream.launch_host_func(lambda _: seen.append(status(stream.record)), None)
    stream.synchronize()
    assert seen == [3, 800]


def test_a_host_function_is_called_though_the_host_does_not_ask_cuda() -> None:
    stream, called = cp.cuda.Stream(non_blocking=True), threading.Event()
    stream.launch_host_func(lambda _: called.set(), None)
    assert called.wait(10)
    called.clear()
    with stream:
        stream.launch_host_func(lambda _: called.set(), None)
        cp.zeros(1 << 20)  # a microsecond more
        ended = [stream.done for _ in range(1000) if not called.is_set()]
    assert not any(ended)  # called before the stream was done
    stream.synchronize()


# kernels

SOURCE = r"""
// a comment with __shared__ in it
#define SCALE 2
extern "C" __global__ void __launch_bounds__(64) axpy(const float* __restrict__ x, float *y, float a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = fmaf(a, x[i], SCALE * y[i]);
}
extern "C" __global__ void where(int *out) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    atomicAdd(out + y * gridDim.x * blockDim.x + x, 10 * y + x);
}
extern "C" __global__ void gate(volatile int *open, unsigned long long *left, unsigned long long limit) {
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
    do { asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now) :: "memory"); } while (!*open && now - begin < limit);
    *left = *open;
}
"""


@compiled
def test_kernels_in_cuda_c_run() -> None:
    module = cp.RawModule(code=SOURCE)
    x, y = cp.arange(100, dtype=np.float32), cp.ones(100, dtype=np.float32)
    module.get_function("axpy")((2,), (64,), (x, y, np.float32(3), 100))
    assert np.array_equal(y.get(), np.float32(3) * np.arange(100, dtype=np.float32) + 2)
    out = cp.zeros((4, 6), np.int32)
    cp.RawKernel(SOURCE, "where")((3, 2), (2, 2), (out,))
    assert np.array_equal(out.get(), np.add.outer(10 * np.arange(4), np.arange(6)))
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        module.get_function("axpy")((1,), (2048,), (x, y, np.float32(3), 100))
    for arguments in ((x, y), (x, y, np.float32(3), np.int16(100))):
        with pytest.raises(TypeError, match="4 arguments of"):
            module.get_function("axpy")((1,), (64,), arguments)
    where, pointer = cp.RawKernel(SOURCE, "where").kernel, ctypes.c_uint64(out.data.ptr)
    packed = (ctypes.c_void_p * 1)(ctypes.addressof(pointer))
    cp.cuda.driver.launchKernel(where.ptr, 3, 2, 1, 2, 2, 1, 0, 0, ctypes.addressof(packed), 0)
    pointer.value = 0  # the launch has read it
    assert np.array_equal(out.get(), 2 * np.add.outer(10 * np.arange(4), np.arange(6)))
    with pytest.raises(cp.cuda.driver.CUDADriverError, match="nothing"):
        module.get_function("nothing")
    for wrong in ("__global__ void k() { __shared__ int x[3]; }", "__global__ void k() { nonsense; }"):
        with pytest.raises(cp.cuda.compiler.CompileException):
            cp.RawModule(code=wrong).compile()


@compiled
def test_a_kernel_that_watches_the_host_waits_for_it_but_not_for_ever() -> None:
    def program(opened: bool, asks: bool = False) -> tuple[int, bool]:
        flag = np.frombuffer(cp.cuda.alloc_pinned_memory(4), np.int32, 1)
        flag[0] = 0
        gated, other = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
        left, x = cp.zeros(1, np.uint64), cp.zeros(1)
        cp.cuda.Device().synchronize()
        flag_pointer = cp.cuda.UnownedMemory(flag.ctypes.data, 4, flag)
        with gated:
            start = gated.record()
            cp.RawKernel(SOURCE, "gate")((1,), (1,), (flag_pointer, left, np.uint64(10_000_000)))
            after = gated.record()
        with other:
            x += 1
            other.synchronize()  # must not try the gate
        flag[0] = opened
        issued = cp.standin.now
        while asks and not after.done:
            pass
        gated.synchronize()
        return int(left.get(gated)[0]), cp.cuda.get_elapsed_time(start, after) * 1e-3 >= issued - start.recorded.end

    assert outcomes(lambda: program(True)) == {(1, True)}
    assert outcomes(lambda: program(True, asks=True)) == {(1, True)}
    assert outcomes(lambda: program(False)) == {(0, True)}


@compiled
def test_elementwise_kernels_and_fused_functions() -> None:
    x = cp.arange(300, dtype=np.float32)
    scaled = cp.ElementwiseKernel("T x, T a", "T y", "y = a * x + 1", "scaled")
    assert np.array_equal(scaled(x, 3).get(), 3 * x.get() + 1)
    out = cp.empty_like(x)
    turned = cp.ElementwiseKernel("raw T x, int32 n", "T y", "y = x[n - 1 - i]", "turned")
    assert turned(x, 300, out) is out
    assert np.array_equal(out.get(), x.get()[::-1])
    cp.standin.drain()
    before = len(cp.standin.timeline)
    fused = cp.fuse(lambda a, b: a * b + 2, kernel_name="fused")(x, x)
    assert np.array_equal(fused.get(), x.get() ** 2 + 2)
    assert [o.stage for o in list(cp.standin.timeline)[before:]].count("kernel") == 1


# arrays


def test_arrays_do_what_numpys_do() -> None:
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    x = cp.asarray(a)
    acts: tuple[Callable[[Any], Any], ...] = (
        lambda v: v[1:3, ::2] * 2 - v[2:4, 1::2] / 3,
        lambda v: (v > 5) & (v[0] < 3),
        lambda v: v.reshape(6, 4).T.copy(),
        lambda v: v.view(np.int32)[0],
        lambda v: v.sum(axis=1),
        lambda v: v.astype(np.int64) + 1,
        lambda v: -v[..., 2],
        lambda v: v[:, 1],
    )
    for act in acts:
        assert np.array_equal(act(x).get(), act(a))
        assert act(x).dtype == act(a).dtype
    x[1, 2:4] = 9
    x[0] = x[1]
    cp.negative(x, out=x)
    a[1, 2:4] = 9
    a[0] = a[1]
    assert np.array_equal(x.get(), -a)
    assert x[2:, 1].data.ptr == x.data.ptr + 13 * 4
    assert bool(cp.array_equal(x, cp.asarray(-a)))
    assert not bool(cp.array_equal(x, cp.zeros((4, 6))))
    assert float(cp.sum(x)) == -a.sum()
    with pytest.raises(TypeError):
        np.asarray(x)
    with pytest.raises(TypeError):
        x + a


# devices


def test_two_devices_have_streams_and_memory_of_their_own() -> None:
    two = load(STANDIN_DEVICES=2, STANDIN_MEMORY=1 << 20)
    runtime = two.cuda.runtime
    assert (runtime.getDeviceCount(), runtime.deviceCanAccessPeer(0, 1)) == (2, 1)
    x, s0 = two.full(8, 3.0), two.cuda.Stream(non_blocking=True)
    with two.cuda.Device(1):
        y, s1 = two.empty(8), two.cuda.Stream(non_blocking=True)
        assert (y.device.id, s1.device_id) == (1, 1)
        with pytest.raises(RuntimeError, match="does not match"):
            s0.use()
        assert two.cuda.Device().mem_info[0] == two.cuda.Device(0).mem_info[0]
    s0.wait_event(two.cuda.Stream.null.record())
    runtime.memcpyPeerAsync(y.data.ptr, 1, x.data.ptr, 0, x.nbytes, s0.ptr)
    event = s0.record()
    with two.cuda.Device(1), s1:
        s1.wait_event(event)
        assert y.get()[7] == 3.0
    runtime.deviceEnablePeerAccess(1)
    with pytest.raises(runtime.CUDARuntimeError, match="AlreadyEnabled"):
        runtime.deviceEnablePeerAccess(1)
    with pytest.raises(runtime.CUDARuntimeError, match="InvalidDevice"):
        two.cuda.Device(2).use()


# as labs are run

SCRIPT = """
import cupy as cp, cupyx, numpy as np
host = cupyx.zeros_pinned(4, np.float32)
with cp.cuda.Stream() as stream:
    x = cp.asarray(np.arange(4, dtype=np.float32)) * 2
    x.get(out=host, blocking=False)
    stream.synchronize()
print(cp.__version__, host, cp.cuda.Device().compute_capability, cp.is_available())
"""


def test_a_script_finds_it_by_pythonpath() -> None:
    environment = {**os.environ, "PYTHONPATH": str(STANDIN)}
    ended = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, text=True, capture_output=True, check=True)
    assert ended.stdout == "14.0.0+standin [0. 2. 4. 6.] 90 True\n"
