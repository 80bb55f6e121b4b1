"""Rows found in the middle of a csv file are those that are found from its front, or none are."""

import csv
import io
import random
from itertools import pairwise
from pathlib import Path

import pytest

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats import row_starts
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.row_starts import find_row_starts
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import list_inputs
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit

CSV = make_format("csv")
CELLS = [
    "",
    "a",
    "plain words",
    "two\nlines",
    '"',
    'a "quoted" word',
    '""',
    "\n",
    "\r\n",
    ",",
    '",\n"',
    "x" * 30,
    '\n"\n',
]


def starts_from_the_front(content: bytes) -> list[int] | None:
    """Return where rows begin when the file is read from its front; None if one of them cannot be parsed."""
    records = list(CSV.records(io.BytesIO(content), 0, None))
    return None if any(record.problem for record in records) else [record.offset for record in records]


def found_in(path: Path, content: bytes, places: list[int]) -> list[int] | None:
    path.write_bytes(content)
    (file,) = list_inputs([str(path)])
    return find_row_starts(file, places, b",")


def written(draw: random.Random, num_rows: int) -> bytes:
    """Return random rows, as the csv module writes them."""
    text = io.StringIO()
    for _ in range(num_rows):
        ending, quoting = draw.choice(["\n", "\r\n"]), draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        csv.writer(text, lineterminator=ending, quoting=quoting).writerow([draw.choice(CELLS), draw.choice(CELLS)])
    return text.getvalue().removesuffix("\n" * draw.choice([0, 1])).removesuffix("\r").encode()


@pytest.mark.parametrize("seed", range(50))
def test_rows_that_the_csv_module_wrote_are_found_from_any_place(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = written(draw, draw.choice([1, 2, 30]))
    expected = starts_from_the_front(content)
    assert expected is not None
    for place in draw.sample(range(1, len(content)), min(20, len(content) - 1)):
        following = [start for start in expected if start >= place][:1]
        assert found_in(tmp_path / "a.csv", content, [place]) == following
    assert found_in(tmp_path / "a.csv", content, list(range(1, len(content)))) == [start for start in expected if start]


@pytest.mark.parametrize("block_bytes", [64, 65, 66, 67, 128])
@pytest.mark.parametrize("seed", range(20))
def test_borders_of_blocks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, block_bytes: int
) -> None:
    content = written(random.Random(seed), 60)
    places = list(range(1, len(content), 3))
    expected = found_in(tmp_path / "a.csv", content, places)
    monkeypatch.setattr(row_starts, "BLOCK_BYTES", block_bytes)
    found = found_in(tmp_path / "a.csv", content, places)
    # A block in which no row ends leaves a doubt.
    assert found == expected or (found is None and block_bytes < 100)


def test_blocks_that_are_each_half_a_quoted_cell_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_starts, "BLOCK_BYTES", 8)
    content = b"abc\n" + b'1,"a\nb"\n' * 3
    assert found_in(tmp_path / "a.csv", content, list(range(1, len(content)))) == [4, 12, 20]


def test_whatever_is_found_in_any_bytes_is_what_is_found_from_the_front(tmp_path: Path) -> None:
    draw = random.Random(0)
    num_sound = 0
    for _ in range(1000):
        content = "".join(draw.choices('a",\n\r', (4, 5, 3, 3, 1), k=draw.choice([5, 12, 25]))).encode()
        found = found_in(tmp_path / "a.csv", content, list(range(1, len(content) + 1)))
        if found is not None:
            num_sound += 1
            assert found == [start for start in starts_from_the_front(content) or [] if start], content
    assert num_sound > 50


@pytest.mark.parametrize(
    "content",
    [
        b'1,a\n2,5" disk\n3,b\n',
        b'1,a\n2,"stray" quote\n3,b\n',
        b'1,a\n2,"never closed\n3,b\n',
        b'1,a\n2, "blank in front"\n3,b\n',
        b'1,a\n2,"a"\r3,b\n',
        b"1,a\n2,a\r3,b\n",
        b'1,a\n2,"a""\n3,b\n',
    ],
)
def test_a_quote_or_a_return_that_leaves_a_doubt_leaves_the_file_uncut(tmp_path: Path, content: bytes) -> None:
    assert found_in(tmp_path / "a.csv", content, [5]) is None


