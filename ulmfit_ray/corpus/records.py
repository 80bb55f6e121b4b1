"""A record: one line, row or file of the corpus, as bytes, before anybody asks what it means.

A record keeps the bytes it was read from. A reader cuts a compressed file into shards by joining these bytes, and
the tokenizer reads the records of such a shard again with the same code, so both agree on every record and offset.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from ulmfit_ray.corpus.damage import DamagedFileError
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES, CountedLines, is_compressed, rest_of_line

SAMPLE_BYTES = 1 << 20
"""Columns and their types are looked for in so many bytes of a file."""


@dataclass(slots=True)
class Record:
    """One line, row or file: its byte offset in the decompressed file, and its bytes.

    Of one that is too long only the front is there, itself longer than MAX_RECORD_BYTES.

    A csv row also has its `cells`, or in `problem` the reason why it cannot be parsed. A row of a Parquet file has its
    number and its cells only.
    """

    offset: int
    raw: bytes
    cells: list[Any] | None = None
    problem: str = ""

    def text(self, encoding: str = "utf-8") -> str:
        """Return the record's bytes as text.

        Raises:
            BadRecordError: they are not in this encoding.
        """
        try:
            return self.raw.decode(encoding)
        except UnicodeDecodeError as error:
            name = "UTF-8" if encoding == "utf-8" else encoding
            raise BadRecordError(f"invalid {name}", str(error)) from error


class BadRecordError(Exception):
    """A record's content is no document. The arguments are a reason (one of a few) and a detail."""


def read_lines(stream: BinaryIO, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield every line that begins before `stop` as a record, blank ones too; a final newline adds none."""
    lines = CountedLines(stream, offset, stop)
    while (line := lines.next_line()) is not None:
        yield Record(lines.began, line)


def first_lines(stream: BinaryIO) -> BinaryIO:
    """Return the lines that begin in the first megabyte of a file; only those before the damage if it is damaged."""
    lines = io.BytesIO()
    with suppress(DamagedFileError):
        while lines.tell() < SAMPLE_BYTES and (line := stream.readline(MAX_RECORD_BYTES)):
            lines.write(line)
    lines.seek(0)
    return lines


def cut_at_lines(file: InputFile, unit_bytes: int) -> list[tuple[int, int]] | None:
    """Return byte ranges of `unit_bytes`; None for a file that can only be read from the front."""
    if is_compressed(file.path) or not file.has_ranges:
        return None
    return [(start, min(start + unit_bytes, file.size)) for start in range(0, max(file.size, 1), unit_bytes)]


def next_line(stream: BinaryIO, start: int) -> int:
    """Move the stream to the first line that begins at `start` or later, and return the line's offset.

    A range owns the lines that begin in it. The line that holds the range's first byte may begin before the range;
    it belongs to the range before.
    """
    if start == 0:
        return 0
    stream.seek(start - 1)
    return start - 1 + rest_of_line(stream)
