"""The columns of a corpus: which hold text, which is the id, which are kept, and of what type the kept ones are."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from ulmfit_ray.corpus.column_types import arrow_type
from ulmfit_ray.corpus.damage import DamagedFileError, open_checked
from ulmfit_ray.corpus.formats.format import Format, Sample
from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.corpus.open_text import open_stored

ID_COLUMNS = ("_id", "id", "doc_id")
"""Names of columns that mostly hold the documents' ids."""
RESERVED_COLUMNS = ("doc_id", "tokens", "embedding", "embedding_scale", "prediction", "probabilities")
RESERVED_PREFIXES = ("field_", "num_")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a record mean what; `keep_types` has the Arrow type name of each kept column."""

    text: tuple[str, ...] = ("text",)
    id: str | None = None
    keep: tuple[str, ...] = ()
    keep_types: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what plan.json says of the columns."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Columns":
        """Rebuild columns from what plan.json says."""
        lists = {name: tuple(content[name]) for name in ("text", "keep", "keep_types")}
        return cls(id=content["id"], **lists)

    def kept_fields(self) -> list[pa.Field]:
        """Return the Arrow fields of the kept columns."""
        return [pa.field(name, arrow_type(kind)) for name, kind in zip(self.keep, self.keep_types, strict=True)]

    def check_header(self, header: Sequence[str], path: str) -> None:
        """Raise ValueError if a file's header lacks one of these columns; an empty header (no header) passes."""
        missing = {*self.text, *self.keep, *([self.id] if self.id else [])} - set(header)
        if header and missing:
            names = ", ".join(sorted(missing))
            raise ValueError(f"{path} has no column {names}; its columns are {', '.join(header)}")

    def check_types(self, types: Mapping[str, str], path: str) -> None:
        """Raise ValueError if a file says that one of these columns is of another type; it may say nothing of some."""
        expected = dict.fromkeys(self.text, "string") | dict(zip(self.keep, self.keep_types, strict=True))
        for name, kind in expected.items():
            found = types.get(name) or kind
            if found != kind:
                raise ValueError(f"column {name!r} of {path} is of type {found} and not {kind}")


def resolve_columns(
    files: Sequence[InputFile], file_format: Format, *, text: Sequence[str], id_column: str | None, keep: Sequence[str]
) -> Columns:
    """Check the named columns against the first megabyte of the first file with records, and find the kept ones' types.

    Raises:
        ValueError: a column does not exist (the message lists those that do), or cannot be kept, or no file holds a
            record in its first megabyte.
    """
    for name in keep:
        if name in RESERVED_COLUMNS or name.startswith(RESERVED_PREFIXES):
            raise ValueError(f"column {name} cannot be kept: that name is used in the output")
    if len(set(text)) < len(text) or len(set(keep)) < len(keep) or not text:
        raise ValueError("name at least one text column, and each text column and kept column only once")
    if file_format.sample is None:
        if tuple(text) != ("text",) or id_column or keep:
            raise ValueError(f"format {file_format.name} has no columns: leave out all --*-columns options")
        if not any(map(_has_content, files)):
            raise _nothing_to_tokenize(files)
        return Columns()
    path, sample = _first_sample(files, file_format)
    for name in [*text, *([id_column] if id_column else []), *keep]:
        if name not in sample.names:
            raise ValueError(f"column {name!r} does not exist in {path}; its columns are {', '.join(sample.names)}")
    kinds = []
    for name in keep:
        try:
            kinds.append(sample.type_of(name))
        except ValueError as error:
            raise ValueError(f"column {name!r} cannot be kept: {error}") from error
    columns = Columns(tuple(text), id_column, tuple(keep), tuple(kinds))
    columns.check_types(dict(zip(sample.names, sample.types, strict=False)), path)
    return columns


def id_column_hint(files: Sequence[InputFile], file_format: Format, columns: Columns) -> str | None:
    """Return a line about a column that looks like the documents' ids while none is named as such, or None."""
    if columns.id is not None or file_format.sample is None:
        return None
    _, sample = _first_sample(files, file_format)
    found = [name for name in ID_COLUMNS if name in sample.names and name not in columns.text]
    if not found:
        return None
    return f"the input has a column {found[0]}: --id-column {found[0]} would use it as the documents' ids"


def _first_sample(files: Sequence[InputFile], file_format: Format) -> tuple[str, Sample]:
    """Return the path of the first file that holds a record, and what its front says of the columns."""
    assert file_format.sample is not None
    with_header = ""
    for file in files:
        with open_stored(file.path) if file_format.is_binary else open_checked(file.path, file.size) as stream:
            try:
                sample = file_format.sample(stream)
            except (pa.ArrowException, ValueError) as error:
                raise ValueError(f"{file.path} cannot be read: {error}") from error
        if sample.names and sample.has_records:
            return file.path, sample
        with_header = with_header or (file.path if sample.names else "")
    raise _nothing_to_tokenize(files, with_header)


def _nothing_to_tokenize(files: Sequence[InputFile], with_header: str = "") -> ValueError:
    """Return the error that no file holds a record; `with_header` is one that has a header at least."""
    found = f"{with_header} has a header and no rows; " if with_header else ""
    return ValueError(
        f"{found}none of the {len(files):,} input files holds a record in its first megabyte: nothing to tokenize"
    )


def _has_content(file: InputFile) -> bool:
    with open_checked(file.path, file.size) as stream, suppress(DamagedFileError):
        return bool(stream.read(1))
    return False
