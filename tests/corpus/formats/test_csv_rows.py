"""Where each csv row begins, what it holds, and how little a broken one costs."""

import io

import pytest

from ulmfit_ray.corpus.formats import csv_rows
from ulmfit_ray.corpus.formats.csv_rows import CSV, read_header, read_rows
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.records import BadRecordError, Record


def rows_of(content: bytes, offset: int = 0, stop: int | None = None) -> list[Record]:
    return list(read_rows(io.BytesIO(content), offset, stop))


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
    ],
    ids=["plain", "byte order mark", "quoted", "empty"],
)
def test_the_header_is_the_first_row_and_the_rows_begin_behind_it(
    content: bytes, expected: tuple[list[str], int]
) -> None:
    assert read_header(io.BytesIO(content)) == expected


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
        CSV.values(row, ("text", "other"))
    assert bad.value.args == ("malformed row", detail)


@pytest.mark.parametrize("path", ["a.csv", "a.csv.gz"])
def test_a_csv_file_is_read_from_its_front_only(path: str) -> None:
    assert CSV.cut(InputFile(path, path, 1000, "0"), 10) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n\n1,2\n3,4\n", (["a", "b"], [{"a": "1", "b": "2"}])),
        (b"a,b\n1\n", (["a", "b"], [{"a": "1"}])),
        (b'a,b\n"open\n', (["a", "b"], [{}])),
        (b"a,b\n\r\n", (["a", "b"], [])),
        (b"", ([], [])),
    ],
    ids=["rows", "a short row", "a broken row", "header alone", "empty"],
)
def test_a_sample_is_the_header_and_the_first_row(content: bytes, expected: tuple[list[str], list[dict]]) -> None:
    assert CSV.sample is not None
    assert CSV.sample(io.BytesIO(content)) == expected
