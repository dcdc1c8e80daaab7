"""A checkpoint is whole or was never there: cut short at every system call and byte, with the power gone, damaged, on a full disk."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from parlab.ddp import checkpoints, checkpoints_by_torch
from parlab.ddp.checkpoints import Background, SaveFailed, complete, latest, load, save, write_shard

if TYPE_CHECKING:
    from parlab.workers import Workers

LENGTH = 7


def vectors(step: int, length: int = LENGTH) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(step)
    return {name: torch.randn(length, generator=noise) for name in ("weights", "exp_avg")}


def part(whole: dict[str, Tensor], first: int, end: int) -> dict[str, Tensor]:
    return {name: vector[first:end] for name, vector in whole.items()}


def save_alone(folder: Path, step: int) -> None:
    complete(folder, step, [write_shard(folder, step, 0, 0, vectors(step))], keep=1)


def save_two(folder: Path, step: int, keep: int = checkpoints.KEEP) -> None:
    """What two workers do together, one after the other."""
    shards = [write_shard(folder, step, 0, 0, part(vectors(step), 0, 4))]
    shards += [write_shard(folder, step, 1, 4, part(vectors(step), 4, LENGTH))]
    complete(folder, step, shards, keep)


def found(folder: Path) -> int | None:
    """The step of the latest checkpoint, which must hold what was saved."""
    checkpoint = latest(folder)
    if checkpoint is None:
        return None
    assert same(load(folder, checkpoint, 0, checkpoint.length), vectors(checkpoint.step))
    return checkpoint.step


def same(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


class Killed(BaseException):
    """Not an Exception: what is killed does not clean up."""


class Os:
    """The module os as the checkpoints see it; tests change what its calls do."""

    def __init__(self) -> None:
        self.names: dict[int, Path] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        file = os.open(path, flags, mode)
        self.names[file] = path
        return file


class Dying(Os):
    """Lets so many system calls and so many bytes pass; then the process is dead."""

    def __init__(self, calls: float = float("inf"), size: float = float("inf")) -> None:
        super().__init__()
        self.calls, self.size = calls, size

    def one(self) -> None:
        if self.calls <= 0 or self.size <= 0:
            raise Killed
        self.calls -= 1

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self.one()
        return super().open(path, flags, mode)

    def write(self, file: int, data: memoryview) -> int:
        self.one()
        count = os.write(file, data[: int(min(self.size, len(data)))])
        self.size -= count
        return count

    def fsync(self, file: int) -> None:
        self.one()

    def replace(self, here: Path, there: Path) -> None:
        self.one()
        os.replace(here, there)

    def unlink(self, path: Path) -> None:
        self.one()
        os.unlink(path)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Give the checkpoints another module os."""
    return lambda other: monkeypatch.setattr(checkpoints, "os", other)


def cut_short(folder: Path, system: Callable[[Any], None], dying: Dying, save: Callable[[Path, int], None]) -> bool:
    """Save step 2 after step 1 by a process that dies; tell whether it died. One of them must be whole: once all was done, the new one."""
    system(dying)
    try:
        save(folder, 2)
    except Killed:
        died = True
    else:
        died = False
    system(os)
    step = found(folder)
    assert step == 2 if not died else step in (1, 2)
    if step == 2:
        shutil.rmtree(folder)
        folder.mkdir()
        save(folder, 1)
    return died


@pytest.mark.filterwarnings("error")  # a kill is no damage
def test_cut_short_at_every_system_call_the_former_or_the_new_one_is_whole(
    tmp_path: Path, system: Callable[[Any], None]
) -> None:
    save_two(tmp_path, 1, keep=1)
    calls = 0
    while cut_short(tmp_path, system, Dying(calls=calls), partial(save_two, keep=1)):
        calls += 1
    assert calls >= 3 * 6 + 3  # open, write, fsync, replace, open, fsync of each file; three to remove


@pytest.mark.filterwarnings("error")  # a kill is no damage
def test_cut_short_after_every_byte_the_former_or_the_new_one_is_whole(
    tmp_path: Path, system: Callable[[Any], None]
) -> None:
    save_alone(tmp_path, 1)
    size = 0
    while cut_short(tmp_path, system, Dying(size=size), save_alone):
        size += 1
    assert size > 1000


