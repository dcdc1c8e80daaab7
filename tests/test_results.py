"""Records: what is written is read back, and a damaged, newer or missing file gives one clear line."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import records, results
from parlab.errors import BadRequest, ParlabError
from parlab.records import Comparison, Conclusion, Curve, Fault, Limit, Measurement, Noise, Record, Skip
from parlab.results import Writer
from parlab.stats import Interval

MEASUREMENT = Measurement(
    lab="mpi_collectives",
    case={"op": "allreduce", "algorithm": "ring", "bytes": 1024},
    workers=4,
    kind="ranks",
    seconds=Interval(1e-3, 0.9e-3, 1.1e-3, 24),
    samples=[1e-3, 1.1e-3],
    work={"bytes": 1024.0},
    verified=True,
    bound=Limit("copy", 1e-4),
    prediction=None,
    how={"batch": 2, "dropped": 1},
    facts={"imbalance": 1.5},
)
ALL: list[Record] = [
    MEASUREMENT,
    Comparison(
        "mpi_collectives", {"algorithm": "ring"}, {"algorithm": "library"}, 4, Interval(1.2, 1.1, 1.3, 24), "faster"
    ),
    Conclusion("mpi_collectives", "环形算法 wins", None),
    Curve(
        "mpi_halo", "t", "batch", "steps", {"a": [(1.0, 2.0, 1.5, 2.5)], "model": [(1.0, 2.0), (2.0, 3.0)]}, True, False
    ),
    Skip("mpi_halo", "no mpirun"),
    Fault("mpi_farm", "rank 1: ValueError: boom"),
    Noise({"0": 0.02}),
]


def written(folder: Path, records: list[Record]) -> Path:
    writer = Writer(folder)
    writer.begin({"budget": "quick"})
    for record in records:
        writer.write(record)
    return writer.path


def test_every_kind_of_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written(tmp_path, ALL)
    run = results.read(tmp_path)
    assert run.records == ALL
    assert run.header == {"budget": "quick"}
    assert run.note is None


def test_each_line_is_one_json_object_with_the_version_and_no_rate(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in written(tmp_path, ALL).read_text().splitlines()]
    assert [line["v"] for line in lines] == [1] * (len(ALL) + 1)
    assert "run" in lines[0]
    assert lines[1]["seconds"] == {"median": 1e-3, "low": 0.9e-3, "high": 1.1e-3, "n": 24}


@given(st.floats(1e-9, 1e3), st.integers(0, 5))
def test_an_unbounded_interval_survives(median: float, n: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        few = Interval(float(f"{median:.6g}"), -math.inf, math.inf, n)
        written(Path(folder), [Comparison("a", {}, {}, 1, few, "cannot tell")])
        (record,) = results.read(Path(folder)).records
        assert isinstance(record, Comparison)
        assert record.ratio == few


def test_a_record_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, ALL[:1])
    assert len(path.read_text().splitlines()) == 2  # no close, no flush by the caller


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_file_cut_in_its_last_line_keeps_all_before_it(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, ALL)
    path.write_bytes(path.read_bytes()[:-cut])
    run = results.read(tmp_path)
    assert run.records[: len(ALL) - 1] == ALL[:-1]
    assert cut == 1 or (run.note is not None and "last line is cut" in run.note)


def test_a_line_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, ALL)
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:20]
    path.write_text("\n".join(lines))
    with pytest.raises(BadRequest, match="line 3"):
        results.read(tmp_path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ALL)
    path.write_text(path.read_text().replace('"v": 1', '"v": 2'))
    with pytest.raises(BadRequest, match="newer parlab"):
        results.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{}\n", "hello\nworld\n", '{"v": 1, "run": 3}\n{"v": 1}\n{"v": 1}\n'])
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / results.FILE).write_text(text)
    with pytest.raises(BadRequest) as refused:
        results.read(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    written(tmp_path, [])
    with pytest.raises(BadRequest, match="already holds a run"):
        Writer(tmp_path).begin({})


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match="cannot write"):
        Writer(tmp_path / "file" / "below").begin({})


def test_a_full_disk_keeps_what_was_written_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file size limit stands for the disk: the kernel cuts the write short, then refuses."""
    import resource
    import signal

    path = written(tmp_path, ALL[:1])
    before = path.read_bytes()
    monkeypatch.setattr(signal, "SIGXFSZ", signal.SIGXFSZ)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
    try:
        with pytest.raises(ParlabError, match="records before it are kept"):
            Writer(tmp_path).write(MEASUREMENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    Writer(tmp_path).write(Skip("x", "y"))
    assert len(results.read(tmp_path).records) == 2


def test_the_records_of_one_lab_and_case_are_found(tmp_path: Path) -> None:
    assert records.measured(ALL, 4, op="allreduce") == [MEASUREMENT]
    assert records.measured(ALL, 2) == []
    assert records.compared(ALL, algorithm="ring") == [ALL[1]]
    assert records.all_say([], "faster") is None
    assert records.all_say(records.compared(ALL), "faster") is True
    assert records.all_say(records.compared(ALL), "slower") is False


def test_two_processes_may_append_to_one_run(tmp_path: Path) -> None:
    """The launcher and rank 0 do: every line must stay whole."""
    written(tmp_path, [])
    children = []
    for _ in range(2):
        if (pid := os.fork()) == 0:
            for _ in range(200):
                Writer(tmp_path).write(MEASUREMENT)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    assert len(results.read(tmp_path).records) == 400
