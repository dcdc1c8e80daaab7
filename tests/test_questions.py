"""The questions: their file, the search, and which recorded conclusion answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from parlab import questions, results
from parlab.catalogue import RECORDED, labs
from parlab.errors import BadRequest
from parlab.questions import Question, Recorded
from parlab.records import Conclusion, Record, Run
from parlab.results import Writer

ALL = {question.id: question for question in questions.load()}
RUNS = [results.read(path, '"sentence"') for path in RECORDED.glob("*/results.jsonl")]
PLAIN = Question("q", "How fast?", "多快？", {"mpi_halo": "times", "mpi_farm": "faster"})


def recorded(folder: str, *said: tuple[str, str, bool | None], here: bool = False) -> Recorded:
    return Recorded(folder, Run({"start": folder}, [Conclusion(*one) for one in said]), here)


def command(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "parlab", "questions", *arguments]
    return subprocess.run(line, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


def test_every_question_stands_in_both_languages_and_has_labs() -> None:
    assert len(ALL) == len(questions.load()) > 20
    for question in ALL.values():
        assert question.en.isascii()
        assert question.en.endswith("?")
        assert question.zh.endswith("？")
        assert cell_len(question.zh) <= 78  # rich breaks Chinese at spaces only: one line of a terminal holds it
        assert question.labs.keys() <= labs().keys()


@pytest.mark.parametrize("id", ALL)
def test_the_answer_of_each_lab_is_found_in_every_record_of_it(id: str) -> None:
    for lab in ALL[id].labs:
        for run in RUNS:
            if any(isinstance(r, Conclusion) and r.lab == lab for r in run.records):
                assert ALL[id].concluded(lab, run), f"{id}: no conclusion of {lab} answers"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["FALSE"], {"false-sharing"}),
        (["伪共享"], {"false-sharing"}),
        (["mpi_farm"], {"load-balance"}),
        (["load-bal", "UNEVEN"], {"load-balance"}),
        (["rdma", "单边"], {"rdma"}),
        ([], set(ALL)),
    ],
)
def test_all_words_must_occur_in_a_question_its_id_or_its_labs(words: list[str], found: set[str]) -> None:
    assert {question.id for question in questions.find(words)} == found


def test_words_that_no_question_mentions_are_refused() -> None:
    with pytest.raises(BadRequest, match="no question mentions stream and heaven"):
        questions.find(["stream", "heaven"])


def test_of_a_run_the_last_conclusion_that_could_be_told_answers() -> None:
    said: list[Record] = [
        Conclusion("mpi_halo", "1 rank: 1 times", True),
        Conclusion("mpi_halo", "2 ranks: 2 times", False),
        Conclusion("mpi_halo", "4 ranks: 3 times", None),
        Conclusion("mpi_halo", "something else", True),
        Conclusion("mpi_farm", "5 times", True),
    ]
    assert PLAIN.concluded("mpi_halo", Run({}, said)) == said[1]
    assert PLAIN.concluded("mpi_halo", Run({}, said[2:])) == said[2]
    assert PLAIN.concluded("mpi_farm", Run({}, said)) is None


def test_each_lab_answers_from_the_first_run_that_has_an_answer() -> None:
    first = recorded("results/b", ("mpi_halo", "2 times", None), here=True)
    second = recorded("results/a", ("mpi_halo", "3 times", True), ("mpi_farm", "faster", True), here=True)
    halo, farm = PLAIN.answers([first, second])
    assert (halo.said, halo.where) == (first.run.records[0], first.words)
    assert (farm.said, farm.where) == (second.run.records[1], second.words)
    nothing = next(PLAIN.answers([]))
    assert (nothing.said, nothing.where, nothing.command) == (None, "", "parlab run mpi_halo")


def test_runs_made_here_come_first_the_latest_before_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("2", "10", "cut"):
        writer = Writer(tmp_path / "results" / name)
        writer.begin({"start": f"{name:>4}", "machine": {"cpu": "Z80"}})
        writer.write(Conclusion("mpi_halo", "2 times", True))
    (tmp_path / "results" / "cut" / results.FILE).write_text("no record")
    found = questions.recorded()
    assert [r.folder for r in found[:2]] == ["results/10", "results/2"]
    assert found[0].words == "measured here, on Z80, ? cores, memory unknown: results/10"
    rest = found[2:]
    assert {r.folder for r in rest} == {f"reference/{path.parent.name}" for path in RECORDED.glob("*/results.jsonl")}
    assert all(r.words.startswith("recorded on ") for r in rest)
    starts = [r.run.header["start"] for r in rest]
    assert starts == sorted(starts, reverse=True)


def test_reading_the_conclusions_alone_loses_none() -> None:
    for path in RECORDED.glob("*-cuda/results.jsonl"):
        whole = [r for r in results.read(path).records if isinstance(r, Conclusion)]
        assert results.read(path, '"sentence"').records == whole != []


def test_the_command_prints_both_languages_or_one_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    both = command("STREAM_OVERLAP", "one-to", cwd=tmp_path)
    question = ALL["one-to-many"]
    assert both.returncode == 0
    assert question.en in both.stdout
    assert question.zh in both.stdout
    assert "parlab run stream_overlap" in both.stdout
    assert "holds: " in both.stdout
    assert "recorded on " in both.stdout
    chinese = command("one-to", "--lang", "zh", cwd=tmp_path).stdout
    assert question.zh in chinese
    assert question.en not in chinese
    wrong = command("heaven", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)


def test_the_answers_are_there_as_json(tmp_path: Path) -> None:
    (told,) = json.loads(command("one-to", "--json", cwd=tmp_path).stdout)
    assert (told["id"], told["zh"]) == ("one-to-many", ALL["one-to-many"].zh)
    (answer,) = told["labs"]
    assert answer["command"] == "parlab run stream_overlap"
    assert answer["said"]["holds"] in (True, False, None)
    assert "reference/" in answer["where"]


def test_a_folder_of_labs_of_ones_own_needs_no_questions(tmp_path: Path) -> None:
    (tmp_path / "labs.toml").write_text("lab = []\n[topics]\n")
    done = command(cwd=tmp_path, PARLAB_LABS=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from parlab.table import console

    monkeypatch.setattr(console, "width", 80)
    with console.capture() as shown:
        questions.show(ALL.values(), ("en", "zh"))
    assert max(map(cell_len, shown.get().splitlines())) <= 80
    assert all(question.zh in shown.get() for question in ALL.values())
