"""C loops are compiled for this machine and run on OpenMP's threads; where that cannot be, one line says why."""

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parlab.openmp_like import gcc

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

SQUARES = """
#include <omp.h>

int squares(long n, double *x, int threads) {
    int seen = 0;
    #pragma omp parallel num_threads(threads)
    {
        #pragma omp single
        seen = omp_get_num_threads();
        #pragma omp for
        for (long i = 0; i < n; i++) x[i] *= x[i];
    }
#ifdef NEGATIVE
    seen = -seen;
#endif
    return seen;
}
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Put sources where `load` looks for them."""
    monkeypatch.setattr(gcc, "__file__", str(tmp_path / "gcc.py"))
    gcc.load.cache_clear()

    def put(text: str) -> str:
        (tmp_path / "loops.c").write_text(text)
        return "loops.c"

    return put


@needs_gcc
def test_a_loop_is_compiled_with_openmp_and_the_flags_asked_for(write: Write) -> None:
    name = write(SQUARES)
    x = (ctypes.c_double * 1000)(*range(1000))
    assert gcc.load(name).squares(ctypes.c_long(1000), x, 2) == 2  # two threads: OpenMP is on
    assert list(x) == [i * i for i in range(1000)]
    assert gcc.load(name, "-DNEGATIVE").squares(ctypes.c_long(0), x, 3) == -3


@needs_gcc
def test_a_source_is_compiled_once_for_the_same_flags(write: Write) -> None:
    name = write(SQUARES)
    assert gcc.load(name) is gcc.load(name)
    assert gcc.load(name) is not gcc.load(name, "-DNEGATIVE")


@needs_gcc
def test_a_changed_source_is_another_library(write: Write) -> None:
    """The loader knows a library by its path: under the same name it would give back the first."""
    first = gcc.load(write("int answer(void) { return 1; }"))
    gcc.load.cache_clear()
    second = gcc.load(write("int answer(void) { return 2; }"))
    assert (first.answer(), second.answer()) == (1, 2)


@needs_gcc
def test_a_broken_source_is_told_in_one_line(write: Write) -> None:
    with pytest.raises(
        RuntimeError, match=r"gcc cannot compile loops\.c with .*-fopenmp.*: .*loops\.c:1:.* error: "
    ) as told:
        gcc.load(write("int answer(void) { return x; }"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("named", [None, "no-such-compiler"])
def test_no_compiler_is_told_in_one_line(
    named: str | None, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC", raising=False)
    if named:
        monkeypatch.setenv("CC", named)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeError, match=r"^no C compiler \(gcc, or what CC names\) on PATH: the comparison with C is left out$"
    ):
        gcc.load(write(SQUARES))


def test_a_compiler_without_openmp_is_told_in_one_line(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'cc: error: unsupported option -fopenmp' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(
        RuntimeError, match=r"^cc cannot compile loops\.c with .*: cc: error: unsupported option -fopenmp$"
    ):
        gcc.load(write(SQUARES))