def test_a_row_longer_than_a_block_leaves_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"1,a\n2," + b"x" * 40 + b"\n3,b\n"
    assert found_in(tmp_path / "a.csv", content, [5]) == [47]
    monkeypatch.setattr(row_starts, "BLOCK_BYTES", 16)
    assert found_in(tmp_path / "a.csv", content, [5]) is None


def documents(
    path: Path, ranges: list[tuple[int, int]] | None, options: ReadingOptions
) -> list[Document | BadDocument]:
    """Return a file's documents: of its ranges, or streamed from its front."""
    file_format = make_format("csv", options)
    columns = Columns(text=("text",)) if options.header else Columns(text=("1",))
    if ranges is not None:
        units = [Unit(0, (Piece(str(path), "a.csv", start, stop),)) for start, stop in ranges]
        return [found for unit in units for found in documents_of(unit, None, file_format, columns)]
    piece = Piece(str(path), "a.csv", 0, path.stat().st_size)
    unit = Unit(0, (piece,), is_streamed=True)
    shards = stream_shards(piece, file_format, columns, 100)
    return [found for shard in shards for found in documents_of(unit, shard, file_format, columns)]


HEADERS = ["id,text\n", "\ufeffid,text\r\n", '"id","text"\n', '\ufeff"the\nid",text\n']


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("header", [*HEADERS, None])
def test_ranges_have_together_the_documents_of_the_streamed_file(tmp_path: Path, seed: int, header: str | None) -> None:
    draw = random.Random(seed)
    options = ReadingOptions(columns=("text",) if header else ("1",), header=header is not None)
    rows = written(draw, 40)
    odd = b"\xff,not UTF-8\nonly one cell\n\n" + rows
    content = (header or "").encode() + rows.rstrip(b"\r\n") + b"\n" + odd
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    (file,) = list_inputs([str(path)])
    expected = documents(path, None, options)
    assert {found.reason for found in expected if isinstance(found, BadDocument)} == {"malformed row", "invalid UTF-8"}
    for unit_bytes in (1, 10, 100, 500):
        ranges = make_format("csv", options).cut(file, unit_bytes)
        assert ranges is not None
        assert [stop for _, stop in ranges] == [*(start for start, _ in ranges[1:]), file.size]
        assert documents(path, ranges, options) == expected


def test_ranges_end_with_the_first_row_behind_a_units_size(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\n" + b"123456789\n" * 10)
    (file,) = list_inputs([str(path)])
    assert CSV.cut(file, 35) == [(0, 35), (35, 75), (75, 105)]
    assert CSV.cut(file, 105) is None


def test_signs_that_may_be_a_part_of_another_character_leave_the_file_uncut(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id|text\n" + b"1|abc\n" * 100)
    (file,) = list_inputs([str(path)])
    for encoding, delimiter, is_cut in (
        *(("utf-8", "|", True), ("cp1252", "|", True), ("shift_jis", "|", False), ("gb18030", "|", False)),
        *(("shift_jis", ",", True), ("utf-8", "\u00a7", False)),
    ):
        file_format = make_format("csv", ReadingOptions(encoding=encoding, delimiter=delimiter))
        assert (file_format.cut(file, 100) is not None) == is_cut


def test_many_blocks_are_combined_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(random.Random(3), 3000)
    monkeypatch.setattr(row_starts, "BLOCK_BYTES", 300)
    expected = starts_from_the_front(content)
    assert expected is not None
    places = sorted(random.Random(1).sample(range(1, len(content)), 200))
    following = {next((start for start in expected if start >= place), None) for place in places} - {None}
    assert found_in(tmp_path / "a.csv", content, places) == sorted(following, key=lambda start: start or 0)
    assert all(one < other for one, other in pairwise(expected))
