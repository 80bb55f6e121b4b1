"""csv: a row is a document, the first row names the columns. A quoted cell may hold newlines.

Where a line begins says nothing about where a row begins, so a csv file is read from its front.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from ulmfit_ray.corpus.formats.format import SAMPLE_BYTES, Format, Values
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import CountedLines
from ulmfit_ray.corpus.records import BadRecordError, Record

MAX_RECORD_BYTES = 64 << 20
"""A row longer than this is taken for an unbalanced quote: its first line is bad, the next line begins a row."""


def _from_the_front_only(file: InputFile, unit_bytes: int) -> None:
    return None


def read_header(stream: BinaryIO) -> tuple[list[str], int]:
    """Read the first row as column names; return them and the offset of the row after it."""
    lines = CountedLines(stream)
    line = lines.next_line()
    header = line.decode("utf-8", "replace") if line else ""
    return next(csv.reader([header]), []), lines.offset


def read_rows(stream: BinaryIO, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield every row that begins before `stop` as a record.

    A row that cannot be parsed costs its first line only: the lines after it are read again as rows of their own,
    so that one stray quote does not swallow the rest of the file.
    """
    csv.field_size_limit(sys.maxsize)
    lines = CountedLines(stream, offset, stop)
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
    """Read one row and collect its lines; bytes that are not UTF-8 become surrogate escapes."""

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


def _values(record: Record, header: Sequence[str]) -> Values | None:
    if record.problem:
        raise BadRecordError("malformed row", record.problem)
    if not record.cells:
        return None
    record.text()
    if len(record.cells) != len(header):
        raise BadRecordError("malformed row", f"{len(record.cells)} cells, the header has {len(header)}")
    return dict(zip(header, record.cells, strict=True))


def _sample(stream: BinaryIO) -> tuple[list[str], list[Values]]:
    header, offset = read_header(stream)
    rows = (record for record in read_rows(stream, offset, SAMPLE_BYTES) if record.raw.strip())
    return header, [dict(zip(header, record.cells or (), strict=False)) for record in islice(rows, 1)]


CSV = Format(
    name="csv",
    extensions=(".csv",),
    cut=_from_the_front_only,
    records=read_rows,
    values=_values,
    header=read_header,
    sample=_sample,
)
