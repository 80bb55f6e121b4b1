"""A record: one line, row or file of the corpus, as bytes, before anybody asks what it means.

A record keeps the bytes it was read from. A reader cuts a compressed file into shards by joining these bytes, and
the tokenizer reads the records of such a shard again with the same code, so both agree on every record and offset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import CountedLines, is_compressed


@dataclass(slots=True)
class Record:
    """One line, row or file: its byte offset in the decompressed file, and its bytes.

    A csv row also has its `cells`, or in `problem` the reason why it cannot be parsed.
    """

    offset: int
    raw: bytes
    cells: list[str] | None = None
    problem: str = ""

    def text(self) -> str:
        """Return the record's bytes as text.

        Raises:
            BadRecordError: they are not UTF-8.
        """
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRecordError("invalid UTF-8", str(error)) from error


class BadRecordError(Exception):
    """A record's content is no document. The arguments are a reason (one of a few) and a detail."""


def read_lines(stream: BinaryIO, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield every line that begins before `stop` as a record, blank ones too; a final newline adds none."""
    lines = CountedLines(stream, offset, stop)
    while (line := lines.next_line()) is not None:
        yield Record(lines.offset - len(line), line)


def cut_at_lines(file: InputFile, unit_bytes: int) -> list[tuple[int, int]] | None:
    """Return byte ranges of `unit_bytes`; None for a compressed file, which can only be read from the front."""
    if is_compressed(file.path):
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
    return start - 1 + len(stream.readline())
