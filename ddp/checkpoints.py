"""Checkpoints that a kill, at whatever moment, leaves whole; and that another number of workers can load.

The state of a training is a few flat vectors of one length (the weights, and what the optimizer keeps for each of them), of which every
worker holds a slice. Each worker writes its slices into a file of its own, a shard. When all shards are on the disk, worker 0 writes the
manifest, which names them with their digests: from then on the checkpoint is complete, and only then are older ones removed. A kill before
that moment leaves the one before. Every file gets its name after its bytes: written under another name in the same folder, fsync, rename,
and an fsync of the folder, without which the rename may be lost with the power.
Source: Pillai et al., All File Systems Are Not Created Equal, OSDI 2014.
"""

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

KEEP = 2  # complete checkpoints; the older one serves where a disk lost bytes of the newer
MANIFEST = ".json"
PART = ".part"  # what a file is called while it is written


@dataclass(frozen=True)
class Shard:
    """A file that holds the elements from `first` on, `count` of them, of each vector; digest: its SHA-256."""

    file: str
    first: int
    count: int
    digest: str


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: the step after which it was written, and its shards in the order of their elements."""

    step: int
    shards: list[Shard]

    @property
    def length(self) -> int:
        """Return the number of elements of each vector."""
        return self.shards[-1].first + self.shards[-1].count


class SaveFailed(OSError):
    """A checkpoint that could not be written, told to all workers alike; those before it are as they were."""


def save(folder: Path, step: int, first: int, slices: Mapping[str, Tensor], group: dist.ProcessGroup) -> None:
    """Write the checkpoint of a step, all workers of the group together; when it returns, the checkpoint is complete.

    slices: this worker's part of each vector, from element `first` on, 1-D and of one length. Raises SaveFailed on all workers alike.
    """
    _complete(folder, step, lambda: write_shard(folder, step, group.rank(), first, slices), group)


class Background:
    """Saves while the training goes on: it waits for a copy of the slices only. A checkpoint is complete when the next one is begun.

    A kill may then cost the steps of two intervals, where `save` costs those of one.
    """

    def __init__(self, folder: Path, group: dist.ProcessGroup) -> None:
        self.folder, self.group, self.writer = folder, group, ThreadPoolExecutor(1)
        self.writing: tuple[int, Future[Shard]] | None = None

    def save(self, step: int, first: int, slices: Mapping[str, Tensor]) -> None:
        """Complete the checkpoint before this one and begin this one. Raises SaveFailed, for the one before, on all workers alike."""
        self.finish()
        copies = {name: vector.detach().to("cpu", copy=True) for name, vector in slices.items()}
        self.writing = step, self.writer.submit(write_shard, self.folder, step, self.group.rank(), first, copies)

    def finish(self) -> None:
        """Complete the checkpoint that is being written, if any."""
        if self.writing:
            (step, shard), self.writing = self.writing, None
            _complete(self.folder, step, shard.result, self.group)


def _complete(folder: Path, step: int, shard: Callable[[], Shard], group: dist.ProcessGroup) -> None:
    """Have each worker's shard made, tell all of them about each other's, and have worker 0 write the manifest."""
    shards = _together(shard, folder, step, group)

    def manifest() -> None:
        if group.rank() == 0:
            complete(folder, step, shards)

    _together(manifest, folder, step, group)


def _together(work: Callable[[], Any], folder: Path, step: int, group: dist.ProcessGroup) -> list[Any]:
    """Do each worker's work; return what came of it, by rank. What fails on one of them is raised on all."""
    try:
        mine = work()
    except OSError as error:
        mine = SaveFailed(f"worker {group.rank()}: {error.strerror or error}")
    done: list[Any] = [None] * group.size()
    dist.all_gather_object(done, mine, group=group)
    if failed := [str(one) for one in done if isinstance(one, SaveFailed)]:
        before = latest(folder)
        kept = f"that of step {before.step} is whole" if before else "there is none before it"
        raise SaveFailed(f"checkpoint of step {step} in {folder}: {'; '.join(failed)}; {kept}")
    return done


def write_shard(folder: Path, step: int, rank: int, first: int, slices: Mapping[str, Tensor]) -> Shard:
    """Write one worker's slices; return what the manifest is to say of them. Raises OSError, as `write` does."""
    buffer = io.BytesIO()
    apart = {name: vector.detach().cpu().clone() for name, vector in slices.items()}  # torch saves all behind a view
    torch.save(apart, buffer)
    shard = Shard(f"{step:08d}.{rank}.shard", first, len(next(iter(slices.values()))), _digest(buffer.getbuffer()))
    write(folder / shard.file, buffer.getbuffer())
    return shard


def complete(folder: Path, step: int, shards: list[Shard], keep: int = KEEP) -> None:
    """Write the manifest of shards that are on the disk, and remove what is older than the last `keep` checkpoints."""
    told = json.dumps(asdict(Checkpoint(step, shards))).encode()
    write(folder / f"{step:08d}{MANIFEST}", told + b"\n" + _digest(told).encode())
    oldest = sorted(folder.glob("*" + MANIFEST))[-keep:][0].stem
    for path in folder.iterdir():
        if path.name < oldest:  # steps have eight digits: in the order of their names
            os.unlink(path)


def write(path: Path, data: bytes | memoryview) -> None:
    """Put a file in its place, on the disk, whole or not at all. Raises OSError, on a full disk say, and takes away what was written."""
    part = path.with_name(path.name + PART)
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def latest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that is whole; None where there is none. Warns of those whose bytes are not those that were written."""
    for path in sorted(folder.glob("*" + MANIFEST), reverse=True):
        found = _whole(path)
        if isinstance(found, Checkpoint):
            return found
        warnings.warn(f"{path}: {found}; the checkpoint before it is used", stacklevel=2)
    return None


def _whole(path: Path) -> Checkpoint | str:
    """Read a manifest; return its checkpoint, or which file is not as it was written."""
    told, _, digest = path.read_bytes().rpartition(b"\n")
    if _digest(told).encode() != digest:
        return "the manifest is damaged"
    fields = json.loads(told)
    checkpoint = Checkpoint(fields["step"], [Shard(**shard) for shard in fields["shards"]])
    for shard in checkpoint.shards:
        try:
            if _digest((path.parent / shard.file).read_bytes()) != shard.digest:
                return f"{shard.file} is damaged"
        except OSError as error:
            return f"{shard.file}: {error.strerror}"
    return checkpoint


def load(folder: Path, checkpoint: Checkpoint, first: int, end: int) -> dict[str, Tensor]:
    """Return the elements first..end - 1 of each vector, whichever shards they lie in: those of a worker of any number of workers."""
    pieces: dict[str, list[Tensor]] = {}
    for shard in checkpoint.shards:
        mine = slice(max(first - shard.first, 0), max(end - shard.first, 0))
        if mine.start < min(mine.stop, shard.count):
            for name, vector in torch.load(folder / shard.file, weights_only=True).items():
                pieces.setdefault(name, []).append(vector[mine])
    return {name: torch.cat(found) for name, found in pieces.items()}


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
