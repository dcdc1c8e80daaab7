"""Where counters lie: addresses, shared lines, aligned memory."""

import os
import platform
from pathlib import Path

import pytest

from parlab.openmp_like import lines
from parlab.openmp_like.lines import PAGE, WORD, Layout, line_bytes


def test_the_machine_tells_its_line() -> None:
    size, _ = line_bytes()
    assert size & (size - 1) == 0
    assert 16 <= size <= 256


def test_who_tells_the_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {lines.SYSCONF: 128}
    monkeypatch.setattr(os, "sysconf", answers.__getitem__)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(lines, "SYSFS", tmp_path / "size")
    assert line_bytes() == (128, "sysconf")
    answers[lines.SYSCONF] = 0  # what some systems answer
    assert line_bytes() == (64, "assumed: the machine does not tell")
    (tmp_path / "size").write_text("32\n")
    assert line_bytes() == (32, "sysfs")
    (tmp_path / "size").unlink()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    answers[lines.SYSCONF] = 7  # some other question, elsewhere
    assert line_bytes() == (64, "assumed: the machine does not tell")


@pytest.mark.parametrize(
    ("layout", "threads", "bins", "shared"),
    [
        (Layout(8, 16), 2, 8, 2),  # (bins, threads): both lines
        (Layout(8, 32), 4, 8, 4),
        (Layout(8, 8), 1, 8, 0),  # alone
        (Layout(64), 2, 8, 0),  # a row is a line
        (Layout(64, offset=32), 2, 8, 1),
        (Layout(64, offset=32), 4, 8, 3),
        (Layout(128, offset=32), 4, 8, 0),  # off the line, yet apart
        (Layout(80), 4, 8, 2),  # a pad of less than a line goes wrong from some thread on
        (Layout(80, offset=16), 2, 8, 1),
        (Layout(8), 16, 1, 2),  # counters next to each other
        (Layout(32), 4, 1, 2),
        (Layout(64), 4, 1, 0),
        (Layout(512), 2, 64, 0),
        (Layout(512, offset=32), 2, 64, 1),
    ],
)
def test_shared_lines(layout: Layout, threads: int, bins: int, shared: int) -> None:
    assert layout.shared_lines(threads, bins, 64) == shared


def test_a_line_is_as_long_as_the_machine_says() -> None:
    assert Layout(64).shared_lines(4, 8, 128) == 2


@pytest.mark.parametrize("layout", [Layout(8, 24), Layout(64), Layout(64, offset=32), Layout(320), Layout(8, 32, 40)])
def test_both_views_are_the_same_memory_at_the_addresses(layout: Layout) -> None:
    words, tallies = layout.place(3, 8)
    start = words.ctypes.data - layout.offset
    assert start % PAGE == 0
    assert words.flags.c_contiguous
    assert not tallies.any()
    addresses = layout.addresses(3, 8)
    for t in range(3):
        for b in range(8):
            tallies[t, b] = 100 * t + b
            assert words[t * layout.per_thread // WORD + b * layout.per_bin // WORD] == 100 * t + b
            assert tallies[t : t + 1, b:].ctypes.data - start == addresses[t, b]


@pytest.mark.parametrize("layout", [Layout(56), Layout(8), Layout(0)])
def test_two_counters_at_one_address_are_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match="one address"):
        layout.place(2, 8)


@pytest.mark.parametrize("distances", [(4,), (64, 4), (64, 8, 4), (-64,)])
def test_distances_are_whole_words(distances: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        Layout(*distances)
