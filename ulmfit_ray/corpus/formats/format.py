"""What a format must know. Each format is one file beside this one; table.py lists them all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.records import Record

Values = dict[str, Any]
"""Column name -> value. A format without columns has one, "text"."""
Range = tuple[int, int]


class Header(NamedTuple):
    """What stands in front of a file's records: the columns' names (none: the file has no header), and where they
    begin."""

    names: list[str]
    offset: int
    types: Sequence[str] = ()
    """The columns' types, where the file itself knows them; "" is any type."""


class Source(NamedTuple):
    """The file that a record comes from, as far as the record's meaning depends on it."""

    path: str = ""
    header: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What the front of a file says of its columns."""

    names: list[str]
    has_records: bool
    type_of: Callable[[str], str]
    """column -> the name of its type, as columns of that type are kept. Raises ValueError if it cannot be kept."""
    types: Sequence[str] = ()
    """The columns' types, where the file itself knows them; "" is any type."""


def no_header(stream: BinaryIO) -> Header:
    """Return no column names; records begin at offset 0."""
    return Header([], 0)


def no_mistake(head: bytes) -> str:
    """Return "": any text may be of such a format."""
    return ""


def from_the_front(stream: BinaryIO, start: int) -> int:
    """Never called: every range of such a format is a whole file."""
    raise AssertionError(f"a range that begins at byte {start}")


def at_a_record(stream: BinaryIO, start: int) -> int:
    """Move the stream to `start`, where a record begins."""
    return stream.seek(start)


def never_cut(file: InputFile, unit_bytes: int) -> None:
    """Return no ranges: such a file can only be read from its front."""


def all_strings(column: str) -> str:
    """Return the type of a column of text."""
    return "string"


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
    values: Callable[[Record, Source], Values | None]
    """(record, its file) -> its values; None for a record that is nothing, as a blank line of jsonl.
    Raises BadRecordError."""
    locate: Callable[[BinaryIO, int], int] = from_the_front
    """(stream, start) -> offset of the first record that a range owns; the stream is moved there. Not called for a
    range that begins with the file's first record."""
    header: Callable[[BinaryIO], Header] = no_header
    """(stream that stands at its front) -> the file's header; the stream then stands at the first record."""
    sample: Callable[[BinaryIO], Sample] | None = None
    """(stream that stands at its front) -> the columns, by what is in the first megabyte. None: the format has no
    columns."""
    mistake: Callable[[bytes], str] = no_mistake
    """(a file's first bytes) -> what the file is instead, and what to do; "" if it may be of this format."""
    options: tuple[str, ...] = ("encoding",)
    """Which of ReadingOptions change how it is read; the others are refused."""
    encoding: str = "utf-8"
    is_binary: bool = False
    """Whether its files are no text: read as they are stored, at random, and never compressed as a whole."""
    is_bundled: bool = False
    """Whether a file is one document: it is never cut, and shares its unit with others, however large."""
