"""Every lab end to end on the smoke budget: through the command line and by hand, with its records, tables and pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parlab import catalogue, launch, plots, records, results
from parlab.machine import cores
from parlab.records import Comparison, Conclusion, Fault, Measurement, measured

# Those of GPUs run on the stand-in, each in the tests of its topic.
LABS = [id for id, lab in catalogue.labs().items() if not lab.gpus]
CORES = cores()


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_runs_and_its_records_tables_and_picture_are_complete(lab: str, tmp_path: Path) -> None:
    if reason := catalogue.labs()[lab].missing():
        pytest.skip(reason)
    threads = "threads" in catalogue.labs()[lab].needs
    asked = {p for p in (1, 2, 3) if not threads or p <= CORES}
    workers = ",".join(map(str, asked))
    done = run("-m", "parlab", "run", lab, "--budget", "smoke", "--workers", workers, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results.read(tmp_path / "out")
    records = found.of(lab)
    assert not [r for r in records if isinstance(r, Fault)]
    assert [r for r in records if isinstance(r, Conclusion)]
    assert {m.workers for m in measured(records)} == ({2} if catalogue.labs()[lab].workers else asked)
    assert all(m.seconds.median > 0 for m in measured(records))
    assert not [m.case for m in measured(records) if m.workers <= CORES and m.how.get("oversubscribed")]
    assert len([m for m in measured(records) if m.verified]) > len(measured(records)) / 2
    assert any(isinstance(r, Comparison) for r in records)
    for said in (r.sentence for r in records if isinstance(r, Conclusion)):
        assert said.split(":")[0][:20] in done.stdout.replace("\n", " ")
    picture, *_ = plots.draw(catalogue.labs()[lab], found, tmp_path)
    assert picture.read_text().count("<text") > 10
    assert "seconds" not in (tmp_path / "out" / f"{lab}.log").read_text()


def test_without_pytorch_every_lab_that_trains_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = [lab.missing() for lab in catalogue.labs().values() if lab.topic == "ddp"]
    assert found
    assert all("PyTorch" in (reason or "") for reason in found)


BY_HAND = {
    "mpi_farm": lambda script: launch.ranks(3, [script]),
    "graph_partition": lambda script: launch.Command(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", script]
    ),
}


@pytest.mark.parametrize("lab", BY_HAND)
def test_a_lab_started_by_hand_keeps_a_run_of_its_own_and_shows_it(lab: str, tmp_path: Path) -> None:
    if reason := catalogue.labs()[lab].missing():
        pytest.skip(reason)
    command = BY_HAND[lab](str(catalogue.labs()[lab].script))
    done = subprocess.run(
        [*command.argv, "--budget", "smoke", "--out", "mine"],
        env={**os.environ, **command.env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine/results.jsonl" in done.stdout
    assert done.stdout.count(catalogue.labs()[lab].question) == 1  # rank 0 alone speaks
    found = results.read(tmp_path / "mine")
    assert {m.workers for m in measured(found.records)} == {1, 2, 3}
    assert any(
        found.header["machine"].get(carrier, "").startswith(("Open MPI", "MPICH", "2.")) for carrier in ("mpi", "torch")
    )


def test_a_plain_python_starts_its_own_ranks(tmp_path: Path) -> None:
    script = str(catalogue.labs()["mpi_farm"].script)
    done = run(script, "--budget", "smoke", "--workers", "2", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {m.workers for m in measured(results.read(tmp_path / "out").records)} == {1, 2}


def test_a_dry_run_prints_command_lines_and_writes_nothing(tmp_path: Path) -> None:
    done = run("-m", "parlab", "run", "mpi", "--workers", "1,2", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) >= len([lab for lab in catalogue.labs().values() if lab.topic == "mpi"])
    assert all(" -m mpi4py " in line and "PARLAB_RUN=" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_topic_skips_a_lab_that_the_workers_do_not_suit(tmp_path: Path) -> None:
    done = run("-m", "parlab", "run", "mpi", "--workers", "3", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "# mpi_point_to_point: skipped: it runs on 2 workers, not on 3" in done.stdout.splitlines()
    assert "mpi_halo.py --workers" in done.stdout


def test_a_dry_run_inside_a_slurm_allocation_uses_srun(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "srun").chmod(0o755)
    env = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "8", "SLURM_JOB_NUM_NODES": "2"}
    env["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = run("-m", "parlab", "run", "mpi_farm", "--workers", "1,2,4", "--dry-run", cwd=tmp_path, env=env)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()  # the allocation knows its cores: one launch for all numbers of ranks
    assert " srun --mpi=pm" in line
    assert "--workers 1,2,4" in line


def test_the_numbers_of_ranks_beyond_the_cores_are_launched_apart(tmp_path: Path) -> None:
    from parlab.machine import cores

    workers = f"1,{cores()},{cores() + 1}"
    done = run("-m", "parlab", "run", "mpi_farm", "--workers", workers, "--dry-run", cwd=tmp_path)
    fits, beyond = done.stdout.splitlines()
    assert f"-n {cores()} " in fits
    assert "PARLAB_MORE=1" in fits  # the conclusions are left to the last launch
    assert f"-n {cores() + 1} " in beyond
    assert "PARLAB_MORE" not in beyond


def test_a_recorded_run_is_shown_again_with_its_pictures(tmp_path: Path) -> None:
    run("-m", "parlab", "run", "mpi_farm", "--budget", "smoke", "--workers", "1,2", "--out", "results/a", cwd=tmp_path)
    done = run("-m", "parlab", "show", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "speed-up" in done.stdout
    done = run("-m", "parlab", "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "a" / "mpi_farm.svg").stat().st_size > 2_000
    assert str(tmp_path / "results" / "a" / "report.html") in done.stdout


def test_an_empty_lab_says_hello_before_anything_heavy_is_loaded() -> None:
    """What a rank imports to time a message: neither SciPy nor Numba, matplotlib, rich, torch."""
    code = "import sys; sys.path.insert(0, 'labs'); import parlab.bench, parlab.ranks, parlab.by_rank\n"
    code += "print({'scipy', 'numba', 'matplotlib', 'rich', 'torch', 'PIL'} & set(sys.modules))"
    done = run("-c", code, cwd=Path(__file__).resolve().parents[1])
    assert done.stdout.strip() == "set()", done.stderr


def test_a_control_that_differs_from_itself_is_told_as_such() -> None:
    """The headline's control in the judge of mpi_collectives."""
    from parlab.bench import AGAIN
    from parlab.stats import Interval

    lab = catalogue.script("mpi_collectives")
    case: records.Case = {"op": "allreduce", "bytes": 1024, "algorithm": "library"}
    one = Measurement("l", case, 2, "ranks", Interval(1.0, 1.0, 1.0, 24), [1.0], {}, True)
    unlike = Comparison("l", {**case, "algorithm": "library" + AGAIN}, case, 2, Interval(1.3, 1.2, 1.4, 24), "faster")
    said = {sentence: holds for sentence, holds in lab.judge([one, unlike]) if "itself" in sentence}
    assert list(said.values()) == [False]


