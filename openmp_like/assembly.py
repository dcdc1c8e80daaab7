"""What the processor really runs: the inner loops of a compiled kernel, read from its generated assembly (x86-64).

A compiler may keep a counter in a register, remove a loop, or put eight elements into one instruction; the source does not show it, and
a measurement cannot tell it from a fast memory. `inner_loops(kernel)` shows it:

    any(loop.stores for loop in inner_loops(count))            # does the loop write to memory at all?
    max(loop.vector_bits for loop in inner_loops(triad))       # 512: eight doubles in one instruction

Sources: A. Aho, M. Lam, R. Sethi, J. Ullman, Compilers, 2006, sections 9.6.1 (dominators) and 9.6.6 (natural loops); Intel 64 and IA-32
Architectures Software Developer's Manual, volume 2, for what an instruction writes (here in AT&T's order: the target is the last operand).
"""

import platform
import re
import sys
from dataclasses import dataclass
from typing import Any

from numba import jit

FUNCTION = re.compile(r"^\t\.type\t(\S+),@function\n\1:\n(.*?)^\.Lfunc_end", re.MULTILINE | re.DOTALL)
READS_ONLY = re.compile(
    r"cmp(?!xchg)|test|bt[wlq]?$|call|jmp|push|prefetch|nop|cl|i?mul[bwlq]?$|i?div[bwlq]?$|f(?!i?stp?)"
)
SPILL = re.compile(r"-?\d*\(%rsp\)$")  # a register that found no room: it goes to this thread's own stack
ARITHMETIC = re.compile(
    r"v?(addsub|hadd|hsub|add|sub|mul|div|sqrt|max|min)p[sdh]$|vfn?m(add|sub|addsub|subadd)\d+p[sdh]$"
    r"|v?ph?(add|sub|mul|madd|max|min|abs|avg|sad)|vpdp|vpopcnt"
)
WIDTHS = {"zmm": 512, "ymm": 256, "xmm": 128}


@dataclass(frozen=True)
class Loop:
    """An innermost loop: its instructions, and how many loops of the same function are around it.

    In `for lane in prange(p): for i in range(n): ...` the loop over i has depth 1. One loop of the source may have become several: the
    unrolled one and one for the rest, or one for each way that memory may overlap.
    """

    lines: tuple[str, ...]
    depth: int

    @property
    def stores(self) -> int:
        """Instructions that write to memory; a register saved on the stack and what a called function does are not counted."""
        return sum(_writes(line) for line in self.lines)

    @property
    def locked(self) -> bool:
        """Whether one of them is an atomic read-modify-write."""
        return any(_locks(line) for line in self.lines)

    @property
    def vector_bits(self) -> int:
        """Width of the widest packed arithmetic: 128, 256 or 512; 0 where one instruction computes one element."""
        wide = [line for line in self.lines if ARITHMETIC.match(_split(line)[0])]
        return max((WIDTHS[kind] for line in wide for kind in re.findall(r"%([xyz]mm)", line)), default=0)


