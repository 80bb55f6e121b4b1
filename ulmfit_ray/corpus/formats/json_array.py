"""json: a file is one array of objects, whose keys are the columns. It is read from its front in constant memory."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from typing import BinaryIO

from ulmfit_ray.corpus.damage import DamagedFileError
from ulmfit_ray.corpus.formats.format import Format, Header, Sample, Source, Values, never_cut
from ulmfit_ray.corpus.formats.jsonl import is_object, object_of, sample_of
from ulmfit_ray.corpus.formats.options import ReadingOptions, stands_alone
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES, UTF8_BOM
from ulmfit_ray.corpus.records import SAMPLE_BYTES, Record

STEP_BYTES = 1 << 20
SIGNS = '"\\{}[],'
"""What the bytes are searched for."""
_SIGN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
"""A whole string, or a sign outside of strings; a single quote begins a string that is not closed."""
_END_OF_WORD = re.compile(rb"[,\]\s]")
_BETWEEN = re.compile(rb"[,\s]*+")


def make_json(options: ReadingOptions) -> Format:
    """Return the format."""
    encoding = options.encoding
    if not all(stands_alone(sign, encoding) for sign in SIGNS):
        raise ValueError(
            f"format json is not read in {encoding}: convert the files, as with iconv -f {encoding} -t utf-8"
        )

    def values(record: Record, source: Source) -> Values:
        return object_of(record.text(encoding).rstrip(", \t\r\n"))

    def sample(stream: BinaryIO) -> Sample:
        return sample_of(_first_elements(stream), values)

    def mistake(head: bytes) -> str:
        return _not_an_array(head.decode(encoding, "replace").removeprefix("\ufeff"))

    return Format(
        name="json",
        extensions=(".json",),
        cut=never_cut,
        header=read_front,
        records=read_elements,
        values=values,
        sample=sample,
        mistake=mistake,
        encoding=encoding,
    )


def read_front(stream: BinaryIO) -> Header:
    """Read up to the bracket that opens the array; there are no column names in front of it.

    Raises:
        DamagedFileError: the file begins with something else.
    """
    size, mark = 0, b""
    while byte := stream.read(1):
        size += 1
        if len(mark) == size - 1 and UTF8_BOM.startswith(mark + byte):
            mark += byte
        elif mark in (b"", UTF8_BOM) and byte == b"[":
            break
        elif mark not in (b"", UTF8_BOM) or byte.strip():
            raise DamagedFileError(size - 1, "no JSON array begins here")
    return Header([], size)


def read_elements(stream: BinaryIO, offset: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield the elements that begin before `stop`, of an array of which `offset` bytes are read.

    Each has what separates it from the next one.

    Raises:
        DamagedFileError: behind the last element that is whole, if the array is not closed there, or if something
            stands behind the array.
    """
    text = _Text(stream, offset)
    text.skip_separators()

    def is_over() -> bool:
        return stop is not None and text.offset >= stop

    while text.has_more() and not is_over():
        if text.next_byte() == b"]":
            text.position += 1
            text.skip_separators()
            if text.has_more():
                raise DamagedFileError(text.offset, "something stands behind the end of the array")
            return
        began = text.offset
        element = text.take_element()
        separators = text.skip_separators()
        yield Record(began, element + separators)
        if not text.has_more() and not is_over():
            raise DamagedFileError(text.offset, "the array is not closed")


class _Text:
    """The bytes of a stream from a place on: those that are read and not passed by yet."""

    def __init__(self, stream: BinaryIO, offset: int) -> None:
        self._stream = stream
        self._bytes = b""
        self._dropped = offset
        self.position = 0

    @property
    def offset(self) -> int:
        """Where the text stands in the file."""
        return self._dropped + self.position

    def next_byte(self) -> bytes:
        return self._bytes[self.position : self.position + 1]

    def has_more(self) -> bool:
        """Tell whether there is another byte."""
        return self.position < len(self._bytes) or self._read_on()

    def skip_separators(self) -> bytes:
        """Pass by commas and white space, and return them."""
        passed = b""
        while self.has_more():
            end = _BETWEEN.match(self._bytes, self.position).end()  # type: ignore[union-attr]
            passed += self._bytes[self.position : end]
            self.position = end
            if len(passed) > MAX_RECORD_BYTES:
                raise DamagedFileError(self.offset, "nothing but white space and commas stands before it")
            if end < len(self._bytes):
                break
        return passed

    def take_element(self) -> bytes:
        """Pass by one element, and return it.

        Raises:
            DamagedFileError: it is not closed.
        """
        while (end := _end_of_element(self._bytes, self.position)) is None:
            if len(self._bytes) - self.position > MAX_RECORD_BYTES or not self._read_on():
                raise DamagedFileError(self.offset, "the element of the array that begins here is not closed")
        element = self._bytes[self.position : end]
        self.position = end
        return element

    def _read_on(self) -> bool:
        """Read as much again as is held, so that a long element is searched a few times only."""
        chunk = self._stream.read(max(STEP_BYTES, len(self._bytes) - self.position))
        self._bytes = self._bytes[self.position :] + chunk
        self._dropped += self.position
        self.position = 0
        return bool(chunk)


def _end_of_element(text: bytes, start: int) -> int | None:
    """Return where the element that begins at `start` ends, or None if more bytes are needed to tell."""
    if text[start] not in b'"{[':
        found = _END_OF_WORD.search(text, start)
        return found.start() if found else None
    depth = 0
    for sign in _SIGN.finditer(text, start):
        match text[sign.start()]:
            case 0x22:
                if sign.end() == sign.start() + 1:
                    return None
            case 0x7B | 0x5B:
                depth += 1
            case _:
                depth -= 1
        if depth <= 0:
            return sign.end()
    return None


def _first_elements(stream: BinaryIO) -> Iterator[Record]:
    """Yield the elements that begin in the first megabyte of a file; only those before the damage if it is damaged."""
    with suppress(DamagedFileError):
        offset = read_front(stream).offset
        yield from takewhile(lambda record: record.offset < SAMPLE_BYTES, read_elements(stream, offset))


def _not_an_array(head: str) -> str:
    """Return what to say of a file that begins like this unless it may be an array, else ""."""
    content = head.lstrip()
    if not content or content.startswith("["):
        return ""
    if is_object(content.split("\n")[0]):
        return "one JSON object per line, not one array: say --format jsonl"
    return f"no JSON array, which begins with [: it begins with {content[0]}"
