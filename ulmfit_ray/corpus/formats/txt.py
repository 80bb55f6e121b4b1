"""txt: a file is a document."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from ulmfit_ray.corpus.formats.format import Format, Range, Values
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import UTF8_BOM
from ulmfit_ray.corpus.records import Record


def _whole_file(file: InputFile, unit_bytes: int) -> list[Range]:
    return [(0, file.size)]


def _one_record(stream: BinaryIO, offset: int, stop: int | None) -> Iterator[Record]:
    yield Record(0, stream.read().removeprefix(UTF8_BOM))


def _values(record: Record, header: Sequence[str]) -> Values:
    return {"text": record.text()}


TXT = Format(name="txt", extensions=(".txt",), cut=_whole_file, records=_one_record, values=_values, is_bundled=True)