class Log(Os):
    """Notes what is done to the folder, so that a loss of power can be thought through. deaf: what the disk is not told."""

    def __init__(self, deaf: str) -> None:
        super().__init__()
        self.deaf = deaf
        self.done: list[tuple[str, Any, Any]] = []

    def write(self, file: int, data: memoryview) -> int:
        self.done.append(("write", self.names[file].name, bytes(data)))
        return os.write(file, data)

    def fsync(self, file: int) -> None:
        kind = "folder" if self.names[file].is_dir() else "file"
        if kind != self.deaf:
            self.done.append((kind, self.names[file].name, None))

    def replace(self, here: Path, there: Path) -> None:
        self.done.append(("rename", here.name, there.name))
        os.replace(here, there)

    def unlink(self, path: Path) -> None:
        self.done.append(("unlink", path.name, None))
        os.unlink(path)


Folder = dict[str, bytes]


def after_power_loss(before: Folder, done: list[tuple[str, Any, Any]]) -> Iterator[Folder]:
    """Yield what may be on the disk: any of the renames and removals since the last fsync of the folder, of files not synced a half."""
    names = {name: name for name in before}  # of files in the folder, as the disk knows them
    files, synced = dict(before), set(before)
    pending: list[tuple[str, Any, Any]] = []
    inside: dict[str, str] = {}
    for number, (kind, name, more) in enumerate(done):
        if kind == "write":
            inside[name] = f"{name}, {number}"
            files[inside[name]] = more
        elif kind == "file":
            synced.add(inside[name])
        elif kind == "folder":
            names, pending = applied(names, pending), []
        else:
            pending.append((kind, inside.get(name, name), more or name))
    for count in range(len(pending) + 1):
        for some in combinations(pending, count):
            there = applied(names, list(some))
            yield {
                name: files[file] if file in synced else files[file][: len(files[file]) // 2]
                for name, file in there.items()
            }


def applied(names: dict[str, str], pending: list[tuple[str, Any, Any]]) -> dict[str, str]:
    names = dict(names)
    for kind, file, name in pending:
        if kind == "rename":
            names[name] = file
        else:
            names.pop(name, None)
    return names


@pytest.mark.filterwarnings("ignore:.*the checkpoint before it is used")
@pytest.mark.parametrize(("deaf", "safe"), [("", True), ("file", False), ("folder", False)])
def test_a_loss_of_power_at_any_moment_leaves_a_whole_one_if_and_only_if_all_was_synced(
    deaf: str, safe: bool, tmp_path: Path, system: Callable[[Any], None]
) -> None:
    """By a model of the disk, since we cannot cut the power: what was not synced may be there, half there, or not."""
    here, disk = tmp_path / "here", tmp_path / "disk"
    here.mkdir()
    save_two(here, 1)
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    log = Log(deaf)
    system(log)
    save_two(here, 2, keep=1)
    system(os)
    lost = tried = 0
    for moment in range(len(log.done) + 1):
        for left in after_power_loss(before, log.done[:moment]):
            shutil.rmtree(disk, ignore_errors=True)
            disk.mkdir()
            for name, data in left.items():
                (disk / name).write_bytes(data)
            tried += 1
            lost += found(disk) is None
    assert tried > 20
    assert (lost == 0) is safe


@pytest.mark.filterwarnings("ignore:.*the checkpoint before it is used")
def test_every_damaged_byte_is_noticed_and_the_checkpoint_before_is_used(tmp_path: Path) -> None:
    save_two(tmp_path, 1)
    save_two(tmp_path, 2)
    assert found(tmp_path) == 2
    for path, stride in ((tmp_path / "00000002.json", 1), (tmp_path / "00000002.1.shard", 41)):
        whole = path.read_bytes()
        for at in range(0, len(whole), stride):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.warns(UserWarning, match=r"00000002.*damaged; the checkpoint before it is used"):
                assert found(tmp_path) == 1
        path.write_bytes(whole)
    (tmp_path / "00000002.0.shard").unlink()
    with pytest.warns(UserWarning, match=r"00000002.0.shard: No such file"):
        assert found(tmp_path) == 1
    (tmp_path / "00000001.json").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"00000001.json: the manifest is damaged") as warned:
        assert found(tmp_path) is None
    assert len(warned) == 2


