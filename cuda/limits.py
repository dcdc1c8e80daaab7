"""What copies are limited by: the rate of the link, and the memory that there is. No GPU is needed.

    link_rate("PCIe 5 x 16")                    # 63.0e9: what the data sheet promises, in bytes per second and direction
    fitting(2**30, 2**10, Buffers)              # (2**29, buffers) where a GiB of each kind of memory is not to be had

Source of the rates: PCI-SIG, PCI Express Base Specification, revisions 1 to 5 (transfers per second and lane, encoding).
"""

import re
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")

LANE = {1: 2.5e9 * 8 / 10, 2: 5e9 * 8 / 10, 3: 8e9 * 128 / 130, 4: 16e9 * 128 / 130, 5: 32e9 * 128 / 130}  # bit/s


def link_rate(link: str) -> float | None:
    """Return the bytes per second that a link such as "PCIe 5 x 16" carries in each direction; None for one that is not known."""
    found = re.fullmatch(r"PCIe (\d+) x (\d+)", link)
    return LANE[int(found[1])] * int(found[2]) / 8 if found and int(found[1]) in LANE else None


def fitting(wanted: int, least: int, make: Callable[[int], Made]) -> tuple[int, Made]:
    """Make something of size `wanted`, else of half that size, a quarter ...; return the size that memory was there for, and what was made.

    Raises what `make` raises: MemoryError where not even `least` fits.
    """
    size = wanted
    while True:
        try:
            return size, make(size)
        except MemoryError:  # CuPy's OutOfMemoryError is one
            if size // 2 < least:
                raise
        size //= 2