def inner_loops(kernel: Any) -> list[Loop]:
    """Return the innermost loops of an njit function, of all types that it was called with, and of what was inlined into it.

    The body of a `prange` is among them. A kernel that came from Numba's cache on disk has no assembly any more: a copy of it is compiled
    (the same source, options and processor: the same code), which takes as long as the first time. ValueError where the kernel has
    not been called yet; NotImplementedError elsewhere than on x86-64 Linux.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NotImplementedError(
            f"only x86-64 assembly on Linux is read here, not {platform.machine()} on {sys.platform}"
        )
    if not kernel.signatures:
        raise ValueError(f"{kernel.__name__} is not compiled: call it once")
    if kernel.stats.cache_hits:
        copy = jit(**kernel.targetoptions)(kernel.py_func)
        for signature in kernel.signatures:
            copy.compile(signature)
        kernel = copy
    return [loop for text in kernel.inspect_asm().values() for loop in loops(text)]


def loops(text: str) -> list[Loop]:
    """Return the innermost loops of an assembly listing as LLVM writes it (AT&T syntax), function by function."""
    found = []
    for name, body in FUNCTION.findall(text):
        if name.startswith(("_ZN7cpython", "cfunc.")):  # they only convert arguments, or hold a second copy
            continue
        around = 1 if name.startswith("__gufunc__") else 0  # Numba's own loop, over calls of a prange's body
        found += [Loop(lines, depth - around) for lines, depth in _innermost(*_blocks(body)) if depth >= around]
    return found


Block = list[str]


def _blocks(body: str) -> tuple[list[Block], list[list[int]]]:
    """Cut a function into basic blocks, and return them with the successors of each."""
    blocks: list[Block] = [[]]
    labels: dict[str, int] = {}
    for line in body.splitlines():
        if label := re.match(r"(\.LBB\w+):", line):
            if blocks[-1]:
                blocks.append([])
            labels[label[1]] = len(blocks) - 1
        elif line.startswith("\t") and line[1] not in ".#":
            blocks[-1].append(" ".join(line.split()))
            if _split(blocks[-1][-1])[0].startswith(("j", "ret", "ud2")):
                blocks.append([])
    follow = []
    for i, block in enumerate(blocks):
        last, target = _split(block[-1])[0] if block else "", block[-1].split()[-1] if block else ""
        goes_on = not last.startswith(("jmp", "ret", "ud2")) and i + 1 < len(blocks)
        follow.append([i + 1] * goes_on + [labels[t] for t in [target] if t in labels])
    return blocks, follow


def _innermost(blocks: list[Block], follow: list[list[int]]) -> list[tuple[tuple[str, ...], int]]:
    """Return the natural loops that hold no other, and how many others hold them."""
    before: list[list[int]] = [[] for _ in blocks]
    for i, targets in enumerate(follow):
        for target in targets:
            before[target].append(i)
    members: dict[int, set[int]] = {}  # by the block in which a loop is entered
    for tail, head in (
        (i, j) for i, targets in enumerate(_dominators(follow, before)) for j in follow[i] if j in targets
    ):
        loop, open_ends = members.setdefault(head, {head}), [tail]
        while open_ends:
            if (block := open_ends.pop()) not in loop:
                loop.add(block)
                open_ends += before[block]
    return [
        (tuple(line for block in sorted(loop) for line in blocks[block]), sum(head in m for m in members.values()) - 1)
        for head, loop in members.items()
        if not any(other in loop for other in members if other != head)
    ]


def _dominators(follow: list[list[int]], before: list[list[int]]) -> list[set[int]]:
    """Return for each block those that every path from the entry to it goes through; none for a block that no path reaches."""
    reached, open_ends = {0}, [0]
    while open_ends:
        new = set(follow[open_ends.pop()]) - reached
        reached |= new
        open_ends += new
    found = [set(reached) if i in reached and i else {0} & {i} for i in range(len(follow))]
    changed = True
    while changed:
        changed = False
        for i in sorted(reached - {0}):
            through = set.intersection(*(found[j] for j in before[i] if j in reached)) | {i}
            changed |= through != found[i]
            found[i] = through
    return found


def _split(line: str) -> tuple[str, list[str]]:
    """Return the name of the instruction, without a prefix, and its operands."""
    text = re.sub(r'"[^"]*"', "symbol", line).split("#")[0]
    words = re.sub(r"^((lock|rep\w*|notrack)[ ;]\s*)+", "", text).split(None, 1)
    operands = re.findall(r"(?:\([^)]*\)|[^,(])+", words[1]) if len(words) > 1 else []
    return words[0] if words else "", [operand.strip() for operand in operands]


def _memory(operand: str) -> bool:
    return not operand.startswith(("%", "$", "{")) or ":" in operand


def _writes(line: str) -> bool:
    name, operands = _split(line)
    if name.startswith("xchg"):
        return any(map(_memory, operands))
    return (
        bool(operands)
        and _memory(operands[-1])
        and not SPILL.match(operands[-1])
        and not READS_ONLY.match(name)
        and name[0] != "j"
    )


def _locks(line: str) -> bool:
    return line.startswith("lock") or (_split(line)[0].startswith("xchg") and _writes(line))
