"""Memory: what of the host's own memory plays the part of a device's, what of it is pinned, and how much a device has left.

An address is a real one. What a device holds before anybody writes to it is all ones: no number, so that a copy that was forgotten shows.
"""

import os
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ._errors import CUDARuntimeError
from ._machine import machine

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Kind = Literal["device", "pinned", "registered"]
UNIT = 512  # bytes: what a device's memory is aligned to, and counted in
POISON = 1 << 28  # bytes: more than this is left as the system gives it, so that it costs nothing


@dataclass(frozen=True)
class Range:
    """Some memory: where, how many bytes, of what kind, on which device, and what keeps it alive."""

    start: int
    size: int
    kind: Kind
    device: int
    owner: Bytes | None


class Memory:
    """All the ranges. devices: how many there are; total: bytes of each; used: bytes by device."""

    def __init__(self) -> None:
        self.devices = int(os.environ.get("STANDIN_DEVICES", "1"))
        self.total = int(os.environ.get("STANDIN_MEMORY", str(4 << 30)))
        self.used = [0] * self.devices
        self._starts: list[int] = []
        self._ranges: dict[int, Range] = {}

    def allocate(self, size: int, kind: Kind, device: int) -> int:
        """Return the address of `size` new bytes. CUDARuntimeError (2) where a device has no more."""
        with machine.at_work():
            return self._allocate(size, kind, device)

    def _allocate(self, size: int, kind: Kind, device: int) -> int:
        if kind == "device":
            if self.used[device] + _rounded(size) > self.total:
                raise CUDARuntimeError(2)
            self.used[device] += _rounded(size)
        owner = np.empty(size + UNIT, np.uint8)
        if size <= POISON:
            owner.fill(0xFF)
        start = -(-owner.ctypes.data // UNIT) * UNIT
        self.enter(Range(start, size, kind, device, owner))
        return start

    def enter(self, entry: Range) -> None:
        """Know a range. CUDARuntimeError (712) where a part of it is known."""
        with machine.at_work():
            place = bisect_right(self._starts, entry.start)
            after = self._starts[place] if place < len(self._starts) else None
            if self.find(entry.start) or (after is not None and after < entry.start + entry.size):
                raise CUDARuntimeError(712)
            self._starts.insert(place, entry.start)
            self._ranges[entry.start] = entry

    def forget(self, start: int, kind: Kind) -> None:
        """Forget the range that begins here. CUDARuntimeError where there is none of this kind."""
        with machine.at_work():
            entry = self._ranges.get(start)
            if entry is None or entry.kind != kind:
                raise CUDARuntimeError(713 if kind == "registered" else 1)
            if kind == "device":
                self.used[entry.device] -= _rounded(entry.size)
            self._starts.remove(start)
            del self._ranges[start]

    def find(self, address: int) -> Range | None:
        """Return the range that an address is in."""
        with machine.at_work():
            place = bisect_right(self._starts, address)
            entry = self._ranges[self._starts[place - 1]] if place else None
        return entry if entry and address < entry.start + max(entry.size, 1) else None

    def holds(self, address: int, size: int) -> Range | None:
        """Return the range that bytes are in, None for plain host memory. CUDARuntimeError (1) where they go beyond its end."""
        entry = self.find(address)
        if entry and address + size > entry.start + entry.size:
            raise CUDARuntimeError(1)
        return entry


def _rounded(size: int) -> int:
    return -(-max(size, 1) // UNIT) * UNIT


memory = Memory()
