"""Where each csv row begins, what it holds, and how little a broken one costs."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ulmfit_ray.corpus.columns import Columns, resolve_columns
from ulmfit_ray.corpus.documents import Document
from ulmfit_ray.corpus.formats import csv_rows
from ulmfit_ray.corpus.formats.format import Header, Source, Values
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.listing import InputFile, list_inputs
from ulmfit_ray.corpus.reading import documents_of
from ulmfit_ray.corpus.records import BadRecordError, Record
from ulmfit_ray.corpus.units import Piece, Unit, cut_into_units

CSV = make_format("csv")


def rows_of(content: bytes, offset: int = 0, stop: int | None = None) -> list[Record]:
    return list(CSV.records(io.BytesIO(content), offset, stop))


def cells_of(content: bytes) -> list[list[str] | None]:
    return [record.cells for record in rows_of(content)]


def test_an_empty_file_has_no_records() -> None:
    assert rows_of(b"") == []


def test_quoted_cells_may_hold_newlines_commas_and_quotes() -> None:
    content = b'1,"two\nlines, and ""quotes"""\r\n2,plain\n'
    records = rows_of(content)
    assert [record.cells for record in records] == [["1", 'two\nlines, and "quotes"'], ["2", "plain"]]
    assert [record.offset for record in records] == [0, 31]
    assert b"".join(record.raw for record in records) == content


def test_blank_rows_have_no_cells() -> None:
    assert cells_of(b"a,b\n\nc,d\n") == [["a", "b"], [], ["c", "d"]]


def test_a_stray_quote_costs_its_first_line_only() -> None:
    content = b'1,good\n2,"stray" quote\n3,"two\nlines"\n4,good\n'
    records = rows_of(content)
    assert [(record.offset, bool(record.problem)) for record in records] == [
        (0, False),
        (7, True),
        (23, False),
        (37, False),
    ]
    assert records[1].raw == b'2,"stray" quote\n'
    assert [record.cells for record in records if not record.problem] == [
        ["1", "good"],
        ["3", "two\nlines"],
        ["4", "good"],
    ]


def test_a_quote_that_is_never_closed_costs_its_first_line_only() -> None:
    content = b'1,good\n2,"never closed\n3,good\n4,good'
    records = rows_of(content)
    assert [record.cells for record in records if not record.problem] == [["1", "good"], ["3", "good"], ["4", "good"]]
    assert [record.raw for record in records if record.problem] == [b'2,"never closed\n']
    assert [record.offset for record in records] == [0, 7, 23, 30]


def test_a_row_over_the_largest_size_is_taken_for_an_unbalanced_quote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MAX_RECORD_BYTES", 20)
    content = b'1,"open\n' + b"2,aaaaa\n" * 5 + b'3,"close"\n'
    records = rows_of(content)
    assert [record.raw for record in records if record.problem] == [b'1,"open\n']
    assert [record.cells for record in records if not record.problem] == [["2", "aaaaa"]] * 5 + [["3", "close"]]


def test_a_cell_may_be_longer_than_the_csv_modules_default_limit() -> None:
    cell = "x" * 200_000
    assert cells_of(f'1,"{cell}"\n2,y\n'.encode()) == [["1", cell], ["2", "y"]]


def test_rows_read_again_from_any_cut_are_the_same() -> None:
    content = b'1,"a\nb"\n2,"stray" x\n3,c\n4,"d\n\ne"\n5,"open\n6,f\n'
    whole = rows_of(content)
    for cut in range(1, len(whole)):
        start = whole[cut].offset
        tail = rows_of(content[start:], offset=start)
        assert tail == whole[cut:]


def test_records_between_two_cuts_are_the_same_as_in_the_whole_file() -> None:
    content = b'1,"a\nb"\n2,"stray" x\n3,c\n4,"d\n\ne"\n5,"open\n6,g\n'
    whole = rows_of(content)
    for first in range(len(whole)):
        for last in range(first + 1, len(whole) + 1):
            raw = b"".join(record.raw for record in whole[first:last])
            assert rows_of(raw, offset=whole[first].offset) == whole[first:last]


