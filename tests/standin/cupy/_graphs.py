"""Graphs: what a stream and those joined to it were asked to do, recorded once and launched as often as you like.

A stream that waits for an event of a capturing stream is drawn into the capture; the origin must wait for it before the capture ends.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ._errors import CUDARuntimeError
from ._machine import machine
from ._operations import Operation, Queue
from .cuda._events import here


class Capture:
    """A recording that `origin` began. nodes: in the order of issue."""

    def __init__(self, origin: Queue) -> None:
        if origin.capture is not None:
            raise CUDARuntimeError(900)
        self.origin, self.nodes, self.broken, self.ended = origin, list[Operation](), False, False
        self._tails: dict[Queue, list[Operation]] = {}
        self.draw(origin)

    def draw(self, queue: Queue) -> None:
        """Record what is issued to this stream, too."""
        self._tails[queue] = queue.tail
        queue.tail, queue.capture = [], self

    def refuse(self, status: int = 900) -> CUDARuntimeError:
        """Spoil the capture, and return the error to raise."""
        self.broken = True
        return CUDARuntimeError(status)

    def end(self) -> list[Operation]:
        """Let the streams go and return the nodes. CUDARuntimeError where a drawn stream was not joined, or after an error."""
        joined = ancestors(self.origin.tail)
        self.ended = True
        for queue, tail in self._tails.items():
            queue.tail, queue.capture = tail, None
        if self.broken:
            raise CUDARuntimeError(901)
        if any(node not in joined for node in self.nodes if node.stage not in ("wait", "event")):
            raise CUDARuntimeError(904)
        return self.nodes


def ancestors(operations: Iterable[Operation]) -> set[Operation]:
    """Return these operations and all that they wait for."""
    found, left = set[Operation](), list(operations)
    while left:
        operation = left.pop()
        if operation not in found:
            found.add(operation)
            left += operation.after
    return found


class Graph:
    """What a capture recorded. One launch waits for the one before it."""

    def __init__(self, nodes: list[Operation]) -> None:
        self._nodes = nodes
        followed = {before for node in nodes for before in node.after}
        self._last = [node for node in nodes if node not in followed]
        self._running: list[Operation] = []

    def launch(self, stream: Any = None) -> None:
        """Issue all nodes, as one operation, to a stream (else the current one)."""
        queue = here.queue(stream)
        with machine.at_work():
            machine.now += machine.profile.issue
            entry = machine.before(queue) + ([] if queue.capture else self._running)
            copies: dict[Operation, Operation] = {}
            for node in self._nodes:
                copy = replace(node, after=[copies[before] for before in node.after] or entry)
                copies[node] = copy
                machine.enter(copy, queue.capture)
            if copies:
                queue.tail = [copies[node] for node in self._last]
                if queue.capture is None:
                    self._running = list(queue.tail)

    def upload(self, stream: Any = None) -> None:
        """Take the time of an operation: a graph is launched from where it is."""
        machine.issue(Operation("upload", here.queue(stream)))
