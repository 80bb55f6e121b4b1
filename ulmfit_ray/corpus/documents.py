"""Records -> documents: text fields, an id, kept columns; or a bad document with its place and the reason.

Only content can be bad, never access: what cannot be opened raises.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ulmfit_ray.corpus.records import Record

RESERVED_COLUMNS = ("doc_id", "tokens", "embedding")
RESERVED_PREFIXES = ("field_", "num_")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a record mean what; `keep_types` has the Arrow type name of each kept column."""

    text: tuple[str, ...] = ("text",)
    id: str | None = None
    keep: tuple[str, ...] = ()
    keep_types: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Columns":
        """Rebuild columns from what plan.json says."""
        lists = {name: tuple(content[name]) for name in ("text", "keep", "keep_types")}
        return cls(id=content["id"], **lists)

    def kept_fields(self) -> list[pa.Field]:
        """Return the Arrow fields of the kept columns."""
        return [pa.field(name, arrow_type(kind)) for name, kind in zip(self.keep, self.keep_types, strict=True)]


@dataclass(slots=True)
class Document:
    """One document: its id, the text of each field, the values of the kept columns."""

    doc_id: str
    fields: list[str]
    kept: list[Any]


@dataclass(slots=True)
class BadDocument:
    """One document that could not be read; `reason` is one of a few, `detail` says more."""

    path: str
    offset: int
    reason: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the line that goes to the quarantine file."""
        return {"path": self.path, "offset": self.offset, "reason": self.reason, "detail": self.detail}


class _BadRecordError(Exception):
    """A record's content is no document; args are reason and detail."""


def read_documents(
    records: Iterator[Record], path: str, file_format: str, columns: Columns, header: Sequence[str] | None = None
) -> Iterator[Document | BadDocument]:
    """Turn the records of one file into documents; `path` is the name that ids and quarantine show."""
    parse: dict[str, Callable[[Record], dict[str, Any] | None]] = {
        "lines": _line,
        "txt": lambda record: {"text": _text(record.raw)},
        "jsonl": _json_object,
        "csv": lambda record: _row(record, header or ()),
    }
    for record in records:
        try:
            values = parse[file_format](record)
            if values is not None:
                yield _document(values, columns, f"{path}#{record.offset}")
        except _BadRecordError as bad:
            yield BadDocument(path, record.offset, *bad.args)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _BadRecordError("invalid UTF-8", str(error)) from error


def _line(record: Record) -> dict[str, Any]:
    return {"text": _text(record.raw).removesuffix("\n").removesuffix("\r")}


def _json_object(record: Record) -> dict[str, Any] | None:
    line = _text(record.raw)
    if not line.strip():
        return None
    try:
        value = json.loads(line)
        if "\\ud" in line.lower():
            # A lone surrogate is valid JSON and no valid text.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _BadRecordError("malformed JSON", str(error)) from error
    if not isinstance(value, dict):
        raise _BadRecordError("malformed JSON", f"expected an object, found {type(value).__name__}")
    return value


def _row(record: Record, header: Sequence[str]) -> dict[str, Any] | None:
    if record.problem:
        raise _BadRecordError("malformed row", record.problem)
    if not record.cells:
        return None
    _text(record.raw)
    if len(record.cells) != len(header):
        raise _BadRecordError("malformed row", f"{len(record.cells)} cells, the header has {len(header)}")
    return dict(zip(header, record.cells, strict=True))


def _document(values: dict[str, Any], columns: Columns, place: str) -> Document:
    texts = [values.get(name) for name in columns.text]
    if all(text is None for text in texts):
        raise _BadRecordError("null text", f"no text in {', '.join(columns.text)}")
    for name, text in zip(columns.text, texts, strict=True):
        if text is not None and not isinstance(text, str):
            raise _BadRecordError("not a text", f"{name} is {type(text).__name__}")
    doc_id: Any = place
    if columns.id is not None:
        doc_id = values.get(columns.id)
        if doc_id is None or not isinstance(doc_id, str | int) or isinstance(doc_id, bool):
            raise _BadRecordError("null id", f"{columns.id} is {doc_id!r}")
    kept = [_fitting(name, values.get(name), kind) for name, kind in zip(columns.keep, columns.keep_types, strict=True)]
    return Document(str(doc_id), [text or "" for text in texts], kept)


def _fitting(name: str, value: Any, kind: str) -> Any:
    """Return the value as it came, if its column's type can hold it."""
    if _fits(value, kind):
        return value
    raise _BadRecordError("value of another type", f"{name} is {value!r:.80}, the column is {kind}")


def _fits(value: Any, kind: str) -> bool:
    if value is None:
        return True
    if kind.startswith("list<"):
        return isinstance(value, list) and all(_fits(item, kind[5:-1]) for item in value)
    if type(value) is int:
        # A double holds integers exactly up to 2**53; Arrow refuses larger ones.
        return -(2**63) <= value < 2**63 if kind == "int64" else kind == "double" and abs(value) <= 2**53
    return _SCALARS.get(type(value)) == kind


_SCALARS = {str: "string", bool: "bool", int: "int64", float: "double"}


def type_name(values: Sequence[Any]) -> str:
    """Return the type that holds all of `values` (Nones apart): string, int64, double, bool or a list of one.

    Raises:
        ValueError: they have no common type, or one that cannot be kept.
    """
    present = [value for value in values if value is not None]
    if any(isinstance(value, list) for value in present):
        if not all(isinstance(value, list) for value in present):
            raise ValueError("lists and single values in one column")
        return f"list<{type_name([item for value in present for item in value])}>"
    kinds = {_SCALARS.get(type(value), type(value).__name__) for value in present}
    if any(type(value) is int and not -(2**63) <= value < 2**63 for value in present):
        raise ValueError("an integer that needs more than 64 bits")
    if not kinds:
        return "string"
    if kinds == {"int64", "double"}:
        return "double"
    if len(kinds) > 1 or not kinds <= set(_SCALARS.values()):
        raise ValueError(f"values of type {' and '.join(sorted(kinds))}")
    return kinds.pop()


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of a name that `type_name` gave."""
    if kind.startswith("list<"):
        return pa.list_(arrow_type(kind[5:-1]))
    return {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}[kind]
