"""What a format must know. Each format is one file beside this one; table.py lists them all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.records import Record

Values = dict[str, Any]
"""Column name -> value. A format without columns has one, "text"."""
Range = tuple[int, int]
SAMPLE_BYTES = 1 << 20
"""Columns and their types are looked for in so many bytes of a file."""


def no_header(stream: BinaryIO) -> tuple[list[str], int]:
    """Return no column names; records begin at offset 0."""
    return [], 0


def no_mistake(head: bytes) -> str:
    """Return "": any text may be of such a format."""
    return ""


def from_the_front(stream: BinaryIO, start: int) -> int:
    """Return offset 0: every range of such a format is a whole file."""
    assert start == 0, start
    return 0


@dataclass(frozen=True, slots=True)
class Format:
    """How files of one format are cut into units, read, and understood."""

    name: str
    """What --format calls it."""
    extensions: tuple[str, ...]
    """Extensions of files in this format; a compression's extension (.gz) after them is not part of it."""
    cut: Callable[[InputFile, int], list[Range] | None]
    """(file, unit_bytes) -> the ranges that can be read apart from each other; None: only from the front."""
    records: Callable[[BinaryIO, int, int | None], Iterator[Record]]
    """(stream, offset, stop) -> the records of a stream that stands at `offset`, those that begin before `stop`."""
    values: Callable[[Record, Sequence[str]], Values | None]
    """(record, header) -> its values; None for a record that is nothing, as a blank line of jsonl.
    Raises BadRecordError."""
    locate: Callable[[BinaryIO, int], int] = from_the_front
    """(stream, start) -> offset of the first record that a range owns; the stream is moved there."""
    header: Callable[[BinaryIO], tuple[list[str], int]] = no_header
    """(stream) -> column names that stand in front of the records, and the offset at which the records begin."""
    sample: Callable[[BinaryIO], tuple[list[str], list[Values]]] | None = None
    """(stream) -> the names of the columns, and rows from the file's first megabyte that show the columns' types (one
    is enough if all values are strings). None: the format has no columns."""
    mistake: Callable[[bytes], str] = no_mistake
    """(a file's first bytes) -> what the file is instead, and what to do; "" if it may be of this format."""
    is_bundled: bool = False
    """Whether a file is one document; many small files then share a unit."""
