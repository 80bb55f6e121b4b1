"""An article of WikiText is one document, however its file is cut."""

import gzip
import random
import re
from itertools import pairwise
from pathlib import Path

import pytest

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import Document
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit

WIKITEXT = make_format("wikitext")
COLUMNS = Columns(keep=("title",), keep_types=("string",))
ARTICLES = """ \n = Homarus gammarus = \n \n Homarus gammarus , known as the European lobster .
 = = Description = = \n \n A large <unk> :
 = Ties , A = \n = Points = \n Pts = 3 \n \n = = = Life = = = \n \n \n = C = C = \n \n Short .
"""
"""Invented after WikiText-2: a blank line in front, sections, and lines like titles that are none."""


def plain_articles(text: str) -> list[str]:
    """Return the articles of a whole text: the lines that match a title, and whose neighbours are blank, begin one."""
    lines = text.split("\n")
    title = re.compile(r"\s*= (?!= ).*[^ \n].*(?<! =) =\s*")
    starts = [
        sum(len(line) + 1 for line in lines[:number])
        for number, line in enumerate(lines)
        if title.fullmatch(line)
        and not "".join(lines[max(0, number - 1) : number] + lines[number + 1 : number + 2]).strip()
    ]
    return [text[start:stop] for start, stop in pairwise([0, *starts[1:], len(text)]) if stop > start]


def random_text(draw: random.Random) -> str:
    lines = [
        " \n",
        "\n",
        " = Title = \n",
        "= B =\n",
        " = = Section = = \n",
        " words = words \n",
        "x\n",
        " =  = \n",
        "\r\n",
    ]
    text = "".join(draw.choice(lines) for _ in range(draw.choice([0, 1, 5, 60])))
    return text + draw.choice(["", "last", " = Last = "])


def read(path: Path, cuts: list[int]) -> list[Document]:
    found = []
    for start, stop in pairwise(cuts):
        found += documents_of(Unit(0, (Piece(str(path), path.name, start, stop),)), None, WIKITEXT, COLUMNS)
    assert all(isinstance(document, Document) for document in found)
    return found  # type: ignore[return-value]


def test_an_article_begins_with_its_title_and_no_line_is_lost(tmp_path: Path) -> None:
    (tmp_path / "wiki.txt").write_text(ARTICLES)
    second = ARTICLES.index(" = C = C")
    assert read(tmp_path / "wiki.txt", [0, len(ARTICLES)]) == [
        Document("wiki.txt#0", [ARTICLES[:second]], ["Homarus gammarus"]),
        Document(f"wiki.txt#{second}", [ARTICLES[second:]], ["C = C"]),
    ]


def test_a_file_without_a_title_is_one_article_and_an_empty_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some\n = = section = = \n\n")
    (tmp_path / "b.txt").write_text("")
    assert [document.kept for document in read(tmp_path / "a.txt", [0, 5, 24])] == [[""]]
    assert read(tmp_path / "b.txt", [0, 0]) == []


@pytest.mark.parametrize("seed", range(60))
def test_ranges_have_together_the_articles_of_the_file(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    text = random_text(draw)
    path = tmp_path / "wiki.txt"
    path.write_bytes(text.encode())
    expected = plain_articles(text)
    for _ in range(5):
        inner = draw.sample(range(1, len(text)), min(6, len(text) - 1)) if len(text) > 1 else []
        assert [document.fields[0] for document in read(path, sorted({0, *inner, len(text)}))] == expected


def test_a_long_line_before_the_range_is_looked_back_over(tmp_path: Path) -> None:
    text = "= A =\n\n" + " " * 2000 + "\n= B =\n\nx" + " " * 2000 + "\n= C =\n\n"
    (tmp_path / "wiki.txt").write_text(text)
    for cut in (text.index("= B"), text.index("= C")):
        found = read(tmp_path / "wiki.txt", [0, cut, len(text)])
        assert [document.kept for document in found] == [["A"], ["B"]]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("unit_bytes", [1, 50, 1000])
def test_shards_have_together_the_articles_of_the_file(tmp_path: Path, seed: int, unit_bytes: int) -> None:
    text = random_text(random.Random(seed))
    path = tmp_path / "wiki.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    piece = Piece(str(path), path.name, 0, path.stat().st_size)
    unit = Unit(0, (piece,), is_streamed=True)
    found = [
        document
        for shard in stream_shards(piece, WIKITEXT, COLUMNS, unit_bytes)
        for document in documents_of(unit, shard, WIKITEXT, COLUMNS)
    ]
    assert found == list(documents_of(Unit(0, (piece,)), None, WIKITEXT, COLUMNS))
    assert [document.fields[0] for document in found if isinstance(document, Document)] == plain_articles(text)