def test_bytes_that_are_not_utf8_survive_in_raw() -> None:
    (record,) = rows_of(b"1,\xff\xfe\n")
    assert record.raw == b"1,\xff\xfe\n"
    assert not record.problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id,text\n1,x\n", (["id", "text"], 8)),
        (b"\xef\xbb\xbfid,text\r\n1,x\n", (["id", "text"], 12)),
        (b'id,"a, b"', (["id", "a, b"], 9)),
        (b"", ([], 0)),
        (b"\r\n\nid,text\n1,x\n", (["id", "text"], 11)),
    ],
    ids=["plain", "byte order mark", "quoted", "empty", "blank lines in front"],
)
def test_the_header_is_the_first_row_and_the_rows_begin_behind_it(
    content: bytes, expected: tuple[list[str], int]
) -> None:
    assert CSV.header(io.BytesIO(content)) == Header(*expected)


@pytest.mark.parametrize(
    "content",
    [b'text,"label\nhello,"a"b\nworld,1\n', b'"never closed\na,b\n', b"text,label\rhello,1\rworld,2\r"],
    ids=["a stray quote", "an open quote", "carriage returns alone"],
)
def test_a_header_that_cannot_be_parsed_is_told_and_no_row_behind_it_is_lost_in_silence(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"its first row, the names of the columns, cannot be parsed: "):
        CSV.header(io.BytesIO(content))
    files = list_inputs([str(tmp_path / "a.csv")])
    with pytest.raises(ValueError, match=r"a\.csv cannot be read: its first row"):
        resolve_columns(files, CSV, text=["text"], id_column=None, keep=[])
    (unit,) = cut_into_units(files, CSV)
    with pytest.raises(ValueError, match=r"a\.csv cannot be read: its first row"):
        list(documents_of(unit, None, CSV, Columns()))


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        (Record(0, b'a"b\n', None, "unexpected end of data"), "unexpected end of data"),
        (Record(0, b"a\n", ["a"]), "1 cells, the header has 2"),
        (Record(0, b"a,b,c\n", ["a", "b", "c"]), "3 cells, the header has 2"),
    ],
)
def test_a_row_that_does_not_fit_the_header_is_malformed(row: Record, detail: str) -> None:
    with pytest.raises(BadRecordError) as bad:
        CSV.values(row, Source("", ("text", "other")))
    assert bad.value.args == ("malformed row", detail)


@pytest.mark.parametrize("path", ["a.csv", "a.csv.gz"])
def test_a_csv_file_that_is_small_or_compressed_is_read_from_its_front_only(path: str) -> None:
    assert CSV.cut(InputFile(path, path, 1000, "0"), 1000) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n\n1,2\n3,4\n", (["a", "b"], True)),
        (b"a,b\n1\n", (["a", "b"], True)),
        (b'a,b\n"open\n', (["a", "b"], True)),
        (b"a,b\n\r\n", (["a", "b"], False)),
        (b"", ([], False)),
    ],
    ids=["rows", "a short row", "a broken row", "header alone", "empty"],
)
def test_a_sample_is_the_header_and_whether_a_row_is_there(content: bytes, expected: tuple[list[str], bool]) -> None:
    assert CSV.sample is not None
    sample = CSV.sample(io.BytesIO(content))
    assert (sample.names, sample.has_records) == expected


def values_of(content: bytes, name: str, **options: Any) -> list[Values | str | None]:
    """Return what each row of a file holds, or why it cannot be read."""
    file_format = make_format(name, ReadingOptions(**options))
    stream = io.BytesIO(content)
    names, offset, _ = file_format.header(stream)
    found: list[Values | str | None] = []
    for record in file_format.records(stream, offset, None):
        try:
            found.append(file_format.values(record, Source("", names)))
        except BadRecordError as bad:
            found.append(f"{bad.args[0]}: {bad.args[1]}")
    return found


@pytest.mark.parametrize(("name", "delimiter"), [("csv", ";"), ("csv", "\t"), ("csv", "|"), ("tsv", None)])
@pytest.mark.parametrize("quoting", [True, False])
def test_cells_are_those_that_pandas_reads(name: str, delimiter: str | None, quoting: bool) -> None:
    cells = [["a", "b"], ["1", ""], ["", "'x'"], ["with , and : and \u00fc", " y "], ["z", "last"]]
    sign = delimiter or "\t"
    if quoting:
        cells += [["two\nlines", f'a {sign} and a " quote'], ["", "end"]]
    text = io.StringIO()
    csv.writer(
        text, delimiter=sign, lineterminator="\n", quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
    ).writerows(cells)
    frame = pd.read_csv(
        io.StringIO(text.getvalue()),
        sep=sign,
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        dtype=str,
        keep_default_na=False,
    )
    options = {"delimiter": delimiter} if delimiter else {}
    assert values_of(text.getvalue().encode(), name, quoting=quoting, **options) == frame.to_dict("records")