def test_units_read_well() -> None:
    from parlab import units
    from parlab.stats import Interval

    assert [units.seconds(t) for t in (2.5, 0.0125, 9.999e-7, 4.5e-8)] == ["2.5 s", "12.5 ms", "1 us", "45 ns"]
    assert [units.nbytes(n) for n in (0, 100, 2048, 3 << 20)] == ["0 B", "100 B", "2 KiB", "3 MiB"]
    assert units.rate(2e9, "B", 1.0) == "2 GB/s"
    assert units.interval(Interval(1.0, 0.9, 1.1, 24)) == "1 s ±10%"
    assert units.interval(Interval(1.0, float("-inf"), float("inf"), 3)) == "1 s ±?"
    assert units.span(Interval(1.5, 1.25, 1.75, 24)) == "1.50 [1.25, 1.75]"


def test_noise_above_a_tenth_is_marked() -> None:
    from parlab.header import noise_words
    from parlab.noise import lost_share

    assert noise_words({"0": 0.02, "1": 0.03}, {"0": 0.01})[1] is False
    words, loud = noise_words({"0": 0.02}, {"0": 0.4})
    assert loud
    assert "NOISY" in words
    shares = lost_share(0.01)
    assert len(shares) >= 1
    assert all(0 <= share < 1 for share in shares.values())


def test_the_machine_is_described() -> None:
    from parlab.machine import facts, one_line

    known = facts()
    assert known["cores_allowed"] >= 1
    assert known["memory_bytes"] > 2**28
    assert "numpy" in known["versions"]
    assert f"{known['cores_allowed']} cores" in one_line(known)


ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in (ROOT / "reference").glob("*/results.jsonl")))
def test_a_reference_run_can_be_read_and_names_its_machine(folder: str) -> None:
    found = results.read(ROOT / "reference" / folder)
    assert found.note is None
    assert found.header["machine"]["cores_allowed"] >= 2
    assert f"`{folder}`" in (ROOT / "reference" / "README.md").read_text()
    assert measured(found.records)
