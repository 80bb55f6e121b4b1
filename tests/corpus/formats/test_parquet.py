"""A row of a Parquet file is a document, however its file is laid out and cut."""

import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.corpus.column_types import arrow_type, kept_type, plain_values
from ulmfit_ray.corpus.columns import Columns, resolve_columns
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats.format import Format
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import list_inputs
from ulmfit_ray.corpus.reading import documents_of
from ulmfit_ray.corpus.units import Piece, Unit

BERLIN = pa.timestamp("us", tz="Europe/Berlin")
NANOSECONDS = [1, -(2**62), None]
COLUMNS: list[tuple[str, pa.Array]] = [
    ("string", pa.array(["a", None, "\u00fc"])),
    ("string", pa.array(["a", None, "\u00fc"], pa.large_string())),
    ("string", pa.array(["a", None, "a"]).dictionary_encode()),
    ("string", pa.array([None, None, None], pa.null())),
    ("bool", pa.array([True, None, False])),
    ("int8", pa.array([-128, None, 127], pa.int8())),
    ("uint64", pa.array([0, None, 2**64 - 1], pa.uint64())),
    ("int32", pa.array([7, None, 8], pa.int32()).dictionary_encode()),
    ("float", pa.array([0.1, None, -1.5], pa.float32())),
    ("double", pa.array([0.1, None, float("inf")])),
    ("date32[day]", pa.array([datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)], pa.date32())),
    ("timestamp[ns]", pa.array(NANOSECONDS, pa.timestamp("ns"))),
    ("timestamp[us, tz=Europe/Berlin]", pa.array([2**60, None, 0], BERLIN)),
    ("list<string>", pa.array([["a", None], None, []], pa.large_list(pa.large_string()))),
    ("list<int32>", pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2))),
    ("list<timestamp[ns]>", pa.array([NANOSECONDS, None, []], pa.list_(pa.timestamp("ns")))),
    ("list<list<bool>>", pa.array([[[True], None], None, [[]]])),
]


def format_of(columns: Columns) -> Format:
    asked = (*columns.text, *([columns.id] if columns.id else []), *columns.keep)
    return make_format("parquet", ReadingOptions(columns=asked))


def read(path: Path, columns: Columns, cuts: list[int] | None = None) -> list[Document | BadDocument]:
    found = []
    for start, stop in pairwise(cuts or [0, path.stat().st_size]):
        found += documents_of(Unit(0, (Piece(str(path), path.name, start, stop),)), None, format_of(columns), columns)
    return found


def resolved(path: Path, **asked: Any) -> Columns:
    wanted: dict[str, Any] = {"text": ["text"], "id_column": None, "keep": []} | asked
    return resolve_columns(list_inputs([str(path)]), make_format("parquet"), **wanted)


@pytest.mark.parametrize(("kind", "column"), COLUMNS, ids=[f"{column.type}" for _, column in COLUMNS])
def test_a_kept_column_comes_out_as_pyarrow_casts_it(tmp_path: Path, kind: str, column: pa.Array) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"kept": column, "text": ["a", "b", "c"]}), path)
    columns = resolved(path, keep=["kept"])
    assert columns.keep_types == (kind,)
    documents = read(path, columns)
    kept = [document.kept[0] for document in documents if isinstance(document, Document)]
    expected = pq.read_table(path)["kept"].combine_chunks().cast(arrow_type(kind))
    assert pa.array(kept, arrow_type(kind)).equals(expected)


@pytest.mark.parametrize(
    "column_type",
    [pa.binary(), pa.decimal128(5, 2), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), pa.time32("s")],
    ids=str,
)
def test_a_column_of_another_type_cannot_be_kept(tmp_path: Path, column_type: pa.DataType) -> None:
    for wanted in (column_type, pa.list_(column_type)):
        pq.write_table(pa.table({"kept": pa.array([None], wanted), "text": ["a"]}), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=r"column 'kept' cannot be kept: values of type .*, and not text, numbers"):
            resolved(tmp_path / "a.parquet", keep=["kept"])
    assert resolved(tmp_path / "a.parquet") == Columns()


