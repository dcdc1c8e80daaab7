"""Pictures: what is drawn of a lab, and that an SVG is small, whole, the same each time, and coloured by name."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests import made_up

from parlab import catalogue, panels, plots, svg, theme
from parlab.draw_lanes import _seen
from parlab.drawing import apart
from parlab.records import Case, Lanes, Record, Run

LAB = catalogue.labs()["matmul_blocking"]  # cases differ in "way"; no parameter is swept
HALO = catalogue.labs()["mpi_halo"]


def bars(*workers: int, ways: int = 2, **case: str) -> list[Record]:
    return [
        made_up.timed(LAB.id, {**case, "way": f"way {i}"}, p, 1e-3 * (i + 1), "threads")
        for p in workers
        for i in range(ways)
    ]


def drawn(records: list[Record]) -> str:
    (panel,) = panels.times(LAB, records)
    return svg.picture(panel).body


def texts(body: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", body)


def test_one_time_alone_is_no_picture() -> None:
    assert panels.times(LAB, bars(2, ways=1, n="64")) == []
    assert len(panels.times(LAB, bars(2, n="64"))) == 1


def test_bars_of_two_teams_stand_side_by_side_each_with_its_time() -> None:
    shown = texts(drawn(bars(1, 2)))
    assert {"1 thread", "2 threads", "way 0", "way 1"} <= set(shown)
    assert [text for text in shown if text.startswith("1 ms ±")] == ["1 ms ±0%"] * 2
    assert [text for text in shown if text.startswith("2 ms ±")] == ["2 ms ±0%"] * 2


def test_more_teams_are_curves_unless_they_are_too_many_to_be_toldapart() -> None:
    assert "threads" in texts(drawn(bars(1, 2, 4)))  # the name of the axis
    (panel,) = panels.times(LAB, bars(1, 2, 4, ways=20))
    assert panel.title.endswith("4 threads")  # bars of the largest team


def test_a_speed_up_needs_two_numbers_of_workers() -> None:
    def scaled(*workers: int) -> str:
        found = [made_up.timed(HALO.id, {"variant": way}, p, 1e-3 / p) for p in workers for way in ("serial", "packed")]
        (panel,) = panels.times(HALO, list(found))
        return svg.picture(panel).body

    assert {"ideal", "speed-up"} <= set(texts(scaled(1, 2)))
    assert "speed-up" not in texts(scaled(2))


def test_what_was_counted_stands_beside_its_law() -> None:
    assert panels.with_law(["way", "held", "law", "most", "sent", "law here"]) == [
        ("held", "law"),
        ("sent", "law here"),
    ]
    assert panels.with_law(["law, MiB", "hidden", "sent, MiB"]) == [("sent, MiB", "law, MiB")]
    assert panels.with_law(["lawful", "sent"]) == []
    (panel,) = [panel for panel in panels.curves(made_up.every_kind()) if "law" in panel.title]
    assert panel.says == "DDP 16 (law 16), ZeRO 8 (law 8)"


def test_names_of_sizes_do_not_touch() -> None:
    assert apart([2**k for k in (13, 17, 21, 25, 27)], False) == [2**27, 2**21, 2**17, 2**13]
    assert apart([0, 64, 128, 192, 256], True) == [256, 192, 128, 64, 0]
    assert apart([8], False) == [8]


def test_a_picture_is_the_same_each_time_and_its_identifiers_are_its_own_wherever_it_stands() -> None:
    first, again = (drawn(bars(1, 2, 4)) for _ in range(2))
    assert first == again
    album = svg.Album()
    told = [
        (re.findall(r' id="([^"]+)"', body), re.findall(r'(?:href="|url\()#([^")]+)', body))
        for body in map(album.add, (first, first))
    ]
    assert all(identifiers and set(used) <= set(identifiers) for identifiers, used in told)
    assert set(told[0][0]).isdisjoint(told[1][0])


def test_every_colour_has_a_name_and_stands_out_from_the_ground_by_day_and_by_night() -> None:
    album = svg.Album()
    for records, lab in ((made_up.every_kind(), name) for name in ("mpi_halo", "mpi_collectives", "overlap_killers")):
        run = Run({}, [r for r in records if getattr(r, "lab", "") == lab])
        for found in plots.pictures(catalogue.labs()[lab], run).values():
            assert all("#" not in re.sub(r'(href="|url\()#', "", album.add(one.body)) for one in found)
    assert "#" not in svg.by_name(album.css())  # a colour without a name raises
    for day in (0, 1):
        ground = luminance(theme.COLOURS["ground"][day])
        for name in (*theme.SERIES, "ink", "muted"):
            low, high = sorted((ground, luminance(theme.COLOURS[name][day])))
            assert (high + 0.05) / (low + 0.05) >= 3, name


def luminance(colour: str) -> float:
    """Return the relative luminance. Source: W3C, Web Content Accessibility Guidelines 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_long_timeline_stays_small_and_no_lane_loses_its_end() -> None:
    """10 000 spans on four lanes: a path for each colour and lane, and in it no more boxes than the eye sees."""
    spans = [(i * 1e-6, (i + 1) * 1e-6, f"h2d {i}") for i in range(10_000)]
    (panel,) = panels.timelines([Lanes("overlap_killers", {"way": "x"}, 1, [(f"stream {i}", spans) for i in range(4)])])
    body = svg.picture(panel).body
    assert body.count("<path") < 60
    assert 4 * 400 < body.count("z") < 4 * 2000
    assert len(body) < 200_000
    boxes = [(0.0, 1.0), (1.5, 1.0), (9.0, 1.0), (10.0, 1.0), (10.1, 0.1), (10.3, 5.0)]
    assert _seen(boxes, 1.2) == [(0.0, 2.5), (9.0, 2.0), (10.1, pytest.approx(5.2))]


