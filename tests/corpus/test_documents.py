"""What makes a document, and every reason why a record is none."""

import json
from typing import Any

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.column_types import arrow_type
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.documents import BadDocument, Document, read_documents
from ulmfit_ray.corpus.formats.format import Format, Source
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.formats.table import make_format
from ulmfit_ray.corpus.records import Record

CSV, JSONL, LINES, TXT = (make_format(name) for name in ("csv", "jsonl", "lines", "txt"))


def read_one(
    raw: bytes | dict[str, Any],
    columns: Columns | None = None,
    file_format: Format = JSONL,
    record: Record | None = None,
    header: tuple[str, ...] = (),
) -> Document | BadDocument | None:
    content = json.dumps(raw).encode() if isinstance(raw, dict) else raw
    records = iter([record or Record(7, content)])
    documents = list(read_documents(records, "folder/a.jsonl", file_format, columns or Columns(), Source("", header)))
    return documents[0] if documents else None


def document(*arguments: Any, **more: Any) -> Document:
    found = read_one(*arguments, **more)
    assert isinstance(found, Document)
    return found


def bad(*arguments: Any, **more: Any) -> BadDocument:
    found = read_one(*arguments, **more)
    assert isinstance(found, BadDocument)
    return found


def test_a_document_without_an_id_column_is_named_by_path_and_offset() -> None:
    assert document({"text": "hello"}) == Document("folder/a.jsonl#7", ["hello"], [])


def test_a_csv_row_has_its_cells_by_the_headers_names() -> None:
    columns = Columns(text=("b", "a"), id="c", keep=("a",), keep_types=("string",))
    row = Record(5, b"1,2,3\n", ["1", "2", "3"])
    assert document(b"", columns, CSV, row, ("a", "b", "c")) == Document("3", ["2", "1"], ["1"])


def test_blank_lines_of_jsonl_and_csv_are_no_documents() -> None:
    assert read_one(b"\n") is None
    assert read_one(b"  \r\n") is None
    assert read_one(b"", file_format=CSV, record=Record(0, b"\n", []), header=("text",)) is None


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        (b'{"text": "\xff"}', "invalid UTF-8", "can't decode byte 0xff"),
        (b'{"text": "cut', "malformed JSON", "Unterminated string"),
        (b'["text"]', "malformed JSON", "expected an object, found list"),
        (b"3", "malformed JSON", "expected an object, found int"),
        (b'{"text": "lone \\ud83d"}', "malformed JSON", "surrogates not allowed"),
        (b'{"text": "x", "other": "\\UD83D"}', "malformed JSON", "escape"),
        (b'{"text": null}', "null text", "no text in text"),
        (b'{"other": "x"}', "null text", "no text in text"),
        (b'{"text": 5}', "not a text", "text is int"),
        (b'{"text": ["a"]}', "not a text", "text is list"),
        (b"[" * 100_000, "malformed JSON", "recursion"),
    ],
)
def test_a_record_that_is_no_document_says_where_and_why(raw: bytes, reason: str, detail: str) -> None:
    found = bad(raw)
    assert (found.path, found.offset, found.reason) == ("folder/a.jsonl", 7, reason)
    assert detail in found.detail
    assert json.loads(json.dumps(found.to_json())) == {
        "path": "folder/a.jsonl",
        "offset": 7,
        "reason": reason,
        "detail": found.detail,
    }


@pytest.mark.parametrize("file_format", [LINES, TXT], ids=["lines", "txt"])
def test_text_that_is_not_utf8_is_bad_in_every_format(file_format: Format) -> None:
    assert bad(b"\xff\n", file_format=file_format).reason == "invalid UTF-8"
    row = Record(0, b"\xff\n", ["\udcff"])
    assert bad(b"", file_format=CSV, record=row, header=("text",)).reason == "invalid UTF-8"


def test_a_null_in_some_text_columns_is_an_empty_field_and_in_all_it_is_bad() -> None:
    columns = Columns(text=("title", "text"))
    assert document({"title": None, "text": "x"}, columns).fields == ["", "x"]
    assert document({"text": "x"}, columns).fields == ["", "x"]
    assert document({"title": "", "text": None}, columns).fields == ["", ""]
    assert bad({"title": None, "text": None}, columns).detail == "no text in title, text"


def test_an_empty_text_is_a_document() -> None:
    assert document({"text": ""}).fields == [""]


@pytest.mark.parametrize(("value", "expected"), [("a", "a"), ("", ""), (7, "7"), (0, "0"), (-(2**70), str(-(2**70)))])
def test_ids_are_strings_or_integers(value: Any, expected: str) -> None:
    assert document({"text": "x", "id": value}, Columns(id="id")).doc_id == expected


@pytest.mark.parametrize("value", [None, True, 1.5, ["a"], {}])
def test_any_other_id_is_bad(value: Any) -> None:
    found = bad({"text": "x", "id": value}, Columns(id="id"))
    assert (found.reason, found.detail) == ("null id", f"id is {value!r}")
    assert bad({"text": "x"}, Columns(id="id")).reason == "null id"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "a"),
        ("int64", 3),
        ("int64", 2**63 - 1),
        ("double", 1.5),
        ("double", 3),
        ("bool", True),
        ("list<string>", ["a", "b"]),
        ("list<int64>", []),
        ("list<double>", [1.5, 2]),
        ("list<double>", [1, 2]),
        ("list<int64>", [None, 1]),
        ("list<list<int64>>", [[], [1], None]),
        ("double", 2**53),
        ("string", None),
        ("list<bool>", None),
    ],
)
def test_a_kept_value_stays_as_it_came_and_fits_its_arrow_column(kind: str, value: Any) -> None:
    kept = document({"text": "x", "k": value}, Columns(keep=("k",), keep_types=(kind,))).kept
    assert kept == [value]
    assert pa.array(kept, arrow_type(kind)).to_pylist() == [value]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", 3),
        ("int64", "3"),
        ("int64", 1.5),
        ("int64", True),
        ("int64", 2**63),
        ("bool", 1),
        ("double", "1.5"),
        ("double", 2**53 + 1),
        ("double", 10**40),
        ("list<string>", "a"),
        ("list<int64>", [1, "a"]),
        ("string", {"a": 1}),
        ("string", ["a"]),
    ],
)
def test_a_kept_value_of_another_type_is_bad(kind: str, value: Any) -> None:
    found = bad({"text": "x", "k": value}, Columns(keep=("k",), keep_types=(kind,)))
    assert found.reason == "value of another type"
    assert found.detail.endswith(f"the column is {kind}")


def test_a_bad_record_does_not_end_the_reading() -> None:
    records = iter([Record(0, b'{"text": "a"}\n'), Record(14, b"nonsense\n"), Record(23, b'{"text": "b"}\n')])
    kinds = [type(found).__name__ for found in read_documents(records, "f", JSONL, Columns(), Source())]
    assert kinds == ["Document", "BadDocument", "Document"]


@pytest.mark.parametrize("name", ["lines", "txt", "jsonl"])
def test_text_is_read_in_the_encoding_that_is_said(name: str) -> None:
    file_format = make_format(name, ReadingOptions(encoding="cp1252"))
    text = "\u201czw\u00f6lf\u201d"
    raw = (json.dumps({"text": text}, ensure_ascii=False) if name == "jsonl" else text).encode("cp1252")
    assert document(raw, file_format=file_format).fields == [text]
    found = bad(b"\x81", file_format=file_format)
    assert (found.reason, "0x81" in found.detail) == ("invalid cp1252", True)
