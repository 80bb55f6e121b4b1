"""csv and tsv: a row is a document, the first row names the columns (with --no-header they are numbered from 0).

With quoting, the rule for csv, a cell may hold newlines: where a line begins says nothing about where a row begins.
Without it, the rule for tsv, a row is a line.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import BinaryIO

from ulmfit_ray.corpus.formats.format import (
    Format,
    Header,
    Range,
    Sample,
    Source,
    Values,
    all_strings,
    at_a_record,
    no_header,
)
from ulmfit_ray.corpus.formats.options import ReadingOptions, stands_alone
from ulmfit_ray.corpus.formats.row_starts import find_row_starts
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES, CountedLines, is_compressed
from ulmfit_ray.corpus.records import (
    BadRecordError,
    Record,
    cut_at_lines,
    first_lines,
    next_line,
    read_lines,
)

SAMPLE_ROWS = 100
LABEL = "label"
"""The column with the name of the class that the first column numbers."""


def make_csv(options: ReadingOptions) -> Format:
    """Return the format csv."""
    rows = _Rows(options, options.delimiter or ",", options.quoting is not False)
    return _rows_format("csv", (".csv",), ("encoding", "delimiter", "quoting", "header"), rows)


def make_tsv(options: ReadingOptions) -> Format:
    """Return the format tsv."""
    rows = _Rows(options, "\t", options.quoting is True)
    return _rows_format("tsv", (".tsv", ".tab"), ("encoding", "quoting", "header"), rows)


def _rows_format(name: str, extensions: tuple[str, ...], taken: tuple[str, ...], rows: "_Rows") -> Format:
    return Format(
        name=name,
        extensions=extensions,
        cut=rows.cut_quoted if rows.is_quoted else cut_at_lines,
        locate=at_a_record if rows.is_quoted else next_line,
        header=rows.header if rows.options.header else no_header,
        records=rows.quoted_records if rows.is_quoted else read_lines,
        values=rows.named_values if rows.options.header else rows.numbered_values,
        sample=rows.sample,
        options=taken,
        encoding=rows.options.encoding,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """How rows are written, and read."""

    options: ReadingOptions
    delimiter: str
    is_quoted: bool

    def cut_quoted(self, file: InputFile, unit_bytes: int) -> list[Range] | None:
        """Return ranges of about `unit_bytes` that begin with a row; None if the rows can only be told from the front.

        The whole file is read for this, at about half a gigabyte a second and core from a local disk.
        """
        is_whole = is_compressed(file.path) or not file.has_ranges or file.size <= unit_bytes
        if is_whole or not all(stands_alone(sign, self.options.encoding) for sign in ('"', "\r", "\n", self.delimiter)):
            return None
        places = range(unit_bytes, file.size, unit_bytes)
        starts = find_row_starts(file, places, self.delimiter.encode())
        return None if starts is None else list(pairwise([0, *starts, file.size]))

    def header(self, stream: BinaryIO) -> Header:
        """Read the first row that is not blank as column names.

        Raises:
            ValueError: it cannot be parsed. The rows behind it cannot be understood, and some are read with it.
        """
        lines, encoding = CountedLines(stream), self.options.encoding
        while True:
            row_lines: list[bytes] = []
            record = self._first_row(lines, row_lines)
            if record is None:
                return Header([], lines.offset)
            if record.problem:
                raise ValueError(f"its first row, the names of the columns, cannot be parsed: {record.problem}")
            if not record.raw.strip():
                continue
            text = [line.decode(encoding, "replace") for line in row_lines]
            names = next(csv.reader(text, delimiter=self.delimiter), []) if self.is_quoted else self._split(text[0])
            return Header(names, lines.offset)

    def _first_row(self, lines: CountedLines, row_lines: list[bytes]) -> Record | None:
        if self.is_quoted:
            return self._quoted_record(lines, row_lines)
        line = lines.next_line()
        row_lines += [line] if line else []
        return None if line is None else Record(lines.began, line)

    def quoted_records(self, stream: BinaryIO, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
        """Yield every row that begins before `stop` as a record.

        A row that cannot be parsed costs its first line only: the lines after it are read again as rows of their own,
        so that one stray quote does not swallow the rest of the file.
        """
        csv.field_size_limit(sys.maxsize)
        lines = CountedLines(stream, offset, stop)
        while True:
            row_lines: list[bytes] = []
            record = self._quoted_record(lines, row_lines)
            if record is None:
                return
            if record.problem:
                lines.give_back(row_lines[1:])
                record.raw = row_lines[0]
            yield record

    def _quoted_record(self, lines: CountedLines, row_lines: list[bytes]) -> Record | None:
        """Read one row and collect its lines; bytes that are not of the encoding become surrogate escapes."""
        encoding = self.options.encoding
        began = lines.offset

        def decoded() -> Iterator[str]:
            nonlocal began
            size = 0
            while size < MAX_RECORD_BYTES and (line := lines.next_line()) is not None:
                began = began if row_lines else lines.began
                row_lines.append(line)
                size += len(line)
                yield line.decode(encoding, "surrogateescape")

        try:
            cells = next(csv.reader(decoded(), strict=True, delimiter=self.delimiter), None)
            problem = ""
        except csv.Error as error:
            cells, problem = None, str(error)
        if not row_lines:
            return None
        return Record(began, b"".join(row_lines), cells, problem)

    def _cells(self, record: Record) -> Sequence[str]:
        """Return the cells of a row; a blank line has none.

        Raises:
            BadRecordError: it cannot be parsed, or is not in the encoding.
        """
        if record.problem:
            raise BadRecordError("malformed row", record.problem)
        text = record.text(self.options.encoding)
        return record.cells or () if self.is_quoted else self._split(text)

    def _split(self, line: str) -> list[str]:
        line = line.removesuffix("\n").removesuffix("\r")
        return line.split(self.delimiter) if line else []

    def named_values(self, record: Record, source: Source) -> Values | None:
        """Return a row's cells by the header's names."""
        cells = self._cells(record)
        if not cells:
            return None
        if len(cells) != len(source.header):
            raise BadRecordError("malformed row", f"{len(cells)} cells, the header has {len(source.header)}")
        return dict(zip(source.header, cells, strict=True))

    def numbered_values(self, record: Record, source: Source) -> Values | None:
        """Return a row's cells by their numbers, and its label; only the columns asked for must be there."""
        cells = self._cells(record)
        if not cells:
            return None
        values: Values = {str(number): cell for number, cell in enumerate(cells)}
        for column in self.options.columns:
            if column == LABEL:
                values[LABEL] = self._class_name(cells[0])
            elif column not in values:
                raise BadRecordError("malformed row", f"{len(cells)} cells, there is no column {column}")
        return values

    def _class_name(self, number: str) -> str:
        classes = self.options.classes
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= len(classes)):
            raise BadRecordError("no such class", f"{number!r:.80} is not a number from 1 to {len(classes)}")
        return classes[int(number) - 1]

    def sample(self, stream: BinaryIO) -> Sample:
        """Return the header's columns, or else as many numbers as the longest of the first rows has cells."""
        lines = first_lines(stream)
        header = self.header(lines) if self.options.header else no_header(lines)
        records = self.quoted_records(lines, header.offset) if self.is_quoted else read_lines(lines, header.offset)
        if self.options.header:
            return Sample(header.names, any(record.raw.strip() for record in records), all_strings)
        length = max(map(self._num_cells, islice(records, SAMPLE_ROWS)), default=0)
        labels = [LABEL] if self.options.classes else []
        return Sample([*map(str, range(length)), *labels], length > 0, all_strings)

    def _num_cells(self, record: Record) -> int:
        try:
            return len(self._cells(record))
        except BadRecordError:
            return 0
