"""Every record of a corpus is read once, however its files are cut."""

import bz2
import gzip
import lzma
import random
import sys
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.reading import StreamedText, documents_of, open_piece, stream_shards
from ulmfit_ray.corpus.units import Piece, Unit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CSV, JSONL, LINES, TXT = (make_format(name) for name in ("csv", "jsonl", "lines", "txt"))

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


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": lambda content: bz2.compress(content, 1),
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}
LINES_OF_TEXT = [b"%d %s\n" % (number, random.Random(number).randbytes(30).hex().encode()) for number in range(4000)]


def cut_file(path: Path, content: bytes, length: float) -> Piece:
    """A compressed file of which only a part is there, as it was when it was planned."""
    whole = COMPRESS[path.suffix](content)
    path.write_bytes(whole[: int(length * len(whole))])
    return Piece(str(path), path.name, 0, path.stat().st_size)


def all_documents(piece: Piece, file_format: Format, unit_bytes: int, columns: Columns) -> list[Document | BadDocument]:
    unit = Unit(0, (piece,), is_streamed=True)
    shards = shards_of(piece, file_format, unit_bytes, columns)
    assert [shard.is_last for shard in shards] == [False] * (len(shards) - 1) + [True]
    assert not any(shard.damage for shard in shards[:-1])
    return [found for shard in shards for found in documents_of(unit, shard, file_format, columns)]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("length", [0.02, 0.4, 0.85, 0.9999])
def test_a_cut_file_gives_the_lines_before_the_cut_and_one_bad_document(
    tmp_path: Path, suffix: str, length: float
) -> None:
    piece = cut_file(tmp_path / f"a.txt{suffix}", b"".join(LINES_OF_TEXT), length)
    read = [all_documents(piece, LINES, unit_bytes, Columns()) for unit_bytes in (1000, 70_000, 1 << 20)]
    assert read[0] == read[1] == read[2]
    *good, bad = read[0]
    assert isinstance(bad, BadDocument)
    assert (bad.path, bad.reason) == (piece.name, "corrupt file")
    assert bad.detail.startswith("EOFError: ")
    ends = [0]
    for line in LINES_OF_TEXT:
        ends.append(ends[-1] + len(line))
    num_whole = sum(end <= bad.offset for end in ends) - 1
    texts = [found.fields[0] for found in good if isinstance(found, Document)]
    assert texts == [line.decode().rstrip("\n") for line in LINES_OF_TEXT[:num_whole]]
    assert len(good) == num_whole


def test_the_offset_of_the_damage_is_where_the_content_ends(tmp_path: Path) -> None:
    piece = cut_file(tmp_path / "a.txt.gz", b"".join(LINES_OF_TEXT), 0.5)
    content = zlib.decompressobj(31).decompress((tmp_path / "a.txt.gz").read_bytes())
    *_, bad = all_documents(piece, LINES, 1000, Columns())
    assert isinstance(bad, BadDocument)
    assert bad.offset == len(content)
    assert b"".join(shard.text for shard in shards_of(piece, LINES, 1000)) == content[: content.rindex(b"\n") + 1]


@pytest.mark.parametrize("content", [b"one\ntwo", b"one\ntwo\n"])
def test_a_line_that_nothing_says_is_whole_is_no_document(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content)[:-1])
    piece = Piece(str(tmp_path / "a.txt.gz"), "a.txt.gz", 0, (tmp_path / "a.txt.gz").stat().st_size)
    *good, bad = all_documents(piece, LINES, 1000, Columns())
    assert ids_of(good) == ["a.txt.gz#0", "a.txt.gz#4"][: content.count(b"\n")]
    assert isinstance(bad, BadDocument)
    assert bad.offset == len(content)


def test_a_row_of_several_lines_that_the_damage_cuts_gives_no_document(tmp_path: Path) -> None:
    content = b'text\nfirst\n"one\ntwo\nthree'
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content)[:-8])
    piece = Piece(str(tmp_path / "a.csv.gz"), "a.csv.gz", 0, (tmp_path / "a.csv.gz").stat().st_size)
    assert ids_of(all_documents(piece, CSV, 1000, Columns())) == ["a.csv.gz#5", f"bad#{len(content)}"]


@pytest.mark.parametrize(("name", "file_format"), [("a.csv.gz", CSV), ("a.jsonl.gz", JSONL), ("a.log.gz", LINES)])
def test_a_file_that_is_damaged_at_its_front_is_one_bad_document(
    tmp_path: Path, name: str, file_format: Format
) -> None:
    (tmp_path / name).write_bytes(b"no gzip")
    found = all_documents(Piece(str(tmp_path / name), name, 0, 7), file_format, 1000, Columns())
    assert found == [BadDocument(name, 0, "corrupt file", "BadGzipFile: Not a gzipped file (b'no')")]


def test_a_damaged_file_of_a_bundle_costs_itself_only(tmp_path: Path) -> None:
    pieces = [whole(tmp_path / name, b"content of " + name.encode()) for name in ("a.txt.gz", "b.txt.gz", "c.txt")]
    stored = (tmp_path / "b.txt.gz").read_bytes()
    (tmp_path / "b.txt.gz").write_bytes(stored[:-8])
    pieces[1] = Piece(pieces[1].path, "b.txt.gz", 0, len(stored) - 8)
    found = list(documents_of(Unit(0, tuple(pieces)), None, TXT, Columns()))
    assert ids_of(found) == ["a.txt.gz#0", "bad#19", "c.txt#0"]
    assert isinstance(found[1], BadDocument)
    assert (found[1].path, found[1].reason) == ("b.txt.gz", "corrupt file")


@pytest.mark.parametrize("unit_bytes", [1000, 1 << 20])
def test_a_compressed_file_that_is_shorter_than_planned_is_an_error(tmp_path: Path, unit_bytes: int) -> None:
    piece = cut_file(tmp_path / "a.txt.gz", b"".join(LINES_OF_TEXT), 0.5)
    with pytest.raises(OSError, match="were planned"):
        shards_of(Piece(piece.path, piece.name, 0, piece.stop + 1), LINES, unit_bytes)
