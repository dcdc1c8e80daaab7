"""Which rank failed, and why? Each rank leaves a small file; whoever launched them reads the files after a fault.

A rank that raises writes its last words. One that is killed cannot; but the launcher then sends SIGTERM to the others, and these write
where they stood, so the silent one is known. On a time-out all are asked (SIGUSR1) and the answer is a picture of the deadlock.
"""

import contextlib
import faulthandler
import os
import re
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

FOLDER = "ranks"
DONE = "done"
FOR_ALL = "all ranks: "
LEFT_ALONE = "left alone: "  # before the words of one whose peer was gone: that one is to blame
ASK = signal.SIGUSR1
_POINT: list[str] = []


def testify(directory: Path, rank: int) -> None:
    """Let this rank leave its file in directory/ranks, and from now on say where it stands when a signal comes."""
    path = _path(directory, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"pid {os.getpid()}\n")
    trace = path.with_suffix(".trace").open("w")  # stays open: the handlers write to it from inside a blocked MPI call
    faulthandler.enable(trace, all_threads=False)
    faulthandler.register(signal.SIGTERM, trace, all_threads=False, chain=True)
    faulthandler.register(ASK, trace, all_threads=False)


def say(directory: Path, rank: int, words: str) -> None:
    """Add a line to this rank's file: DONE, or what went wrong, after FOR_ALL where rank 0 speaks for all."""
    with (
        contextlib.suppress(OSError),
        _path(directory, rank).open("a") as file,
    ):  # on a full disk the log has the words too
        file.write(words + "\n")


def reached(point: str) -> None:
    """Note how far this rank has come, for its last words."""
    _POINT[:] = [point]


def last_words(error: BaseException) -> str:
    """Describe an exception in one line: what it is and where in the program it was raised."""
    told = str(error).splitlines()
    if isinstance(error, SystemExit):
        return f"left by sys.exit({error.code!r}) while the others still worked ({where(error)})"
    return f"{type(error).__name__}: {told[0] if told else ''} ({where(error)})"


def where(error: BaseException) -> str:
    """Say where in the program an exception was raised, and what point the program had reached."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if _of_the_program(f.filename)]
    return ", ".join([*(f"{Path(f.filename).name}:{f.lineno}" for f in (ours or list(frames))[-1:]), *_POINT])


def ask(directory: Path) -> None:
    """Ask every rank on this host that is still alive where it stands."""
    for path in (directory / FOLDER).glob("*.rank"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int(path.read_text().split()[1]), ASK)


@dataclass(frozen=True)
class Testimony:
    """What the files of the ranks tell: which finished, what those that raised said, where the others stood, and who fell silent."""

    finished: list[int]
    raised: dict[int, str]
    stood: dict[int, str]
    silent: list[int]

    def sentence(self) -> str:
        """Say which rank is to blame, and why."""
        for words in self.raised.values():
            if words.startswith(FOR_ALL):
                return words.removeprefix(FOR_ALL)
        if self.raised:
            return "; ".join(f"{self._who(rank)}: {words}" for rank, words in sorted(self.raised.items())[:2])
        waiting = ", ".join(f"{self._who(rank)} stood in {place}" for rank, place in sorted(self.stood.items())[:4])
        if self.silent:
            names = " or ".join(self._who(rank) for rank in self.silent[:4])
            return f"{names} ended without a word (killed, or left by os._exit)" + (f"; {waiting}" if waiting else "")
        return waiting or "no process left a trace"

    def _who(self, rank: int) -> str:
        alone = len(self.finished) + len(self.raised) + len(self.stood) + len(self.silent) == 1
        return "it" if alone else f"rank {rank}"


def read(directory: Path) -> Testimony:
    """Read what the ranks of a launch left."""
    finished, raised, stood, silent = [], {}, {}, []
    for path in sorted((directory / FOLDER).glob("*.rank")):
        rank = int(path.stem)
        words = path.read_text().splitlines()[1:]
        trace = path.with_suffix(".trace").read_text() if path.with_suffix(".trace").exists() else ""
        if DONE in words:
            finished.append(rank)
        elif words and words[-1].startswith(LEFT_ALONE):
            stood[rank] = words[-1].removeprefix(LEFT_ALONE)
        elif words:
            raised[rank] = words[-1]
        elif "Fatal Python error" in trace:
            raised[rank] = trace.split("Fatal Python error: ")[1].splitlines()[0] + " in " + _place(trace)
        elif trace:
            stood[rank] = _place(trace)
        else:
            silent.append(rank)
    return Testimony(finished, raised, stood, silent)


def clear(directory: Path) -> None:
    """Remove the files before the next launch."""
    for path in (directory / FOLDER).glob("*"):
        path.unlink()
    with contextlib.suppress(OSError):
        (directory / FOLDER).rmdir()


def _path(directory: Path, rank: int) -> Path:
    return directory / FOLDER / f"{rank}.rank"


def _place(trace: str) -> str:
    """Find in a faulthandler trace the innermost line of the program."""
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', trace)
    ours = [f for f in frames if _of_the_program(f[0])]
    return next((f"{name} ({Path(file).name}:{line})" for file, line, name in ours or frames), "native code")


def _of_the_program(file: str) -> bool:
    """Tell whether a file is of the lab or its topic, not of the shared part or of a library."""
    return Path(file).parent.name != "parlab" and "site-packages" not in Path(file).parts
