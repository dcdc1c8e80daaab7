"""The page in a real browser, Chromium without a window: no complaint, nothing wider than the screen, every picture seen."""

import io
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests import made_up

from parlab import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
SCREENS = list(product((390, 1440), ("light", "dark")))

MISSING = "no Chromium on PATH: apt-get install chromium"
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e '.[browser]'")
    with api.sync_playwright() as started:  # with a profile of its own, empty, and gone after it
        yield started.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the page of one run and that of two."""
    folder = tmp_path_factory.mktemp("runs")
    one = made_up.write(folder / "one", made_up.every_kind())
    two = made_up.write(folder / "two", made_up.every_kind(0.5))
    return [report.write([one])[0], report.write([one, two], folder / "both.html")[0]]


class Seen:
    """A page as one screen shows it, with all that is folded unfolded; complaints: what the browser said about it, or fetched for it."""

    def __init__(self, browser: "Browser", path: Path, width: int, theme: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.complaints.append(asked.url) if asked.url != path.as_uri() else None)
        self.page.goto(path.as_uri())
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


@pytest.mark.parametrize(("width", "theme"), SCREENS)
def test_the_page_fits_the_screen_shows_every_picture_and_loads_nothing(
    browser: "Browser", pages: list[Path], width: int, theme: str
) -> None:
    for path in pages:
        seen = Seen(browser, path, width, theme)
        assert seen.complaints == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = seen.page.evaluate(BOXES)
        assert len(boxes) >= 6
        assert all(200 < wide <= width and high > 50 for wide, high in boxes)
        assert seen.page.evaluate(OUTSIDE) == []
        seen.page.close()


BOXES = "[...document.querySelectorAll('svg')].map(svg => [svg.getBoundingClientRect().width, svg.getBBox().height])"

# Texts of a picture that reach more than a few pixels beyond it: they would lie on its neighbour.
OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(svg => {
    const frame = svg.getBoundingClientRect()
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect()
        return box.left < frame.left - 4 || box.right > frame.right + 4 || box.bottom > frame.bottom + 4
    }).map(text => text.textContent)
})"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_of_a_card_can_be_read_on_its_ground(browser: "Browser", pages: list[Path], theme: str) -> None:
    seen = Seen(browser, pages[0], 1440, theme)
    ground = seen.page.evaluate("getComputedStyle(document.querySelector('article')).backgroundColor")
    inks = seen.page.evaluate("[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill)")
    words = "[...document.querySelectorAll('article *:not(svg *)')].map(e => getComputedStyle(e).color)"
    assert min(contrast(ink, ground) for ink in {*inks, *seen.page.evaluate(words)}) >= 4.5  # as the guidelines ask
    seen.page.close()


def contrast(one: str, other: str) -> float:
    """Return the ratio of two colours' luminances. Source: W3C, Web Content Accessibility Guidelines 2.2."""
    dark, bright = sorted(map(luminance, (one, other)))
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_picture_beside_the_records_has_a_ground_of_its_own(
    browser: "Browser", pages: list[Path], tmp_path: Path
) -> None:
    """A README shows it on white and on black alike."""
    picture = pages[0].parent / "mpi_halo.svg"
    page = tmp_path / "readme.html"
    page.write_text(f'<body style="background: black"><img src="{picture.as_uri()}" width="600">')
    seen = browser.new_page()
    seen.goto(page.as_uri())
    assert seen.evaluate("(i => i.complete && i.naturalWidth > 100)(document.querySelector('img'))")
    shot = Image.open(io.BytesIO(seen.locator("img").screenshot())).convert("L")
    assert shot.getpixel((3, 3)) == 255
    seen.close()


def test_it_prints_on_paper_without_what_is_folded(browser: "Browser", pages: list[Path]) -> None:
    seen = browser.new_page()
    seen.goto(pages[0].as_uri())
    seen.emulate_media(media="print", color_scheme="dark")
    ink = seen.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(43, 53, 66)"  # as by day, whatever the screen
    assert not seen.locator("#lab-mpi_halo details").first.is_visible()
    assert seen.locator("#lab-mpi_halo svg").first.is_visible()
    assert seen.pdf().startswith(b"%PDF")
    seen.close()
