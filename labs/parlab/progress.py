"""The terminal while labs run: which lab of how many, what it is doing, how long the run has taken and will take."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.text import Text

from parlab import units
from parlab.launch import Command
from parlab.pace import Pace
from parlab.table import console


class Progress:
    """Tells of a run along its plan. On a terminal a line is kept up to date; elsewhere one stands where a lab begins and where it ends."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.total, self.begun, self.start = pace, len(pace.ahead), 0, time.monotonic()

    @property
    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self.start

    @property
    def words(self) -> str:
        """Say how long the run has taken and will take."""
        now = self.now
        return f"{units.clock(now)} gone, {about(self.pace.left(now))} left"

    def plan(self) -> None:
        """Say how long the run will take."""
        if self.total > 1:
            console.print(f"{self.total} labs, {about(self.pace.left(self.now))}", style="dim")

    def begin(self, name: str) -> float | None:
        """Begin the next lab and return the share of its time that it may measure; None where there is no time for it."""
        self.begun += 1
        place = f"\n[bold]\\[{self.begun} of {self.total}] {name}[/]  "
        if not self.pace.fits(self.now):
            self.pace.skip()
            console.print(f"{place}[yellow]left out: no time for it[/]")
            return None
        console.print(place + self.words)
        return self.pace.begin(self.now)

    def end(self, name: str) -> None:
        """End the lab that runs."""
        took = self.pace.end(self.now)
        console.print(f"{name} took {units.clock(took)}; {self.words}")

    @contextlib.contextmanager
    def launch(self, command: Command, log: Path) -> Iterator[Callable[[], None]]:
        """Show what a launch is doing, as told by the last line of its log, while it runs."""
        console.print(command.line(), style="dim", markup=False, soft_wrap=True)
        with console.status(self._status("starting")) as status:

            def watch() -> None:
                with contextlib.suppress(OSError):
                    lines = log.read_bytes()[-300:].decode(errors="replace").splitlines()
                    status.update(self._status(lines[-1].strip() if lines else "starting"))

            yield watch

    def page(self, out: Path) -> str:
        """Make the page and the pictures of the run; return the words that say where they are."""
        from parlab import report

        console.print(f"\ndrawing the page, {about(self.pace.ending)}", style="dim")
        with console.status("drawing the page"):
            return report.told(*report.write([out]))

    def interrupted(self, out: Path) -> None:
        """Say how far the run had come, and how to see what was measured."""
        console.print(
            f"\ninterrupted in lab {self.begun} of {self.total}: what was measured is kept", style="bold yellow"
        )
        console.print(
            f"`parlab show {out}` shows it, `parlab report {out}` makes its page", markup=False, soft_wrap=True
        )

    def _status(self, doing: str) -> Text:
        """Set the line that is kept up to date; a narrow terminal cuts its end."""
        return Text.assemble((self.words, "bold"), "  ", doing, no_wrap=True, overflow="ellipsis")


def about(seconds: float) -> str:
    """Write an estimate of a time, to 5 seconds."""
    return f"about {units.clock(5 * -(-seconds // 5))}"
