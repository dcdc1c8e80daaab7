"""Notes who did what when, for a timeline."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Lane = tuple[str, list[tuple[float, float, str]]]


class Recorder:
    """Spans of what is entered, (begin, end, label) in seconds, by the clock that all processes of a machine share."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float, str]] = []

    @contextmanager
    def __call__(self, what: object) -> Iterator[None]:
        """Note when what happens in this block begins and ends."""
        begin = time.perf_counter()
        yield
        self.spans.append((begin, time.perf_counter(), str(what)))


def lanes(workers: Sequence[Sequence[tuple[float, float, object]]], name: str = "rank") -> list[Lane]:
    """Return the spans of several workers, by rank, as lanes that begin at 0."""
    start = min(begin for spans in workers for begin, _, _ in spans)
    return [
        (f"{name} {rank}", [(begin - start, end - start, str(what)) for begin, end, what in spans])
        for rank, spans in enumerate(workers)
    ]
