"""The page: everything that a run holds is on it, nothing is loaded, nothing from a record becomes HTML, and it stays small."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests import made_up

from parlab import cards, catalogue, report, results
from parlab.errors import BadRequest, ParlabError
from parlab.records import Conclusion, Skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write(tmp_path_factory.mktemp("runs") / "first", made_up.every_kind())


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report.write([folder])[0].read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Gathers the tags of a page with their attributes; closes each that must be closed."""

    VOID = ("meta", "link", "br", "img", "path", "use", "rect")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes {self.open[-3:]}"


def test_the_page_is_one_well_formed_document_and_pictures_lie_beside_the_records(page: str, folder: Path) -> None:
    assert page.startswith("<!doctype html>")
    assert Tags(page).open == []
    made = {path.name for path in folder.iterdir()}
    assert {"mpi_halo.svg", "mpi_collectives.svg", "batch_and_rate-curves.svg"} <= made
    assert {"overlap_killers-timeline.svg", "overlap_killers-trace.json"} <= made


def test_nothing_is_loaded_and_no_script_runs(page: str) -> None:
    tags = Tags(page).found
    assert {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "img", "base", "form"} == set()
    for tag, attributes in tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action", "xlink:href", "data")
            assert name != "href" or str(value).startswith("#"), (tag, value)
    assert re.findall(r"url\((?!#)|@import|//[a-z]", page) == []


def test_every_link_leads_to_something_on_the_page(page: str) -> None:
    tags = Tags(page).found
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {str(attributes["href"])[1:] for _, attributes in tags if "href" in attributes}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(names)


def test_what_stands_in_a_record_is_text(page: str) -> None:
    assert made_up.HOSTILE not in page
    assert "<b>9</b>" not in page
    assert unescape(page).count(made_up.HOSTILE) >= 4  # conclusion, fault, table, legend


def test_conclusions_come_first_then_pictures_then_tables_then_the_command(page: str) -> None:
    card = page[page.index('<article id="lab-mpi_halo"') :].partition("</article>")[0]
    order = [card.index(mark) for mark in ("<h3>", 'class="said"', "<svg", "<table", "parlab run mpi_halo")]
    assert order == sorted(order)
    assert "parlab run mpi_halo --workers 1,2 --budget quick" in card
    assert [card.count(f'<li class="{word}"') for word in ("holds", "does-not-hold", "cannot-tell")] == [7, 2, 1]
    folded = card.index("<summary>4 more")
    assert card.index("sentence 9: last") < folded < card.index("sentence 6")  # what does not hold is seen


def test_the_summary_counts_and_names_what_was_skipped_and_what_failed(page: str) -> None:
    summary = page[page.index("In short") :].partition("</section>")[0]
    told = re.findall(r'<p class="[^"]*"><b>(\d+)</b> ([^<]+)</p>', summary)
    assert told[:3] == [("7", "hold"), ("2", "do not hold"), ("1", "cannot tell")]
    assert told[3:] == [("4", "labs measured"), ("1", "skipped"), ("1", "failed")]
    assert "no second rank" in summary
    assert "failed:" in page


def test_noise_is_marked(page: str, tmp_path: Path) -> None:
    assert 'class="tag noisy"' in page  # 30 % after
    assert 'class="tag quiet"' in report.write([made_up.write(tmp_path, [])])[0].read_text()


def test_tables_of_the_page_are_those_of_the_terminal(page: str, folder: Path) -> None:
    from parlab.tables import sheets

    run = results.read(folder)
    for name in run.labs():
        for sheet in sheets(catalogue.labs()[name], run.of(name)):
            for cell in (cell for row in sheet.rows for cell in row):
                assert f">{cell.text.strip()}".replace("  ", "") in unescape(page) or not cell.text.strip()


def test_every_picture_has_a_title_words_for_who_cannot_see_it_and_colours_by_name(page: str) -> None:
    pictures = [attributes for tag, attributes in Tags(page).found if tag == "svg"]
    assert len(pictures) >= 6
    assert all(a["role"] == "img" and len(str(a["aria-label"])) > 20 for a in pictures)
    assert page.count("<figcaption>") == len(pictures)
    styles = page[page.index(".p0{") :].partition("</style>")[0]
    assert re.findall("#[0-9a-f]{3,6}", styles) == []
    assert "font-family" not in styles


