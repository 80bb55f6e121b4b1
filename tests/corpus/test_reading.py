"""Every record of a corpus is read once, however its files are cut."""

import gzip
import random
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.csv_rows import CSV
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.jsonl import JSONL
from ulmfit_ray.corpus.formats.lines import LINES
from ulmfit_ray.corpus.formats.txt import TXT
from ulmfit_ray.corpus.reading import StreamedText, documents_of, open_piece, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit

ROWS = 'id,text\n1,"two\nlines"\n2,"stray" quote\n3,c\n\n4,d'
OBJECTS = '{"id": "1", "text": "a"}\nno object\n\n{"id": "2", "text": "b"}\n{"id": "3", "text": "c"}'


def whole(path: Path, content: bytes = b"") -> Piece:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return Piece(str(path), path.name, 0, path.stat().st_size)


def ids_of(documents: Iterable[Document | BadDocument]) -> list[str]:
    return [found.doc_id if isinstance(found, Document) else f"bad#{found.offset}" for found in documents]


def shards_of(piece: Piece, file_format: Format, unit_bytes: int, columns: Columns | None = None) -> list[StreamedText]:
    return list(stream_shards(piece, file_format, columns or Columns(), unit_bytes))


@pytest.mark.parametrize("seed", range(4))
def test_ranges_own_the_lines_that_begin_in_them_so_every_line_is_read_once(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    lines = ["word " * draw.choice([0, 0, 1, 3, 8]) + draw.choice(["\n", "\r\n"]) for _ in range(40)]
    content = ("\ufeff" * (seed % 2) + "".join(lines) + "last" * (seed // 2)).encode()
    source = tmp_path / "corpus.txt"
    source.write_bytes(content)
    offsets = [3 * (seed % 2)]
    while (end := content.find(b"\n", offsets[-1])) >= 0 and end + 1 < len(content):
        offsets.append(end + 1)
    cuts = sorted({0, *draw.sample(range(1, len(content)), 12), *draw.sample(offsets[1:], 3), len(content)})
    read = []
    for number, (start, stop) in enumerate(pairwise(cuts)):
        unit = Unit(number, (Piece(str(source), "corpus.txt", start, stop),))
        read += ids_of(documents_of(unit, None, LINES, Columns()))
    assert read == [f"corpus.txt#{offset}" for offset in offsets]


def test_a_bundle_has_the_documents_of_its_pieces_in_order(tmp_path: Path) -> None:
    pieces = (whole(tmp_path / "b.txt", b"one\n"), whole(tmp_path / "a.txt.gz", b"two"), whole(tmp_path / "c.txt"))
    documents = list(documents_of(Unit(0, pieces), None, TXT, Columns()))
    assert documents == [
        Document("b.txt#0", ["one\n"], []),
        Document("a.txt.gz#0", ["two"], []),
        Document("c.txt#0", [""], []),
    ]


@pytest.mark.parametrize("unit_bytes", [1, 10, 20, 30, 1000])
@pytest.mark.parametrize(
    ("name", "file_format", "content", "expected"),
    [
        ("a.csv", CSV, ROWS, ["1", "bad#22", "3", "4"]),
        ("a.csv.gz", CSV, "\ufeff" + ROWS, ["1", "bad#25", "3", "4"]),
        ("a.jsonl.gz", JSONL, OBJECTS, ["1", "bad#25", "2", "3"]),
    ],
    ids=["csv", "csv.gz", "jsonl.gz"],
)
def test_shards_of_a_streamed_file_have_together_the_documents_of_the_file(
    tmp_path: Path, name: str, file_format: Format, content: str, expected: list[str], unit_bytes: int
) -> None:
    columns = Columns(id="id")
    piece = whole(tmp_path / name, content.encode())
    shards = shards_of(piece, file_format, unit_bytes, columns)
    read = []
    for shard in shards:
        read += ids_of(documents_of(Unit(0, (piece,), is_streamed=True), shard, file_format, columns))
    assert read == expected
    assert [shard.part for shard in shards] == list(range(len(shards)))
    assert [shard.is_last for shard in shards] == [False] * (len(shards) - 1) + [True]


def test_a_shard_closes_with_the_record_that_brings_it_to_a_units_size(tmp_path: Path) -> None:
    piece = whole(tmp_path / "a.txt.gz", b"aaa\nbbb\ncc\nd\neeeeeeeeeeee\nf\n")
    shards = shards_of(piece, LINES, 8)
    assert [shard.text for shard in shards] == [b"aaa\nbbb\n", b"cc\nd\neeeeeeeeeeee\n", b"f\n"]
    assert [shard.offset for shard in shards] == [0, 8, 26]


def test_a_file_that_ends_with_a_full_shard_has_no_empty_one_behind_it(tmp_path: Path) -> None:
    shards = shards_of(whole(tmp_path / "a.txt.gz", b"aaa\nbbb\n"), LINES, 4)
    assert [(shard.text, shard.is_last) for shard in shards] == [(b"aaa\n", False), (b"bbb\n", True)]


@pytest.mark.parametrize(
    ("content", "header"), [(b"", []), (b"id,text\n", ["id", "text"])], ids=["empty", "header alone"]
)
def test_a_streamed_file_without_records_has_one_empty_shard(tmp_path: Path, content: bytes, header: list[str]) -> None:
    shards = shards_of(whole(tmp_path / "a.csv", content), CSV, 10)
    assert shards == [StreamedText(0, len(content), header, b"", True)]


def test_a_streamed_file_whose_header_lacks_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.csv has no column text; its columns are id, title"):
        shards_of(whole(tmp_path / "a.csv", b"id,title\n1,x\n"), CSV, 10)


def test_a_file_that_is_shorter_than_planned_is_refused(tmp_path: Path) -> None:
    whole(tmp_path / "a.txt", b"abc")
    with pytest.raises(OSError, match=r"a\.txt has 3 bytes, 4 were planned"):
        open_piece(Piece(str(tmp_path / "a.txt"), "a.txt", 2, 4))


def test_a_piece_is_opened_at_the_front_of_its_file(tmp_path: Path) -> None:
    for name in ("a.txt", "a.txt.gz"):
        with open_piece(whole(tmp_path / name, b"abc")) as stream:
            assert stream.read() == b"abc"
