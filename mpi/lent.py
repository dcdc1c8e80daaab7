"""What MPI lends must be given back by all ranks together."""

from types import TracebackType
from typing import Self


class Lent:
    """Something that holds handles of MPI: leaving its `with` statement frees them, unless an exception leaves it."""

    def free(self) -> None:
        """Give back what MPI lent (collective)."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:  # freeing is collective: a rank that fails must not wait in it for the others
            self.free()
