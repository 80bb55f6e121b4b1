"""jsonl: a line is a JSON object, its keys are the columns."""

import json
from collections.abc import Sequence
from itertools import islice
from typing import BinaryIO

from ulmfit_ray.corpus.formats.format import SAMPLE_BYTES, Format, Values
from ulmfit_ray.corpus.open_text import UTF8_BOM
from ulmfit_ray.corpus.records import BadRecordError, Record, cut_at_lines, next_line, read_lines

SAMPLE_RECORDS = 100_000


def _values(record: Record, header: Sequence[str]) -> Values | None:
    line = record.text()
    if not line.strip():
        return None
    try:
        value = json.loads(line)
        if "\\ud" in line.lower():
            # A lone surrogate is valid JSON and no valid text: encoding it raises.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRecordError("malformed JSON", str(error)) from error
    if not isinstance(value, dict):
        raise BadRecordError("malformed JSON", f"expected an object, found {type(value).__name__}")
    return value


def _sample(stream: BinaryIO) -> tuple[list[str], list[Values]]:
    rows = []
    for record in islice(read_lines(stream, 0, SAMPLE_BYTES), SAMPLE_RECORDS):
        try:
            values = _values(record, ())
        except BadRecordError:
            continue
        if values is not None:
            rows.append(values)
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _mistake(head: bytes) -> str:
    lines = [line for line in head.removeprefix(UTF8_BOM).splitlines() if line.strip()]
    if not lines or not lines[0].lstrip().startswith(b"["):
        return ""
    try:
        is_array = any(isinstance(item, dict) for item in json.loads(lines[0]))
    except (ValueError, RecursionError):
        # A bad first line among good ones costs itself only.
        is_array = lines[0].strip() == b"[" or not any(map(_is_object, lines))
    return "a JSON array, not one object per line: convert it, as with jq -c '.[]'" if is_array else ""


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


JSONL = Format(
    name="jsonl",
    extensions=(".jsonl", ".ndjson"),
    cut=cut_at_lines,
    locate=next_line,
    records=read_lines,
    values=_values,
    sample=_sample,
    mistake=_mistake,
)
