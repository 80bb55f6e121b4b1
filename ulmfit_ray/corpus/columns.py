"""The columns of a corpus: which hold text, which is the id, which are kept, and of what type the kept ones are."""

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from ulmfit_ray.corpus.damage import DamagedFileError, open_checked
from ulmfit_ray.corpus.formats.format import SAMPLE_BYTES, Format, Values
from ulmfit_ray.corpus.listing import InputFile

ID_COLUMNS = ("_id", "id", "doc_id")
"""Names of columns that mostly hold the documents' ids."""
RESERVED_COLUMNS = ("doc_id", "tokens", "embedding")
RESERVED_PREFIXES = ("field_", "num_")
_SCALARS = {str: "string", bool: "bool", int: "int64", float: "double"}


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
        if not file_format.is_bundled and not any(_first_lines(file).getbuffer() for file in files):
            raise _nothing_to_tokenize(files)
        return Columns()
    path, names, rows = _first_sample(files, file_format)
    for name in [*text, *([id_column] if id_column else []), *keep]:
        if name not in names:
            raise ValueError(f"column {name!r} does not exist in {path}; its columns are {', '.join(names)}")
    kinds = []
    for name in keep:
        try:
            kinds.append(type_name([row.get(name) for row in rows]))
        except ValueError as error:
            raise ValueError(f"column {name!r} cannot be kept: {error}") from error
    return Columns(tuple(text), id_column, tuple(keep), tuple(kinds))


def id_column_hint(files: Sequence[InputFile], file_format: Format, columns: Columns) -> str | None:
    """Return a line about a column that looks like the documents' ids while none is named as such, or None."""
    if columns.id is not None or file_format.sample is None:
        return None
    _, names, _ = _first_sample(files, file_format)
    found = [name for name in ID_COLUMNS if name in names and name not in columns.text]
    if not found:
        return None
    return f"the input has a column {found[0]}: --id-column {found[0]} would use it as the documents' ids"


def _first_sample(files: Sequence[InputFile], file_format: Format) -> tuple[str, list[str], list[Values]]:
    """Return path, column names and sampled values of the first file that holds a record."""
    assert file_format.sample is not None
    with_header = ""
    for file in files:
        names, rows = file_format.sample(_first_lines(file))
        if names and rows:
            return file.path, names, rows
        with_header = with_header or (file.path if names else "")
    raise _nothing_to_tokenize(files, with_header)


def _nothing_to_tokenize(files: Sequence[InputFile], with_header: str = "") -> ValueError:
    """Return the error that no file holds a record; `with_header` is one that has a header at least."""
    found = f"{with_header} has a header and no rows; " if with_header else ""
    return ValueError(
        f"{found}none of the {len(files):,} input files holds a record in its first megabyte: nothing to tokenize"
    )


def _first_lines(file: InputFile) -> io.BytesIO:
    """Return the lines that begin in a file's first megabyte; only those before the damage if it is damaged there."""
    lines = io.BytesIO()
    with open_checked(file.path, file.size) as stream, suppress(DamagedFileError):
        while lines.tell() < SAMPLE_BYTES and (line := stream.readline()):
            lines.write(line)
    lines.seek(0)
    return lines


def fits(value: Any, kind: str) -> bool:
    """Tell whether a column of type `kind` can hold the value as it came."""
    if value is None:
        return True
    if kind.startswith("list<"):
        return isinstance(value, list) and all(fits(item, kind[5:-1]) for item in value)
    if type(value) is int:
        # A double holds integers exactly up to 2**53; Arrow refuses larger ones.
        return -(2**63) <= value < 2**63 if kind == "int64" else kind == "double" and abs(value) <= 2**53
    return _SCALARS.get(type(value)) == kind


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
