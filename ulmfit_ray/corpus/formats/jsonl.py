"""jsonl: a line is a JSON object, its keys are the columns."""

import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import BinaryIO

from ulmfit_ray.corpus.column_types import type_name
from ulmfit_ray.corpus.formats.format import Format, Sample, Source, Values
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.records import BadRecordError, Record, cut_at_lines, first_lines, next_line, read_lines

SAMPLE_RECORDS = 100_000


def object_of(text: str) -> Values:
    """Return the JSON object that a text is.

    Raises:
        BadRecordError: it is none.
    """
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            # A lone surrogate is valid JSON and no valid text: encoding it raises.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRecordError("malformed JSON", str(error)) from error
    if not isinstance(value, dict):
        raise BadRecordError("malformed JSON", f"expected an object, found {type(value).__name__}")
    return value


def sample_of(records: Iterable[Record], values: Callable[[Record, Source], Values | None]) -> Sample:
    """Return what the objects among some records say of the columns."""
    rows = []
    for record in islice(records, SAMPLE_RECORDS):
        try:
            row = values(record, Source())
        except BadRecordError:
            continue
        if row is not None:
            rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Sample(names, bool(rows), lambda column: type_name([row.get(column) for row in rows]))


def make_jsonl(options: ReadingOptions) -> Format:
    """Return the format."""

    def values(record: Record, source: Source) -> Values | None:
        line = record.text(options.encoding)
        return object_of(line) if line.strip() else None

    def sample(stream: BinaryIO) -> Sample:
        return sample_of(read_lines(first_lines(stream)), values)

    def mistake(head: bytes) -> str:
        return _array(head.decode(options.encoding, "replace"))

    return Format(
        name="jsonl",
        extensions=(".jsonl", ".ndjson"),
        cut=cut_at_lines,
        locate=next_line,
        records=read_lines,
        values=values,
        sample=sample,
        mistake=mistake,
        encoding=options.encoding,
    )


def _array(head: str) -> str:
    """Return what to say of a file that begins like this if it is one JSON array, else ""."""
    lines = [line for line in head.removeprefix("\ufeff").split("\n") if line.strip()]
    if not lines or not lines[0].lstrip().startswith("["):
        return ""
    try:
        is_array = any(isinstance(item, dict) for item in json.loads(lines[0]))
    except (ValueError, RecursionError):
        # A bad first line among good ones costs itself only.
        is_array = lines[0].strip() == "[" or not any(map(is_object, lines))
    return "a JSON array, not one object per line: say --format json" if is_array else ""


def is_object(line: str) -> bool:
    """Tell whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