@pytest.mark.parametrize(
    ("number", "short"), [("12.345678", "12.3"), ("-0.001", "0"), ("3.14159", "3.14"), ("-7.5", "-7.5")]
)
def test_numbers_are_as_short_as_the_eye_needs(number: str, short: str) -> None:
    found = re.fullmatch(r".*", number)
    assert found
    assert svg._short(found) == short


def test_a_file_beside_the_records_is_whole_and_has_a_ground(tmp_path: Path) -> None:
    records = [r for r in made_up.every_kind() if getattr(r, "lab", "") == HALO.id]
    (path,) = plots.draw(HALO, Run({"machine": made_up.MACHINE}, records), tmp_path)
    root = ET.parse(path).getroot()  # well-formed, whatever the names of the cases
    assert root.find("{*}rect[@fill='#ffffff']") is not None
    words = "".join(root.itertext())
    assert HALO.question in words
    assert made_up.HOSTILE in words
    assert "Abacus" in words
    assert "font-family" not in "".join(path.read_text().split("font-family", 1)[1:])  # one font, that of the root


def test_a_case_keeps_its_colour_from_picture_to_picture() -> None:
    """Also where the first case was not measured for the team that is drawn."""
    lab = catalogue.labs()["mpi_collectives"]

    def times(*found: tuple[str, int]) -> list[Record]:
        cases: list[tuple[Case, int]] = [
            ({"op": "x", "bytes": n, "algorithm": way}, p) for way, p in found for n in (8, 64)
        ]
        return [made_up.timed(lab.id, case, p, 1e-6) for case, p in cases]

    def colour(records: list[Record]) -> str:
        (panel,) = panels.times(lab, records)
        body = svg.picture(panel).body
        *_, last = re.findall(r'<use [^>]*style="[^"]*fill: (#[0-9a-f]{6})', body)
        return str(last)

    assert colour(times(("ring", 1), ("tree", 1), ("tree", 2))) == theme.series(1)
    assert colour(times(("tree", 2))) == theme.series(0)
