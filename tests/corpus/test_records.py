"""Where each line begins, and which range of a file owns it."""

import io

import pytest

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.records import BadRecordError, Record, cut_at_lines, next_line, read_lines


def lines_of(content: bytes, offset: int = 0, stop: int | None = None) -> list[tuple[int, bytes]]:
    return [(record.offset, record.raw) for record in read_lines(io.BytesIO(content), offset, stop)]


def test_blank_lines_are_records_and_a_final_newline_adds_none() -> None:
    assert lines_of(b"a\n\n\r\nb\n") == [(0, b"a\n"), (2, b"\n"), (3, b"\r\n"), (5, b"b\n")]


def test_a_last_line_without_newline_is_a_record() -> None:
    assert lines_of(b"a\nb") == [(0, b"a\n"), (2, b"b")]


def test_an_empty_file_has_no_records() -> None:
    assert lines_of(b"") == []


def test_a_byte_order_mark_is_left_out_and_counted_in_the_offsets() -> None:
    assert lines_of(b"\xef\xbb\xbfab\nc\n") == [(3, b"ab\n"), (6, b"c\n")]


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


@pytest.mark.parametrize(("start", "expected"), [(0, 0), (1, 3), (2, 3), (3, 3), (4, 6), (6, 6), (7, 8), (8, 8)])
def test_the_next_line_is_the_first_that_begins_at_the_start_or_later(start: int, expected: int) -> None:
    content = b"aa\nbb\nc\n"
    stream = io.BytesIO(content)
    assert next_line(stream, start) == expected
    assert stream.read() == content[expected:]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, [(0, 0)]), (9, [(0, 9)]), (10, [(0, 10)]), (25, [(0, 10), (10, 20), (20, 25)])],
)
def test_a_file_is_cut_into_ranges_of_a_units_size(size: int, expected: list[tuple[int, int]]) -> None:
    assert cut_at_lines(InputFile("a.jsonl", "a.jsonl", size, "0"), 10) == expected


def test_a_compressed_file_is_not_cut() -> None:
    assert cut_at_lines(InputFile("a.jsonl.gz", "a.jsonl.gz", 25, "0"), 10) is None


def test_a_records_text_is_its_bytes_as_utf8() -> None:
    assert Record(0, "zw\u00f6lf\n".encode()).text() == "zw\u00f6lf\n"
    with pytest.raises(BadRecordError, match="can't decode byte 0xff") as bad:
        Record(0, b"\xff").text()
    assert bad.value.args[0] == "invalid UTF-8"
