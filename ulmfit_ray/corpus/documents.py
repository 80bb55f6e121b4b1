"""Records -> documents: text fields, an id, kept columns; or a bad document with its place and the reason.

Only bad content makes a bad document; a file that cannot be opened or read raises.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ulmfit_ray.corpus.column_types import fits
from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.format import Format, Source, Values
from ulmfit_ray.corpus.open_text import MAX_RECORD_BYTES
from ulmfit_ray.corpus.records import BadRecordError, Record


@dataclass(slots=True)
class Document:
    """One document: its id, the text of each field, the values of the kept columns."""

    doc_id: str
    fields: list[str]
    kept: list[Any]
    path: str = field(default="", compare=False)
    """Where it was read: the file, and the record's offset there."""
    offset: int = field(default=0, compare=False)


@dataclass(slots=True)
class BadDocument:
    """One document that could not be read; `reason` is one of a few, `detail` says more."""

    path: str
    offset: int
    reason: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the line that goes to the quarantine file."""
        return asdict(self)


def read_documents(
    records: Iterable[Record], name: str, file_format: Format, columns: Columns, source: Source
) -> Iterator[Document | BadDocument]:
    """Turn the records of one file into documents; `name` is what ids and the quarantine call the file."""
    for record in records:
        try:
            if len(record.raw) > MAX_RECORD_BYTES:
                raise too_long()
            values = file_format.values(record, source)
            if values is not None:
                yield _document(values, columns, name, record.offset)
        except BadRecordError as bad:
            yield BadDocument(name, record.offset, *bad.args)


def too_long() -> BadRecordError:
    """Return the error of a record that is longer than a document may be."""
    return BadRecordError("document too long", f"more than {MAX_RECORD_BYTES:,} bytes")


def _document(values: Values, columns: Columns, name: str, offset: int) -> Document:
    texts = [values.get(name) for name in columns.text]
    if all(text is None for text in texts):
        raise BadRecordError("null text", f"no text in {', '.join(columns.text)}")
    for column, text in zip(columns.text, texts, strict=True):
        if text is not None and not isinstance(text, str):
            raise BadRecordError("not a text", f"{column} is {type(text).__name__}")
    if sum(len(text or "") for text in texts) > MAX_RECORD_BYTES:
        raise too_long()
    doc_id: Any = f"{name}#{offset}"
    if columns.id is not None:
        doc_id = values.get(columns.id)
        if doc_id is None or not isinstance(doc_id, str | int) or isinstance(doc_id, bool):
            raise BadRecordError("null id", f"{columns.id} is {doc_id!r}")
    kept = [values.get(name) for name in columns.keep]
    for column, value, kind in zip(columns.keep, kept, columns.keep_types, strict=True):
        if not fits(value, kind):
            raise BadRecordError("value of another type", f"{column} is {value!r:.80}, the column is {kind}")
    return Document(str(doc_id), [text or "" for text in texts], kept, name, offset)
