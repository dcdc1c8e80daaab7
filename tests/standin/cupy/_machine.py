"""The machine: operations that wait for others, run late and in a hostile order; and the virtual time that they take.

Nothing runs when it is issued. An operation knows what it waits for: what is before it in its stream, the null stream's rule, the record
that an event names. `wait` runs what is wanted and, of all else that may run, what an adversary likes: a wait that a program forgot gives
a wrong result under one seed or another, and a right program is right under all.

Apart from that every operation gets its virtual time. begin: the latest of its issue, the end of all it waits for, and of its engine's
work; an engine takes the first issued of those that are ready. The host's clock moves with each issue, query and wait, by nothing else.

Sources: CUDA C++ Programming Guide, Asynchronous Concurrent Execution; CUDA Runtime API, Stream synchronization behavior.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from threading import RLock, Timer
from typing import TYPE_CHECKING

from ._errors import CUDARuntimeError
from ._operations import Adversary, Engine, Frontier, Operation, Profile, Queue, nothing

if TYPE_CHECKING:
    from ._graphs import Capture

PATIENCE = 100  # questions in a row before a gate is taken for open
ALONE = 0.2  # seconds, real ones, after which a host function is called though the host asks for nothing: it may wait for that


class Machine:
    """All that is issued and not yet over, the engines, and the host's virtual clock `now` (seconds)."""

    def __init__(self, profile: Profile | None = None, style: str | None = None, seed: int | None = None) -> None:
        self.lock = RLock()
        self.queues: dict[int, Queue] = {}
        self.nulls: dict[int, Queue] = {}
        self.running = False
        self._depth = 0
        self._later: list[Callable[[], object]] = []
        self.reset(profile, style, seed)

    def reset(self, profile: Profile | None = None, style: str | None = None, seed: int | None = None) -> None:
        """Begin at time 0 with an adversary of your choice (else STANDIN_ADVERSARY, STANDIN_SEED). What is pending is forgotten."""
        with self.at_work():
            self.profile = profile or Profile()
            style = style or os.environ.get("STANDIN_ADVERSARY", "random")
            self.adversary = Adversary(style, int(os.environ.get("STANDIN_SEED", "0")) if seed is None else seed)
            self.now = 0.0
            self.timeline: deque[Operation] = deque(maxlen=100_000)  # in the order in which they begin
            self._number = self._polls = 0
            self._free: dict[Engine | None, float] = {}
            self._to_run, self._to_time = Frontier(), Frontier()
            self._hosts: list[Operation] = []
            for queue in [*self.queues.values(), *self.nulls.values()]:
                queue.tail, queue.capture = [], None

    def null(self, device: int) -> Queue:
        """Return the legacy default stream of a device."""
        return self.nulls.setdefault(device, Queue(0, device))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the machine for oneself; what is freed meanwhile, since Python collects it, is freed afterwards.

        CUDARuntimeError (800) where a host function calls.
        """
        with self.lock:
            if self.running:
                raise CUDARuntimeError(800)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                while self._later and not self._depth:
                    self._later.pop()()

    def finalize(self, action: Callable[[], object]) -> None:
        """Do what a __del__ asks for: now, or, where the machine is at work, after that."""
        if self._depth:
            self._later.append(action)
        else:
            action()

    def issue(self, operation: Operation, after: Iterable[Operation] = ()) -> Operation:
        """Issue an operation to its stream, or have a capture record it; it waits for `after`, too."""
        with self.at_work():
            self.now += self.profile.issue
            operation.after = [*self.before(operation.queue), *after]
            self.enter(operation, operation.queue.capture)
            operation.queue.tail = [operation]
        return operation

    def before(self, queue: Queue) -> list[Operation]:
        """Return what a new operation of a stream waits for."""
        if queue.capture is not None or not queue.blocking:
            return list(queue.tail)
        if queue.number:
            return queue.tail + self.null(queue.device).tail
        others = [q for q in self.queues.values() if q.blocking and q.device == queue.device]
        if any(q.capture for q in others):
            raise CUDARuntimeError(906)
        return queue.tail + [operation for q in others for operation in q.tail]

    def enter(self, operation: Operation, capture: "Capture | None") -> None:
        """Take an operation whose `after` is known, or have a capture record it."""
        self._number += 1
        operation.number, operation.issued, operation.capture = self._number, self.now, capture
        if capture is not None:
            capture.nodes.append(operation)
            return
        self._to_run.add(operation)
        self._to_time.add(operation)
        if operation.stage == "host":
            self._hosts.append(operation)
            self._call_later(operation)

    def _call_later(self, operation: Operation) -> None:
        """Have a host function called by another thread, unless the host waits for something before, or a gate is closed."""

        def call() -> None:
            with self.lock:
                if any(o.patient for o in self._wanted([operation])):
                    self._call_later(operation)
                elif operation in self._to_run:
                    self.wait([operation])

        timer = Timer(ALONE, call)
        timer.daemon = True
        timer.start()

    def wait(self, wanted: Iterable[Operation]) -> None:
        """Block the host until all these are over."""
        with self.at_work():
            wanted = list(wanted)
            self._run(wanted)
            for operation in wanted:
                while operation in self._to_time:
                    self._time_next(inf)
            self.now = max([self.now, *(o.end for o in wanted)])
            self._polls = 0

    def drain(self) -> None:
        """Block the host until all that was issued is over."""
        with self.at_work():
            self.wait([*self._to_run, *self._to_time])

    def over(self, wanted: Iterable[Operation]) -> bool:
        """Tell whether all these are over by now; if so they have run."""
        with self.at_work():
            self.now += self.profile.query
            wanted = list(wanted)
            while self._time_next(self.now):
                pass
            if over := all(o.end <= self.now for o in wanted):
                self._run(wanted)
            self._hosts = [o for o in self._hosts if o in self._to_run]
            self._run([o for o in self._hosts if o.end <= self.now])
            self._polls = 0 if over else self._polls + 1
            if self._polls >= PATIENCE:  # who asks so often has opened the gate, if there is one
                self._run([o for o in self._wanted(wanted) if o.patient])
            return over

    def idle(self, queue: Queue) -> bool:
        """Tell whether nothing of a stream is left to be run."""
        return not any(o in self._to_run or o in self._to_time for o in queue.tail)

    def _wanted(self, operations: Iterable[Operation]) -> set[Operation]:
        """Return these and all that they wait for, as far as it has not run."""
        found, left = set[Operation](), list(operations)
        while left:
            operation = left.pop()
            if operation in self._to_run and operation not in found:
                found.add(operation)
                left += operation.after
        return found

    def _run(self, operations: list[Operation]) -> None:
        wanted = self._wanted(operations)
        left = set(operations) & wanted
        while left:
            may = self._to_run.open
            if self.adversary.style == "lazy":
                operation = self.adversary.choose(o for o in may if o in wanted)
            else:
                operation = self.adversary.choose(o for o in may if o in wanted or not o.patient)
            left.discard(operation)
            self.running = True
            try:
                operation.action()
            finally:
                self.running = False
                operation.least = self.now if operation.patient else 0.0
                self._to_run.passed(operation)
                self._settle(operation)

    def _time_next(self, limit: float) -> bool:
        """Give the next operation to begin its virtual time; False where none begins up to `limit`."""
        best = None
        for o in self._to_time.open:
            if o.patient and o in self._to_run:
                continue
            begin = max([o.issued, self._free.get(o.engine, 0.0), *(before.end for before in o.after)])
            if best is None or (begin, o.queue.priority, o.number) < best[:3]:
                best = (begin, o.queue.priority, o.number, o)
        if best is None or best[0] > limit:
            return False
        begin, _, _, o = best
        o.begin, o.end = begin, max(begin + o.seconds, o.least)
        if o.engine is not None:
            self._free[o.engine] = o.end
        self._to_time.passed(o)
        self.timeline.append(o)
        self._settle(o)
        return True

    def _settle(self, operation: Operation) -> None:
        """Let go of what an operation held once it has run and has its time."""
        if operation not in self._to_run and operation not in self._to_time:
            operation.after, operation.action, operation.held = [], nothing, None


machine = Machine()
