"""Cache lines, and where in them the counters of several threads lie.

Two cores cannot write one line at the same time: it moves from one's cache to the other's. That the threads write different words of it
does not help: the line is shared, though no data is. This is false sharing; `shared_lines` finds it in addresses, before any clock.

Source: J. Torrellas, M. Lam, J. Hennessy, False sharing and spatial locality in multiprocessor caches, IEEE Transactions on
Computers 43 (6), 1994.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

WORD = 8  # bytes of a counter, an int64
PAGE = 4096  # bytes; every buffer starts at a multiple, so that two layouts differ in nothing but the layout
USUAL = 64  # bytes: the line of x86-64 and of most Arm processors, taken where the machine does not tell its own
SYSCONF = 190  # _SC_LEVEL1_DCACHE_LINESIZE in glibc's <bits/confname.h>; Python has no name for it
SYSFS = Path("/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size")

Words = np.ndarray[Any, np.dtype[np.int64]]


def line_bytes() -> tuple[int, str]:
    """Return the size of a line of the first data cache in bytes, and who says so."""
    if SYSFS.exists():
        return int(SYSFS.read_text()), "sysfs"
    if platform.libc_ver()[0] == "glibc" and (told := os.sysconf(SYSCONF)) > 0:
        return told, "sysconf"
    return USUAL, "assumed: the machine does not tell"


@dataclass(frozen=True)
class Layout:
    """Bin b of thread t lies at byte offset + t * per_thread + b * per_bin from the start of a page; all are multiples of a word."""

    per_thread: int
    per_bin: int = WORD
    offset: int = 0

    def __post_init__(self) -> None:
        """Refuse what no array of words can be laid out as."""
        if any(distance % WORD or distance < 0 for distance in (self.per_thread, self.per_bin, self.offset)):
            raise ValueError(f"distances are multiples of {WORD} bytes and not negative: {self}")

    def addresses(self, threads: int, bins: int) -> Words:
        """Return the addresses of all counters, int64[threads, bins], in bytes from the start of a page."""
        return self.offset + self.per_thread * np.arange(threads)[:, None] + self.per_bin * np.arange(bins)

    def shared_lines(self, threads: int, bins: int, line: int) -> int:
        """Return the number of lines (of `line` bytes) that hold counters of more than one thread: 0 is the cure."""
        lines = [set(row.tolist()) for row in self.addresses(threads, bins) // line]
        return len({one for i, mine in enumerate(lines) for other in lines[:i] for one in mine & other})

    def place(self, threads: int, bins: int) -> tuple[Words, Words]:
        """Return the counters, zeros, twice: int64[words] as the kernels take them, and the same memory as int64[threads, bins].

        The first starts with bin 0 of thread 0. ValueError where two counters would be the same word.
        """
        places = self.addresses(threads, bins)
        if np.unique(places).size < places.size:
            raise ValueError(f"two counters at one address: {self} with {threads} threads and {bins} bins")
        words = aligned(int(places[-1, -1]) // WORD + 1)[self.offset // WORD :]
        return words, as_strided(words, (threads, bins), (self.per_thread, self.per_bin))


def aligned(words: int) -> Words:
    """Return int64[words], zeros, that start at the start of a page."""
    room = np.zeros(words + PAGE // WORD, np.int64)
    skip = -room.ctypes.data % PAGE // WORD
    return room[skip : skip + words]
