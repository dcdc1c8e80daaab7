"""PyOMP's side of the table: a form for each clause, how its end is told, and, where it is set up, what becomes of some."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

from parlab import catalogue
from parlab.openmp_like.clauses_table import CLAUSES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def lab() -> ModuleType:
    return catalogue.script("openmp_clauses")


def test_pyomp_has_a_form_for_each_clause() -> None:
    names: set[str] = set()
    for path in (ROOT / "openmp_like").glob("pyomp_*.py"):
        tree = ast.parse(path.read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and "clauses" in str(n.module)], path
        for table in (n.value for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)):
            names |= {key.value for key in table.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    assert names == {clause.name for clause in CLAUSES}


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("exit 0", "works"),
        ("echo 'element 1 is 0, not 9' >&2; exit 3", "silently wrong: element 1 is 0, not 9"),
        ("echo 'NotImplementedError: no' >&2; exit 1", "refused: NotImplementedError: no"),
        ("echo 'Fatal error @ a.cpp:3 :: Unsupported'; kill -ABRT $$", "aborts (SIGABRT): Unsupported"),
        ("sleep 30", "hangs"),
    ],
)
def test_how_a_form_of_pyomp_ended_is_told(
    does: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: ModuleType
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    monkeypatch.setattr(lab, "PYOMP", python)
    monkeypatch.setattr(lab, "LIMIT", 0.5)
    assert lab.attempt("private", tmp_path / "log").startswith(told)


def test_pyomp_itself(tmp_path: Path, lab: ModuleType) -> None:
    if not lab.PYOMP.exists():
        pytest.skip("PyOMP is not set up: make pyomp")
    assert lab.attempt("private", tmp_path / "a") == "works"
    assert lab.attempt("copyprivate", tmp_path / "b").startswith("silently wrong")
    assert lab.attempt("nowait", tmp_path / "c").startswith("aborts (SIGABRT)")