def test_a_lab_that_could_not_run_shows_what_was_recorded_elsewhere(tmp_path: Path) -> None:
    page = report.write([made_up.write(tmp_path, [Skip("stream_priority", "no CUDA device")])])[0].read_text()
    card = page[page.index('<article id="lab-stream_priority"') :].partition("</article>")[0]
    assert "Recorded on" in card
    assert "not measured here" in card
    assert card.count('<li class="holds"') > 3
    assert card.count("<svg") >= 2
    assert not list(tmp_path.glob("*.svg"))  # they are not of this run


def test_an_empty_run_has_a_page_that_says_so(tmp_path: Path) -> None:
    page = report.write([made_up.write(tmp_path, [], machine={})])[0].read_text()
    assert "holds no records" in page
    assert Tags(page).open == []


def test_a_lab_that_is_gone_from_the_catalogue_is_left_out(tmp_path: Path) -> None:
    run = made_up.write(tmp_path, [Conclusion("was_here", "x", True), Skip("mpi_farm", "no mpirun")])
    page = report.write([run])[0].read_text()
    assert "was_here" not in page
    assert "lab-mpi_farm" in page


def test_two_runs_stand_side_by_side(folder: Path, tmp_path: Path) -> None:
    machine = {**made_up.MACHINE, "commit": "decade", "versions": {"numpy": "9.2"}}
    other = made_up.write(tmp_path / "second", made_up.every_kind(0.5), machine=machine)
    page = report.write([folder, other], tmp_path / "both.html")[0].read_text()
    assert Tags(page).open == []
    assert [path.name for path in other.iterdir()] == [results.FILE]  # who compares leaves the runs as they are
    differing = page[page.index("Where they differ") :].partition("</details>")[0]
    assert all(word in differing for word in ("c0ffee", "decade", "9.1", "9.2"))
    assert "cores allowed" not in differing
    assert "B second against A first, of 12 cases that both measured" in page
    card = page[page.index('<article id="lab-mpi_collectives"') :].partition("</article>")[0]
    assert card.count("<svg") == 2
    assert '<b class="faster">' in card
    names = [attributes["id"] for _, attributes in Tags(page).found if "id" in attributes]
    assert len(names) == len(set(names))  # of the pictures of both


def test_runs_with_one_name_are_told_apart(tmp_path: Path) -> None:
    records = made_up.every_kind()[:4]
    runs = [made_up.write(tmp_path / parent / "run", records) for parent in ("a", "b")]
    page = report.write(runs)[0].read_text()
    assert page.count("of 4 cases that both measured") == 2  # in short, and on the card
    assert '<b class="mark">A</b>' in page
    assert '<b class="mark">B</b>' in page


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("parlab run all --out x --workers 1,2", "parlab run mpi_halo --workers 1,2"),
        ("parlab run mpi mpi_farm --budget full --out=x", "parlab run mpi_halo --budget full"),
        ("mpi_halo.py --seed 7", "parlab run mpi_halo --seed 7"),
        ("", "parlab run mpi_halo"),
    ],
)
def test_the_command_repeats_the_lab_as_it_was_asked_for(asked: str, told: str, tmp_path: Path) -> None:
    run = results.read(made_up.write(tmp_path, [], command=asked))
    assert cards.command(catalogue.labs()["mpi_halo"], run) == told


@pytest.mark.parametrize("name", ["h200x2-ddp-sharded", "h200x2-ddp-pipeline"])
def test_a_run_of_all_labs_stays_below_two_megabytes(name: str, tmp_path: Path) -> None:
    """A recorded run of one lab takes no more than its share; the questions stand on a page once."""
    (tmp_path / results.FILE).write_bytes((catalogue.RECORDED / name / results.FILE).read_bytes())
    page, files = report.write([tmp_path])
    assert page.stat().st_size < 2e6 / len(catalogue.labs())
    assert all(file.stat().st_size < 30_000 for file in files)


def test_a_newer_record_a_missing_folder_and_a_place_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    newer = made_up.write(tmp_path / "newer", [])
    (newer / results.FILE).write_text((newer / results.FILE).read_text().replace('"v": 1', '"v": 2'))
    with pytest.raises(BadRequest, match="newer parlab"):
        report.write([newer])
    with pytest.raises(BadRequest, match="cannot read"):
        report.write([tmp_path / "nowhere"])
    with pytest.raises(ParlabError, match="cannot write") as refused:
        report.write([made_up.write(tmp_path / "empty", [])], tmp_path / "nowhere" / "page.html")
    assert "\n" not in str(refused.value)
