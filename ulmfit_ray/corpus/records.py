"""Bytes -> records: where each line or csv row begins, what it holds, and how a broken one is passed over.

A record keeps the bytes it was read from. So a reader that cuts a compressed file into shards and the tokenizer
that later works on such a shard run the same code on the same bytes and agree on every record and offset.
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ulmfit_ray.corpus.open_text import UTF8_BOM, CountedLines

MAX_RECORD_BYTES = 64 << 20
"""A csv row longer than this is taken for an unbalanced quote: its first line is bad, the next one a new row."""


@dataclass(slots=True)
class Record:
    """One line or row: `offset` in the decompressed file, its bytes, a csv row's cells, or what is wrong."""

    offset: int
    raw: bytes
    cells: list[str] | None = None
    problem: str = ""


def read_lines(lines: CountedLines) -> Iterator[Record]:
    """Yield every line as a record, blank ones too; a final newline adds none."""
    while (line := lines.next_line()) is not None:
        yield Record(lines.offset - len(line), line)


def read_rows(lines: CountedLines) -> Iterator[Record]:
    """Yield every csv row as a record; a quoted cell may hold newlines.

    A row that cannot be parsed costs its first line only: the lines after it are read again as rows of their own,
    so that one stray quote does not swallow the rest of the file.
    """
    csv.field_size_limit(sys.maxsize)
    while True:
        row_lines: list[bytes] = []
        record = _read_row(lines, row_lines)
        if record is None:
            return
        if record.problem:
            lines.give_back(row_lines[1:])
            record.raw = row_lines[0]
        yield record


def _read_row(lines: CountedLines, row_lines: list[bytes]) -> Record | None:
    """Read one row, collecting its lines; surrogate escapes stand for bytes that are not UTF-8."""

    def decoded() -> Iterator[str]:
        size = 0
        while size < MAX_RECORD_BYTES and (line := lines.next_line()) is not None:
            row_lines.append(line)
            size += len(line)
            yield line.decode("utf-8", "surrogateescape")

    try:
        cells = next(csv.reader(decoded(), strict=True), None)
        problem = ""
    except csv.Error as error:
        cells, problem = None, str(error)
    if not row_lines:
        return None
    raw = b"".join(row_lines)
    return Record(lines.offset - len(raw), raw, cells, problem)


def read_records(stream: BinaryIO, file_format: str, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield the records of a stream that stands at `offset`, those that begin before `stop`."""
    if file_format == "txt":
        yield Record(0, stream.read().removeprefix(UTF8_BOM))
        return
    lines = CountedLines(stream, offset, stop)
    yield from (read_rows if file_format == "csv" else read_lines)(lines)