def test_two_checkpoints_are_kept_and_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "00000002.0.shard.part").touch()
    (tmp_path / "00000002.7.shard").touch()
    for step in (1, 3, 12):
        save_two(tmp_path, step)
    assert {path.name[:8] for path in tmp_path.iterdir()} == {"00000003", "00000012"}
    assert len(list(tmp_path.iterdir())) == 2 * 3


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    inner = draw(st.lists(st.integers(0, length), max_size=4))
    return [0, *sorted(inner), length]


@settings(deadline=None)
@given(st.data(), st.integers(1, 40))
def test_any_cut_can_be_loaded_by_any_other_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, length: int
) -> None:
    folder = tmp_path_factory.mktemp("reshard")
    whole = vectors(0, length)
    whole["weights"][0] = float("nan")
    ends = data.draw(cuts(length))
    saved = list(pairwise(ends))
    complete(folder, 0, [write_shard(folder, 0, k, a, part(whole, a, b)) for k, (a, b) in enumerate(saved)])
    checkpoint = latest(folder)
    assert checkpoint
    assert checkpoint.length == length
    ends = data.draw(cuts(length))
    parts = [load(folder, checkpoint, a, b) for a, b in pairwise(ends) if a < b]
    for name, vector in whole.items():
        again = torch.cat([one[name] for one in parts])
        assert torch.equal(again.view(torch.int32), vector.view(torch.int32))


class Full(Os):
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, file: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = os.write(file, data[: self.room])
        self.room -= count
        return count


def test_a_full_disk_leaves_the_former_and_nothing_of_the_new(tmp_path: Path, system: Callable[[Any], None]) -> None:
    save_two(tmp_path, 1)
    before = sorted(path.name for path in tmp_path.iterdir())
    for room in (0, 1, 500):
        system(Full(room))
        with pytest.raises(OSError, match="No space left"):
            write_shard(tmp_path, 2, 0, 0, part(vectors(2), 0, 4))
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    system(Full(100))
    with pytest.raises(OSError, match="No space left"):
        complete(tmp_path, 2, [checkpoints.Shard("00000002.0.shard", 0, 4, "x" * 64)], keep=1)
    system(os)
    assert found(tmp_path) == 1


@pytest.mark.workers(2)
def test_a_full_disk_of_one_worker_is_told_to_all_and_training_can_go_on(
    team: "Workers", tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(team.gathered(str(tmp_path_factory.mktemp("shared")))[0])
    first, end = [(0, 4), (4, LENGTH)][team.rank]

    def mine(step: int) -> dict[str, Tensor]:
        return part(vectors(step), first, end)

    save(folder, 1, first, mine(1), team.group)
    assert found(folder) == 1
    background = Background(folder, team.group)
    for culprit, room in ((1, 9), (0, 9), (0, 1400)):  # the last: the shard fits, the manifest does not
        monkeypatch.setattr(checkpoints, "os", Full(room) if team.rank == culprit else os)
        told = rf"checkpoint of step 2 in .*: worker {culprit}: No space left on device; that of step 1 is whole"
        with pytest.raises(SaveFailed, match=told):
            save(folder, 2, first, mine(2), team.group)
        team.barrier()
        monkeypatch.setattr(checkpoints, "os", Full(room) if team.rank == culprit else os)
        background.save(2, first, mine(2))
        with pytest.raises(SaveFailed, match=told):
            background.finish()
        assert found(folder) == 1
        team.barrier()
    monkeypatch.setattr(checkpoints, "os", os)
    slices = mine(3)
    background.save(3, first, slices)
    for vector in slices.values():
        vector.zero_()  # the training goes on, and changes what is being written
    assert found(folder) == 1  # not complete before the next
    team.barrier()
    background.save(4, first, mine(4))
    assert found(folder) == 3
    background.finish()
    assert found(folder) == 4


@pytest.mark.workers(4)
def test_torchs_checkpoints_fit_other_numbers_of_workers_too(
    team: "Workers", tmp_path_factory: pytest.TempPathFactory
) -> None:
    from parlab.workers import curve

    folder = Path(team.gathered(str(tmp_path_factory.mktemp("shared")))[0])
    whole = vectors(0, 1003)
    for pair in curve(team, [2]):
        mine = {name: vector.chunk(2)[pair.rank] for name, vector in whole.items()}
        checkpoints_by_torch.save(folder, mine, 1003, pair.group)
    for some in curve(team, [1, 4]):
        again = checkpoints_by_torch.load(folder, whole, 1003, some.group)
        assert same(again, {name: vector.chunk(some.size)[some.rank] for name, vector in whole.items()})
    dist.barrier()