def test_quotes_mean_nothing_in_tsv() -> None:
    content = b'a\tb\r\n"x\t"y" z"\n5" disk\t""\n\nonly one\n'
    assert values_of(content, "tsv") == [
        {"a": '"x', "b": '"y" z"'},
        {"a": '5" disk', "b": '""'},
        None,
        "malformed row: 1 cells, the header has 2",
    ]


def test_rows_without_quoting_are_cut_at_any_line_and_have_the_header_of_the_front(tmp_path: Path) -> None:
    content = "\ufeffid\ttext\n" + "".join(f"{number}\tsome text {'x' * (number % 7)}\n" for number in range(50))
    path = tmp_path / "a.tsv"
    path.write_text(content)
    (file,) = list_inputs([str(path)])
    file_format, columns = make_format("tsv"), Columns(id="id")
    ranges = file_format.cut(file, 60)
    assert ranges is not None
    assert len(ranges) > 10
    documents = [
        found
        for start, stop in [*ranges, (0, 5), (5, 6)]
        for found in documents_of(Unit(0, (Piece(str(path), "a.tsv", start, stop),)), None, file_format, columns)
    ]
    assert [found.doc_id for found in documents if isinstance(found, Document)] == [str(number) for number in range(50)]


def test_without_header_columns_are_numbers_and_only_those_asked_for_must_be_there() -> None:
    content = b"g\t1\tone\ttwo\nh\t2\tthree\tfour\tfive\t\n\nk\t3\tsix\n"
    assert values_of(content, "tsv", header=False, columns=("2", "3")) == [
        {"0": "g", "1": "1", "2": "one", "3": "two"},
        {"0": "h", "1": "2", "2": "three", "3": "four", "4": "five", "5": ""},
        None,
        "malformed row: 3 cells, there is no column 3",
    ]


def test_the_label_is_the_name_of_the_class_that_the_first_column_numbers() -> None:
    content = b'"2","Wall St."\n"3",x\n"0",y\nten,z\n"1",w\n'
    found = values_of(content, "csv", header=False, columns=("1", "label"), classes=("World", "Business"))
    assert found == [
        {"0": "2", "1": "Wall St.", "label": "Business"},
        "no such class: '3' is not a number from 1 to 2",
        "no such class: '0' is not a number from 1 to 2",
        "no such class: 'ten' is not a number from 1 to 2",
        {"0": "1", "1": "w", "label": "World"},
    ]
    assert values_of(b"7,x\n", "csv", header=False, columns=("1",), classes=("World",)) == [{"0": "7", "1": "x"}]


@pytest.mark.parametrize(
    ("classes", "expected"), [((), ["0", "1", "2", "3"]), (("World",), ["0", "1", "2", "3", "label"])]
)
def test_without_header_there_are_as_many_columns_as_in_the_longest_of_the_first_rows(
    classes: tuple[str, ...], expected: list[str]
) -> None:
    file_format = make_format("tsv", ReadingOptions(header=False, classes=classes))
    assert file_format.sample is not None
    sample = file_format.sample(io.BytesIO(b"a\tb\n\na\tb\tc\td\na\n"))
    assert (sample.names, sample.has_records) == (expected, True)
    assert not file_format.sample(io.BytesIO(b"\n")).has_records


@pytest.mark.parametrize("encoding", ["cp1252", "gb18030", "shift_jis", "koi8-r"])
@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_rows_are_read_in_their_encoding(name: str, encoding: str) -> None:
    word = {"cp1252": "\u201czw\u00f6lf\u201d", "koi8-r": "\u0434\u0432\u0430"}.get(encoding, "\u30dd\u8868\u5341")
    sign = "," if name == "csv" else "\t"
    content = f"{word}{sign}b\n{word}{sign}c\n".encode(encoding)
    assert values_of(content, name, encoding=encoding) == [{word: word, "b": "c"}]
    broken = values_of(content + b"\x81\xff" + f"{sign}d\n".encode(encoding), name, encoding=encoding)
    assert broken[0] == {word: word, "b": "c"}
    assert encoding == "koi8-r" or str(broken[1]).startswith(f"invalid {encoding}: ")