def test_a_text_column_that_holds_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"a"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'text' of .*a\.parquet is of type binary and not string"):
        resolved(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'n' of .*a\.parquet is of type int64 and not string"):
        resolved(tmp_path / "a.parquet", text=["n"])
    with pytest.raises(ValueError, match=r"column 'm' does not exist in .*a\.parquet; its columns are text, n"):
        resolved(tmp_path / "a.parquet", text=["m"])


def test_a_row_is_named_by_its_number_and_nulls_are_what_they_are_elsewhere(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": [1, 2, 3, None],
            "title": ["a", None, None, "d"],
            "text": pa.array(["x", "y", None, ""], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    columns = Columns(("title", "text"), keep=("n",), keep_types=("int64",))
    assert read(tmp_path / "a.parquet", columns) == [
        Document("a.parquet#0", ["a", "x"], [1]),
        Document("a.parquet#1", ["", "y"], [2]),
        BadDocument("a.parquet", 2, "null text", "no text in title, text"),
        Document("a.parquet#3", ["d", ""], [None]),
    ]
    by_id = Columns(("title",), id="n")
    assert [document.doc_id for document in read(tmp_path / "a.parquet", by_id) if isinstance(document, Document)] == [
        "1"
    ]


def numbered(path: Path, num_rows: int, row_group_size: int) -> pa.Table:
    table = pa.table(
        {"text": [f"text {number} " * (number % 7) for number in range(num_rows)], "unread": [b"x"] * num_rows}
    )
    pq.write_table(table, path, row_group_size=row_group_size)
    return table


@pytest.mark.parametrize(("num_rows", "row_group_size"), [(0, 1), (1, 1), (100, 7), (100, 100), (3000, 2500)])
def test_ranges_have_together_the_rows_of_the_file_in_order(tmp_path: Path, num_rows: int, row_group_size: int) -> None:
    path = tmp_path / "a.parquet"
    texts = numbered(path, num_rows, row_group_size)["text"].to_pylist()
    expected = [Document(f"a.parquet#{number}", [text], []) for number, text in enumerate(texts)]
    (file,) = list_inputs([str(path)])
    for unit_bytes in (1, 2000, 1 << 20):
        ranges = make_format("parquet").cut(file, unit_bytes)
        assert ranges is not None
        cuts = [start for start, _ in ranges] + [file.size]
        assert [stop for _, stop in ranges] == cuts[1:]
        assert read(path, Columns(), cuts) == expected
        assert read(path, Columns(), sorted({*range(0, file.size, 501), file.size})) == expected


def test_a_range_closes_with_the_row_group_that_brings_it_to_a_units_size(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    numbered(path, 1000, 10)
    (file,) = list_inputs([str(path)])
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(group).total_byte_size for group in range(100)]
    begins = [metadata.row_group(group).column(0).dictionary_page_offset for group in range(100)]
    expected, size = [0], 0
    for begin, group_size in zip(begins, sizes, strict=True):
        if size >= 5000:
            expected.append(begin)
            size = 0
        size += group_size
    ranges = make_format("parquet").cut(file, 5000)
    assert ranges is not None
    assert [start for start, _ in ranges] == expected
    assert len(expected) > 5


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    numbered(path, 10, 10)
    content = bytearray(path.read_bytes())
    unread = pq.read_metadata(path).row_group(0).column(1)
    begin = unread.dictionary_page_offset
    content[begin : begin + unread.total_compressed_size] = b"\xff" * unread.total_compressed_size
    path.write_bytes(bytes(content))
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(path)
    assert len(read(path, Columns())) == 10


def test_a_later_file_whose_column_is_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    for name, column in (("a", [1]), ("b", [1.5]), ("c", [None])):
        pq.write_table(pa.table({"text": [name], "kept": pa.array(column)}), tmp_path / f"{name}.parquet")
    columns = resolved(tmp_path / "a.parquet", keep=["kept"])
    with pytest.raises(ValueError, match=r"column 'kept' of .*b\.parquet is of type double and not int64"):
        read(tmp_path / "b.parquet", columns)
    assert read(tmp_path / "c.parquet", columns) == [Document("c.parquet#0", ["c"], [None])]
    pq.write_table(pa.table({"kept": [1]}), tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"d\.parquet has no column text; its columns are kept"):
        read(tmp_path / "d.parquet", columns)


def test_a_file_without_its_footer_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    numbered(path, 10, 10)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read: .*footer"):
        resolved(path)
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read: .*footer"):
        make_format("parquet").cut(list_inputs([str(path)])[0], 1000)


def test_options_of_text_do_not_fit() -> None:
    with pytest.raises(ValueError, match="--encoding does not fit format parquet"):
        make_format("parquet", ReadingOptions(encoding="cp1252"))


def test_types_have_the_names_that_give_them_back() -> None:
    for kind, column in COLUMNS:
        assert kept_type(arrow_type(kind)) == kind
        assert pa.array(plain_values(column), arrow_type(kind)).equals(column.cast(arrow_type(kind)))
