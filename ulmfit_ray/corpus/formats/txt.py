"""txt: a file is a document; the name of its folder is the column `label`."""

import posixpath
from collections.abc import Iterator
from typing import BinaryIO

from ulmfit_ray.corpus.formats.format import Format, Range, Sample, Source, Values, all_strings
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES, UTF8_BOM
from ulmfit_ray.corpus.records import Record


def _whole_file(file: InputFile, unit_bytes: int) -> list[Range]:
    return [(0, file.size)]


def _one_record(stream: BinaryIO, offset: int, stop: int | None) -> Iterator[Record]:
    yield Record(0, stream.read(MAX_RECORD_BYTES + 1 + len(UTF8_BOM)).removeprefix(UTF8_BOM))


def _sample(stream: BinaryIO) -> Sample:
    return Sample(["text", "label"], has_records=True, type_of=all_strings)


def make_txt(options: ReadingOptions) -> Format:
    """Return the format."""

    def values(record: Record, source: Source) -> Values:
        return {"text": record.text(options.encoding), "label": posixpath.basename(posixpath.dirname(source.path))}

    return Format(
        name="txt",
        extensions=(".txt",),
        cut=_whole_file,
        records=_one_record,
        values=values,
        sample=_sample,
        encoding=options.encoding,
        is_bundled=True,
    )
