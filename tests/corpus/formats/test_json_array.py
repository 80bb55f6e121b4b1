"""The elements of a JSON array are found one after another, each with its place, however the array is written."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.damage import DamagedFileError
from ulmfit_ray.corpus.documents import BadDocument, Document
from ulmfit_ray.corpus.formats import json_array
from ulmfit_ray.corpus.formats.format import Source
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.reading import documents_of, stream_shards
from ulmfit_ray.corpus.records import SAMPLE_BYTES, BadRecordError
from ulmfit_ray.corpus.units import Piece, Unit

JSON = make_format("json")
OBJECTS: list[dict[str, Any]] = [
    {"text": "plain", "n": 1},
    {"text": 'quotes " and ]}, [{ and \\ in a string \\', "n": [1, [2, {"m": "}"}]]},
    {},
    {"text": "zw\u00f6lf \u2028 \U0001f600", "deep": {"a": {"b": [[], {}]}}},
    {"text": "line\nline", "": None},
]


def elements_of(content: bytes) -> tuple[list[tuple[int, bytes]], str]:
    """Return offset and bytes of each element, and the damage that ended the reading."""
    found = []
    stream = io.BytesIO(content)
    try:
        for record in JSON.records(stream, JSON.header(stream).offset, None):
            found.append((record.offset, record.raw))
    except DamagedFileError as error:
        return found, f"{error.offset}: {error.detail}"
    return found, ""


def values_of(content: bytes) -> list[dict[str, Any] | str]:
    found: list[Any] = []
    stream = io.BytesIO(content)
    for record in JSON.records(stream, JSON.header(stream).offset, None):
        try:
            found.append(JSON.values(record, Source()))
        except BadRecordError as bad:
            found.append(bad.args[0])
    return found


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(
    "written", [{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"ensure_ascii": False}], ids=str
)
def test_objects_are_those_that_json_loads_gives_however_they_are_written(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, Any], step: int
) -> None:
    monkeypatch.setattr(json_array, "STEP_BYTES", step)
    content = "\ufeff \r\n" * (step == 7) + json.dumps(OBJECTS, **written) + "\n" * (step == 2)
    assert values_of(content.encode()) == OBJECTS


@pytest.mark.parametrize("seed", range(20))
def test_each_element_begins_at_its_offset_and_ends_before_the_next(seed: int) -> None:
    draw = random.Random(seed)
    elements = [
        json.dumps(draw.choice([*OBJECTS, [1, "]"], "a,b", -1.5e3, True, None]), indent=draw.choice([None, 1])).encode()
        for _ in range(10)
    ]
    content, offsets = b"[ ", []
    for number, element in enumerate(elements):
        content += (b"," if number else b"") + draw.choice([b"", b" ", b"\n\t"])
        offsets.append(len(content))
        content += element + draw.choice([b"", b"\r\n"])
    found, damage = elements_of(content + b"]\n")
    assert not damage
    assert [offset for offset, _ in found] == offsets
    assert [raw.rstrip(b", \t\r\n") for _, raw in found] == elements
    assert b"".join(raw for _, raw in found) == content[offsets[0] :]


def test_an_element_that_is_no_object_costs_itself_only() -> None:
    content = b'[{"text": "a"}, 3, "b", [1], null, {"text": tru}, {"text": "c"}]'
    assert values_of(content) == [{"text": "a"}, *["malformed JSON"] * 5, {"text": "c"}]


@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b"[ \n ]\n", b"\xef\xbb\xbf[]"])
def test_an_empty_array_has_no_elements(content: bytes) -> None:
    assert elements_of(content) == ([], "")


@pytest.mark.parametrize(
    ("content", "num_elements", "damage"),
    [
        (b'[{"a": 1}, {"a": 2', 1, "11: the element of the array that begins here is not closed"),
        (b'[{"a": 1}, {"a": "x}]', 1, "11: the element of the array that begins here is not closed"),
        (b'[{"a": 1}, 2', 1, "11: the element of the array that begins here is not closed"),
        (b'[{"a": 1},\n', 1, "11: the array is not closed"),
        (b'[{"a": 1}', 1, "9: the array is not closed"),
        (b'[{"a": 1}]\n[{"a": 2}]', 1, "11: something stands behind the end of the array"),
    ],
)
def test_what_cannot_be_read_is_behind_the_last_whole_element(content: bytes, num_elements: int, damage: str) -> None:
    found, said = elements_of(content)
    assert (len(found), said) == (num_elements, damage)


def test_a_file_that_is_no_array_is_damaged_at_its_front() -> None:
    with pytest.raises(DamagedFileError, match="ends at byte 1: no JSON array begins here"):
        JSON.header(io.BytesIO(b' {"a": 1}'))


def test_an_element_longer_than_any_record_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "STEP_BYTES", 10)
    monkeypatch.setattr(json_array, "MAX_RECORD_BYTES", 100)
    content = b'[{"a": 1}, {"a": "' + b"x" * 1000 + b'"}]'
    assert elements_of(content)[1] == "11: the element of the array that begins here is not closed"


def documents_in(path: Path, unit_bytes: int | None) -> list[Document | BadDocument]:
    """Return the documents of a file: read as a whole, or in shards of a size."""
    piece = Piece(str(path), path.name, 0, path.stat().st_size)
    columns = Columns(text=("text",))
    if unit_bytes is None:
        return list(documents_of(Unit(0, (piece,)), None, JSON, columns))
    unit = Unit(0, (piece,), is_streamed=True)
    shards = stream_shards(piece, JSON, columns, unit_bytes)
    return [found for shard in shards for found in documents_of(unit, shard, JSON, columns)]


@pytest.mark.parametrize("cut_off", [0, 1, 2, 30])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_shards_have_together_the_documents_of_the_file(tmp_path: Path, name: str, cut_off: int) -> None:
    content = json.dumps([{"text": f"text {number} " * (number % 5)} for number in range(50)], indent=2).encode()
    content = content[: len(content) - cut_off]
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    whole = documents_in(tmp_path / name, None)
    for unit_bytes in (1, 100, 1000, 1 << 20):
        assert documents_in(tmp_path / name, unit_bytes) == whole
    texts = [found.fields[0] for found in whole if isinstance(found, Document)]
    assert texts == [f"text {number} " * (number % 5) for number in range(49 if cut_off == 30 else 50)]
    assert [found.reason for found in whole if isinstance(found, BadDocument)] == ["corrupt file"] * (cut_off > 0)


def test_a_sample_has_the_columns_of_the_elements_that_begin_in_the_first_megabyte() -> None:
    assert JSON.sample is not None
    rows: list[dict[str, Any]] = [{"b": 1}, {"a": "x", "b": 2.5}, {"long": "x" * SAMPLE_BYTES}, {"late": 1}]
    sample = JSON.sample(io.BytesIO(json.dumps(rows).encode()))
    assert sample.names == ["b", "a", "long"]
    assert [sample.type_of(name) for name in sample.names] == ["double", "string", "string"]
    assert JSON.sample(io.BytesIO(json.dumps(rows).encode()[:30])).names == ["b"]
    assert not JSON.sample(io.BytesIO(b"no array")).has_records


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', "one JSON object per line, not one array: say --format jsonl"),
        (b'\xef\xbb\xbf{"text": "a"}', "one JSON object per line, not one array: say --format jsonl"),
        (b'{\n "data": [\n', "no JSON array, which begins with [: it begins with {"),
        (b"text", "no JSON array, which begins with [: it begins with t"),
        (b"", ""),
        (b"\n [1", ""),
        (b"\xef\xbb\xbf[", ""),
    ],
)
def test_what_is_no_array_is_called_what_it_is(head: bytes, message: str) -> None:
    assert JSON.mistake(head) == message


def test_encodings_whose_characters_hold_a_brace_or_a_backslash_are_refused() -> None:
    for encoding in ("shift_jis", "gb18030"):
        with pytest.raises(
            ValueError, match=f"format json is not read in {encoding}: convert the files, as with iconv"
        ):
            make_format("json", ReadingOptions(encoding=encoding))
    cp1252 = make_format("json", ReadingOptions(encoding="cp1252"))
    stream = io.BytesIO('[{"text": "zw\u00f6lf"}]'.encode("cp1252"))
    (record,) = cp1252.records(stream, cp1252.header(stream).offset, None)
    assert cp1252.values(record, Source()) == {"text": "zw\u00f6lf"}
