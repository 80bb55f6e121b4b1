"""Where each line or row begins, what it holds, and how little a broken one costs."""

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pytest

from ulmfit_ray.corpus import records as records_module
from ulmfit_ray.corpus.open_text import CountedLines, base_extension, is_compressed, open_text
from ulmfit_ray.corpus.records import Record, read_records


def lines_of(content: bytes, offset: int = 0, stop: int | None = None) -> list[tuple[int, bytes]]:
    return [(record.offset, record.raw) for record in read_records(io.BytesIO(content), "lines", offset, stop)]


def rows_of(content: bytes, offset: int = 0, stop: int | None = None) -> list[Record]:
    return list(read_records(io.BytesIO(content), "csv", offset, stop))


def cells_of(content: bytes) -> list[list[str] | None]:
    return [record.cells for record in rows_of(content)]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_files_are_read_decompressed(tmp_path: Path, suffix: str, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress(b"one\ntwo"))
    with open_text(str(path)) as stream:
        assert stream.read() == b"one\ntwo"
    assert is_compressed(str(path)) == bool(suffix)
    assert base_extension(str(path)) == ".jsonl"


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_text(str(tmp_path / "missing.txt"))


def test_extension_is_lower_case_and_of_the_format() -> None:
    assert base_extension("s3://bucket/a.b/Data.CSV.gz") == ".csv"
    assert base_extension("/no/extension") == ""
    assert not is_compressed("a.gz.txt")


def test_blank_lines_are_records_and_a_final_newline_adds_none() -> None:
    assert lines_of(b"a\n\n\r\nb\n") == [(0, b"a\n"), (2, b"\n"), (3, b"\r\n"), (5, b"b\n")]


def test_a_last_line_without_newline_is_a_record() -> None:
    assert lines_of(b"a\nb") == [(0, b"a\n"), (2, b"b")]


def test_an_empty_file_has_no_records() -> None:
    assert lines_of(b"") == []
    assert rows_of(b"") == []


def test_a_byte_order_mark_is_left_out_and_counted_in_the_offsets() -> None:
    assert lines_of(b"\xef\xbb\xbfab\nc\n") == [(3, b"ab\n"), (6, b"c\n")]
    assert [record.raw for record in read_records(io.BytesIO(b"\xef\xbb\xbfwhole\nfile"), "txt")] == [b"whole\nfile"]


def test_a_byte_order_mark_elsewhere_is_content() -> None:
    assert lines_of(b"a\n\xef\xbb\xbfb\n") == [(0, b"a\n"), (2, b"\xef\xbb\xbfb\n")]
    assert lines_of(b"\xef\xbb\xbfb\n", offset=10) == [(10, b"\xef\xbb\xbfb\n")]


def test_lines_that_begin_at_or_after_stop_are_left_out() -> None:
    content = b"aa\nbb\ncc\n"
    assert lines_of(content, stop=3) == [(0, b"aa\n")]
    assert lines_of(content, stop=4) == [(0, b"aa\n"), (3, b"bb\n")]
    assert lines_of(content, stop=0) == []


def test_offsets_count_from_where_the_stream_stands() -> None:
    assert lines_of(b"bb\ncc\n", offset=3) == [(3, b"bb\n"), (6, b"cc\n")]


def test_lines_handed_back_come_again_with_their_offsets() -> None:
    lines = CountedLines(io.BytesIO(b"a\nbb\nccc\n"))
    first = [lines.next_line(), lines.next_line()]
    lines.give_back([line for line in first if line])
    assert lines.offset == 0
    assert [lines.next_line() for _ in range(4)] == [b"a\n", b"bb\n", b"ccc\n", None]
    assert lines.offset == 9


def test_a_text_file_is_one_record() -> None:
    (record,) = read_records(io.BytesIO(b"one\n\ntwo"), "txt")
    assert (record.offset, record.raw) == (0, b"one\n\ntwo")


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
    monkeypatch.setattr(records_module, "MAX_RECORD_BYTES", 20)
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


def test_the_case_of_an_extension_does_not_decide_whether_a_file_is_compressed(tmp_path: Path) -> None:
    packed = tmp_path / "in.jsonl.GZ"
    packed.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert is_compressed(str(packed))
    assert base_extension(str(packed)) == ".jsonl"
    with open_text(str(packed)) as stream:
        assert stream.read() == b"one\ntwo\n"
