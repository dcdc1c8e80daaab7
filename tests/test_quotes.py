"""Figures in documents: what counts as one, when it equals its record, and that those of all documents do."""

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab import quotes
from parlab.figures import Figure, by_kind, scan
from parlab.records import Conclusion
from parlab.results import Writer

SAID = "2 ranks: 1.34 ms, 1.96 [1.84, 2.10] times as fast, 61 % hidden ±3%, 55.3 GB/s in 22.9 KiB, 380 ktokens/s"
MARK = "<!-- from: reference/run mpi_halo -->"


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run in reference/run of another root: two labs, on a machine of 24 GiB."""
    writer = Writer(tmp_path / "reference" / "run")
    machine = {"cpu": "Z80", "memory_bytes": 24 * 2**30, "python": "3.11.7", "versions": {"numba": "0.68.1"}}
    writer.begin({"machine": machine, "noise_before": {"0": 0.02}})
    writer.write(Conclusion("mpi_halo", SAID, True))
    writer.write(Conclusion("mpi_farm", "2 ranks: 7.77 ms", None))
    monkeypatch.setattr(quotes, "ROOT", tmp_path)
    caches = (quotes.missing, quotes._numbers, quotes._lines, quotes._run)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def written(text: str) -> list[str]:
    return [figure.text for figure in scan(text) if not figure.counts][::-1]


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("2 ranks, 23 ways, 1000 x 1000 points, GPT-2, the 2nd, h200, 1-D", []),
        ("Open MPI 5.0.11, driver 580.159.04", []),
        ("126 ms, 55.3 GB/s, 0.9 us", ["126 ms", "55.3 GB/s", "0.9 us"]),
        ("792; 445; 387 %", ["792 %", "445 %", "387 %"]),
        ("157 to 164 %, 5.84 and 5.83 ms", ["157 %", "164 %", "5.84 ms", "5.83 ms"]),
        ("270 [264, 308] %", ["270 %", "264 %", "308 %"]),
        ("1.02 [0.97,\n  1.05]: it saves", ["1.02", "0.97", "1.05"]),
        ("3-4 ms, e -0.02, ±4%, 1e-6", ["3 ms", "4 ms", "-0.02", "±4 %", "1e-6"]),
        ("a factor 13.4 here, 477 times", ["13.4", "477 times"]),
        ("快约1.96倍，只要 20 秒", ["1.96 倍", "20 秒"]),
        ("1.5x, 3.31M", ["1.5", "3.31"]),
    ],
)
def test_a_figure_is_a_number_with_a_unit_or_a_decimal_point(text: str, figures: list[str]) -> None:
    assert written(text) == figures


def one(text: str) -> Figure:
    (figure,) = scan(text)
    return figure


@pytest.mark.parametrize(
    ("text", "told", "equal"),
    [
        ("1.34 ms", "1340 us", True),
        ("1 MiB", "1024 KiB", True),
        ("20 秒", "20 s", True),
        ("1.96 倍", "1.96", True),
        ("477 times", "477", True),
        ("61 %", "61", False),
        ("61 %", "±61%", False),
        ("2 GB/s", "2 GB", False),
        ("1.97", "1.96", False),
        ("5.70 ms", "5.7 ms", True),
        ("5.71 ms", "5.7 ms", False),
    ],
)
def test_only_a_number_of_the_same_kind_is_equal_in_whatever_unit(text: str, told: str, equal: bool) -> None:
    assert one(text).among(by_kind(scan(told))) is equal


NUMBERS = st.decimals("0.001", "99999", places=3)
DIGITS = st.integers(0, 3)


@given(NUMBERS, DIGITS, st.sampled_from(["ms", "us", "%", "GB/s", "KiB", "times"]))
def test_a_number_rounded_either_way_equals_it_and_the_next_one_does_not(
    number: Decimal, places: int, unit: str
) -> None:
    told = by_kind(scan(f"{number:f} {unit}"))
    step = Decimal(1).scaleb(-places)
    for way in (ROUND_HALF_UP, ROUND_HALF_EVEN):
        rounded = number.quantize(step, way)
        assert one(f"{rounded:f} {unit}").among(told)
        for other in (rounded + step, rounded - step):
            if other > 0 and abs(other - number) > step / 2:
                assert not one(f"{other:f} {unit}").among(told)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            f"{MARK} It takes 1.34 ms, hides 61 % and is 2.0 [1.84, 2.10] times as fast, on 24 GiB, with Python 3.11.",
            [],
        ),
        (f"{MARK} It takes 1.35 ms.", [(1, "1.35 ms: not in reference/run mpi_halo")]),
        (f"Here {MARK} it takes 1.34\nms and carries 53.3\nGB/s.", [(2, "53.3 GB/s: not in reference/run mpi_halo")]),
        ("It takes 1.34 ms.", [(1, "1.34 ms: no mark says where it comes from")]),
        (f"{MARK}\n## Next\n\n1.34 ms", [(4, "1.34 ms: no mark says where it comes from")]),
        (f"{MARK}\nA.\n\n- B: 55.3 GB/s\n  - C: 61 %\n\n| D |\n|---|\n| 22.9 KiB |", []),
        (
            f"| A | B |\n|---|---|\n| x {MARK} | 1.34 ms |\n| y | 1.43 ms |",
            [(4, "1.43 ms: not in reference/run mpi_halo")],
        ),
        (f"{MARK} 7.77 ms", [(1, "7.77 ms: not in reference/run mpi_halo")]),
        ("<!-- from: reference/run --> 7.77 ms", []),
        ("<!-- from: reference/run mpi_halo, reference/run mpi_farm --> 7.77 and 1.34 ms", []),
        ("<!-- from: reference/run mpi_halo; given: 9 %, 0.5 --> 61 %, beyond 9 % or 0.5", []),
        (
            "<!-- given: 9 % --> 8 %",
            [(1, "8 %: not in a record: the mark names none"), (1, "9 %: given, but it does not occur")],
        ),
        (
            "<!-- from: reference/run mpi_halos --> 1.34 ms",
            [(1, "1.34 ms: not in reference/run mpi_halos"), (1, "reference/run holds nothing of mpi_halos")],
        ),
        ("<!-- given: 9 %, 8 % --> 9 %", [(1, "8 %: given, but it does not occur")]),
        ("<!-- an aside: 5 ms -->\n\nA [link](of/5ms.svg), `code`.\n\n```python\nx = 0.5\n```", []),
        (
            "`0.5 ms` and\n\n    0.6 ms",
            [(1, "0.5 ms: no mark says where it comes from"), (3, "0.6 ms: no mark says where it comes from")],
        ),
    ],
)
@pytest.mark.usefixtures("record")
def test_a_figure_is_held_against_the_record_of_its_mark(text: str, wrong: list[tuple[int, str]]) -> None:
    assert quotes.errors(text) == wrong


@pytest.mark.usefixtures("record")
def test_a_mark_that_names_no_record_is_an_error() -> None:
    (wrong,) = quotes.errors("<!-- from: reference/nowhere mpi_halo -->\nNo figure.")
    assert wrong[0] == 1
    assert "cannot read" in wrong[1]


@pytest.mark.usefixtures("record")
def test_output_is_what_was_printed_line_by_line() -> None:
    shown = ["parlab on Z80, ? cores, 24 GiB", "...", f"  holds: {SAID}"]
    text = "\n".join([MARK, "```text", *shown, "```"])
    assert quotes.errors(text) == []
    assert quotes.errors(text.replace("55.3", "55.4")) == [
        (5, f"{shown[2].strip()[:50]}: not a line of reference/run mpi_halo")
    ]
    assert quotes.errors(text.replace(MARK, "")) == [(3, "output: no mark says from which record")]


@pytest.mark.usefixtures("record")
def test_the_command_names_file_line_and_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "reference")
    (tmp_path / "README.md").write_text(f"# A\n\n{MARK} 1.35 ms")
    (tmp_path / "mpi").mkdir()
    (tmp_path / "mpi" / "README.md").write_text(f"{MARK} 1.34 ms")
    assert quotes.main([]) == 1
    assert capsys.readouterr().out.startswith("../README.md:3: 1.35 ms: not in reference/run mpi_halo\n")
    assert quotes.main([str(tmp_path / "mpi" / "README.md")]) == 0
    assert quotes.main([str(tmp_path / "nowhere.md")]) == 2


@pytest.mark.parametrize("document", quotes.documents(), ids=lambda path: str(path.relative_to(quotes.ROOT)))
def test_the_figures_of_a_document_equal_their_records(document: Path) -> None:
    assert quotes.errors(document.read_text(encoding="utf-8")) == []
