"""What the compiled loops hold: kernels whose code is known, and listings that a careless reader gets wrong."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit, prange

from parlab.openmp_like.assembly import Loop, inner_loops, loops
from parlab.openmp_like.atomics import add, load, store

try:
    inner_loops(njit(lambda: None))
except NotImplementedError as error:
    pytest.skip(str(error), allow_module_level=True)
except ValueError:
    pass  # not compiled: it can be read here


@njit(parallel=True)
def plain(counters: Any, apart: int, n: int, lanes: int) -> None:
    """Count without a reason to write: LLVM adds n once."""
    for lane in prange(lanes):
        for _ in range(n):
            counters[lane * apart] += 1


@njit(parallel=True)
def relaxed(counters: Any, apart: int, n: int, lanes: int) -> None:
    for lane in prange(lanes):
        for _ in range(n):
            store(counters, lane * apart, load(counters, lane * apart, "relaxed") + 1, "relaxed")


@njit(parallel=True)
def atomic(counters: Any, apart: int, n: int, lanes: int) -> None:
    for lane in prange(lanes):
        for _ in range(n):
            add(counters, lane * apart, 1)


def total(values: Any) -> float:
    sum = 0.0
    for x in values:
        sum += x
    return sum


@pytest.mark.parametrize(
    ("kernel", "stores", "locked"), [(plain, False, False), (relaxed, True, False), (atomic, True, True)]
)
def test_only_what_must_write_writes(kernel: Any, stores: bool, locked: bool) -> None:
    counters = np.zeros(64, np.int64)
    kernel(counters, 16, 10, 2)
    assert counters[0] == counters[16] == 10
    timed = [loop for loop in inner_loops(kernel) if loop.depth]  # depth 0: the loop over lanes
    assert all((loop.stores > 0) == stores and loop.locked == locked for loop in timed)
    assert bool(timed) == stores


def test_a_plain_serial_counter_leaves_no_loop() -> None:
    @njit
    def count(counters: Any, n: int) -> None:
        for _ in range(n):
            counters[0] += 1

    count(np.zeros(1, np.int64), 5)
    assert inner_loops(count) == []


def test_only_fastmath_lets_a_sum_be_packed() -> None:
    for fastmath in (False, True):
        kernel = njit(fastmath=fastmath)(total)
        assert kernel(np.ones(100)) == 100
        assert (max(loop.vector_bits for loop in inner_loops(kernel)) >= 128) == fastmath
        assert all(loop.stores == 0 for loop in inner_loops(kernel))


def test_a_prange_without_lanes_has_depth_0() -> None:
    @njit(parallel=True)
    def scale(out: Any, values: Any) -> None:
        for i in prange(out.size):
            out[i] = 3.0 * values[i]

    scale(np.zeros(100), np.ones(100))
    found = inner_loops(scale)
    assert {loop.depth for loop in found} == {0}
    assert all(loop.stores for loop in found)
    assert max(loop.vector_bits for loop in found) >= 128


def test_a_kernel_from_the_cache_on_disk_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "cached.py").write_text(
        "import numpy as np\nfrom numba import njit\nfrom parlab.openmp_like.assembly import inner_loops\n"
        "@njit(cache=True)\ndef fill(a, b):\n    for i in range(a.size):\n        a[b[i]] += 1\n"
        "fill(np.zeros(4, np.int64), np.zeros(4, np.int64))\n"
        "print(sum(fill.stats.cache_hits.values()), [loop.stores > 0 for loop in inner_loops(fill)])"
    )
    command = [sys.executable, str(tmp_path / "cached.py")]
    cold, warm = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert cold.startswith("0 [True")
    assert warm == cold.replace("0", "1", 1)


def test_a_kernel_that_was_not_called_is_refused() -> None:
    with pytest.raises(ValueError, match="call it once"):
        inner_loops(njit(total))


def test_elsewhere_the_assembly_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(NotImplementedError, match="aarch64"):
        inner_loops(plain)


@pytest.mark.parametrize(
    ("line", "stores", "locked"),
    [
        ("movq %rax, (%rbx,%rcx,8)", 1, False),
        ("movq (%rbx), %rax", 0, False),
        ("incq (%rbx)", 1, False),
        ("incq %rbx", 0, False),
        ("addq %rax, 8(%rbx)", 1, False),
        ("addq 8(%rbx), %rax", 0, False),
        ("cmpq %rax, (%rbx)", 0, False),
        ("cmpq $0, (%rbx)", 0, False),
        ("testb $1, (%rbx)", 0, False),
        ("leaq 8(%rbx), %rax", 0, False),
        ("lock incq (%rbx)", 1, True),
        ("lock\t\tdecq (%rbx)", 1, True),
        ("lock cmpxchgq %rcx, (%rbx)", 1, True),
        ("cmpxchgq %rcx, (%rbx)", 1, False),
        ("xchgq %rax, (%rbx)", 1, True),
        ("xchgq %rax, %rbx", 0, False),
        ("lock xaddq %rax, (%rbx)", 1, True),
        ("movq %rax, -8(%rsp)", 0, False),  # a spill
        ("movq %rax, 8(%rsp,%rcx,8)", 1, False),  # an array on the stack
        ("vmovupd %zmm0, 64(%rax){%k1}", 1, False),
        ("vaddpd (%rax), %ymm0, %ymm1", 0, False),
        ("vfmadd231sd (%rax), %xmm0, %xmm1", 0, False),
        ("imulq (%rax)", 0, False),
        ("divq (%rax)", 0, False),
        ("prefetcht0 (%rax)", 0, False),
        ("callq *(%rax)", 0, False),
        ("rep;stosq %al, %es:(%rdi)", 1, False),
        ("movq %rax, %fs:8", 1, False),
        ("setne (%rax)", 1, False),
        ("btsq %rax, (%rbx)", 1, False),
        ("btq %rax, (%rbx)", 0, False),
        ('movabsq $".const.a, b (c)", %rax', 0, False),
    ],
)
def test_what_an_instruction_writes(line: str, stores: int, locked: bool) -> None:
    loop = Loop((line,), 0)
    assert (loop.stores, loop.locked) == (stores, locked)


@pytest.mark.parametrize(
    ("line", "bits"),
    [
        ("vaddpd %zmm0, %zmm1, %zmm1", 512),
        ("vfmadd213ps (%rax), %ymm0, %ymm1", 256),
        ("addpd %xmm0, %xmm1", 128),
        ("vpaddq %ymm0, %ymm1, %ymm1", 256),
        ("vpmulld %zmm0, %zmm1, %zmm1", 512),
        ("vaddsd %xmm0, %xmm1, %xmm1", 0),
        ("vfmadd231sd %xmm0, %xmm1, %xmm1", 0),
        ("vmovupd %zmm0, (%rax)", 0),
        ("vxorps %xmm0, %xmm0, %xmm0", 0),
        ("vbroadcastsd (%rax), %zmm2", 0),
        ("addq %rax, %rbx", 0),
    ],
)
def test_the_width_of_an_instruction(line: str, bits: int) -> None:
    assert Loop((line,), 0).vector_bits == bits


def listing(body: str, name: str = "_ZN4main") -> str:
    return f"\t.type\t{name},@function\n{name}:\n{body}.Lfunc_end0:\n"


def test_a_loop_is_found_wherever_the_compiler_lays_its_blocks() -> None:
    """The block that stores stands after the return; between head and back edge stands a block that is not in the loop."""
    body = (
        "\tjmp\t.LBB0_2\n.LBB0_1:\n\taddq\t$1, %rax\n\tjne\t.LBB0_3\n\tretq\n.LBB0_2:\n\tmovq\t%rax, (%rbx)\n\tjmp\t.LBB0_1\n"
        ".LBB0_3:\n\tincq\t(%rcx)\n\tjmp\t.LBB0_1\n"
    )
    (loop,) = loops(listing(body))
    assert loop.lines == ("addq $1, %rax", "jne .LBB0_3", "incq (%rcx)", "jmp .LBB0_1")
    assert (loop.stores, loop.depth) == (1, 0)


def test_only_the_innermost_loop_is_returned() -> None:
    nest = "\tnop\n.LBB0_1:\n\tincq\t(%rax)\n.LBB0_2:\n\tdecq\t%rbx\n\tjne\t.LBB0_2\n\tdecq\t%rcx\n\tjne\t.LBB0_1\n\tretq\n"
    (loop,) = loops(listing(nest))
    assert (loop.stores, loop.depth) == (0, 1)
    (loop,) = loops(listing(nest, "__gufunc__._ZN4body"))
    assert loop.depth == 0
    assert loops(listing(nest, "_ZN7cpython4main")) == []


def test_a_jump_back_that_is_no_loop_is_none() -> None:
    """Code that was moved to the end and jumps back: nothing is run twice."""
    assert loops(listing("\tje\t.LBB0_2\n.LBB0_1:\n\tincq\t(%rax)\n\tretq\n.LBB0_2:\n\tnop\n\tjmp\t.LBB0_1\n")) == []
