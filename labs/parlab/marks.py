"""Marks in documents: comments that name the records of the figures after them, and the pieces of Markdown under each.

Markdown is what CommonMark says it is (https://spec.commonmark.org), with GitHub's tables.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from markdown_it import MarkdownIt
from markdown_it.token import Token

from parlab.figures import Figure, scan

MARK = re.compile(
    r"<!--\s*(?=from:|given:)(?:from:(?P<sources>[^;]*?))?[;\s]*(?:given:(?P<given>.*?))?\s*-->", re.DOTALL
)

OUTPUT = "text"  # what a block names that shows what parlab printed
SHOWN = ("", OUTPUT)  # all other blocks are programs, which claim nothing


@dataclass(frozen=True, eq=False)
class Mark:
    """Where the figures after it come from, "FOLDER LAB" or "FOLDER" for all of the run; and those that nobody measured."""

    line: int
    sources: tuple[str, ...]
    given: tuple[Figure, ...]

    @property
    def words(self) -> str:
        """Name the sources."""
        return " or ".join(self.sources) or "a record: the mark names none"


@dataclass(frozen=True)
class Passage:
    """A piece of a document, from a line on, under one mark or none. output: it shows what parlab printed."""

    line: int
    mark: Mark | None
    text: str
    output: bool = False


def passages(document: str) -> Iterator[Passage]:
    """Cut a Markdown text into blocks, and these where a mark begins."""
    mark: Mark | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(document):
        if token.type == "heading_open":
            mark = None
        pieces = list(_pieces(token))
        line, text = (token.map[0] + 1 if token.map else 0) + (token.type == "fence"), ""
        for html, piece in pieces:
            if html and (begun := _mark(piece, line + text.count("\n"))):
                yield Passage(line, mark, text)
                line, mark, text = begun.line, begun, ""
            text += "\n" * piece.count("\n") if html else piece
        if pieces:
            yield Passage(line, mark, text, output=token.info == OUTPUT)


def _pieces(token: Token) -> Iterator[tuple[bool, str]]:
    """Yield what a block of Markdown consists of: whether it is HTML, and the text."""
    if token.type == "inline":
        for child in token.children or ():
            yield child.type == "html_inline", "\n" if child.type in ("softbreak", "hardbreak") else child.content
    elif token.type == "html_block":
        for piece in re.findall(r"<!--.*?-->|<[^>]*>|[^<]+", token.content, re.DOTALL):
            yield piece.startswith("<"), piece
    elif token.type in ("fence", "code_block") and token.info in SHOWN:
        yield False, token.content


def _mark(comment: str, line: int) -> Mark | None:
    if not (found := MARK.search(comment)):
        return None
    sources = [" ".join(source.split()) for source in (found["sources"] or "").split(",")]
    given = chain.from_iterable(scan(number) for number in (found["given"] or "").split(","))
    return Mark(line, tuple(filter(None, sources)), tuple(given))
