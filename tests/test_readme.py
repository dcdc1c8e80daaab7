"""Both READMEs say the same, with the catalogue's questions, and what they point to is there. test_commands.py runs their commands."""

import re
from pathlib import Path

import pytest

from parlab import catalogue

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")
}
ENGLISH, CHINESE = TEXTS["README.md"], TEXTS["README.zh-CN.md"]


def shown(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a document with their languages, comments cut off, and its pictures."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    return [(language, re.sub(r" +#.*", "", block)) for language, block in blocks] + [
        ("", path) for _, path in pictures
    ]


def test_both_readmes_hold_the_same_commands_output_and_pictures() -> None:
    assert shown(ENGLISH) == shown(CHINESE)
    assert {language for language, _ in shown(ENGLISH)} == {"sh", "text", ""}


def test_both_readmes_hold_the_same_marks_of_figures() -> None:
    assert re.findall("<!--.*?-->", ENGLISH) == re.findall("<!--.*?-->", CHINESE)


@pytest.mark.parametrize(("text", "words"), [(ENGLISH, "question"), (CHINESE, "question_zh")], ids=["en", "zh"])
def test_the_table_of_labs_is_the_catalogue(text: str, words: str) -> None:
    rows = re.findall(r"^\| (\w+) \| \[`(\w+)`\]\(labs/\2\.py\) \| (.*?) \|$", text, re.MULTILINE)
    assert rows == [(lab.topic, lab.id, getattr(lab, words)) for lab in catalogue.labs().values()]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", TEXTS[name])
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_each_readme_leads_to_the_other() -> None:
    assert "](README.zh-CN.md)" in ENGLISH
    assert "](README.md)" in CHINESE
