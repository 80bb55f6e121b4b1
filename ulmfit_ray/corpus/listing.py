"""Which files are the corpus, in which format, with which columns."""

import csv
import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow.fs

from ulmfit_ray.corpus.documents import RESERVED_COLUMNS, RESERVED_PREFIXES, Columns, type_name
from ulmfit_ray.corpus.open_text import CountedLines, base_extension, open_text
from ulmfit_ray.corpus.records import read_records
from ulmfit_ray.storage.folder import absolute_uri

FORMATS_BY_EXTENSION = {".txt": "txt", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
MAX_TXT_BYTES = 64 << 20
SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the corpus as it was listed; `name` is relative to the folder given, or the file's own."""

    path: str
    name: str
    size: int
    modified: str


def list_inputs(inputs: Sequence[str]) -> list[InputFile]:
    """Return the files behind paths, globs, folders and URIs, sorted by path, each once.

    Raises:
        ValueError: one of the inputs matches no file.
    """
    found: dict[str, InputFile] = {}
    for given in inputs:
        matches = _list_one(absolute_uri(given))
        if not matches:
            raise ValueError(f"input {given} matches no file")
        found |= {file.path: file for file in matches if file.path not in found}
    return [found[path] for path in sorted(found)]


def _list_one(uri: str) -> list[InputFile]:
    if "://" not in uri and not os.path.exists(uri) and glob.has_magic(uri):
        return [file for match in sorted(glob.glob(uri, recursive=True)) for file in _list_one(match)]
    filesystem, path = pyarrow.fs.FileSystem.from_uri(uri)
    info = filesystem.get_file_info(path)
    if info.type == pyarrow.fs.FileType.Directory:
        selector = pyarrow.fs.FileSelector(path, recursive=True)
        infos = [info for info in filesystem.get_file_info(selector) if not _is_hidden(info.path.removeprefix(path))]
    else:
        infos = [info]
    scheme = uri.split("://", 1)[0] + "://" if "://" in uri else ""
    return [
        InputFile(
            path=scheme + info.path,
            name=info.base_name if info.path == path else info.path.removeprefix(path).lstrip("/"),
            size=info.size,
            modified=str(info.mtime_ns),
        )
        for info in infos
        if info.type == pyarrow.fs.FileType.File
    ]


def _is_hidden(relative_path: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative_path.split("/"))


def detect_format(files: Sequence[InputFile], wanted: str) -> str:
    """Return the one format of all files, `wanted` unless that is "auto".

    Raises:
        ValueError: an extension says nothing, two formats are mixed, or a .txt is too large for one document.
    """
    if wanted == "auto":
        formats: dict[str, str] = {}
        for file in files:
            extension = base_extension(file.path)
            if extension not in FORMATS_BY_EXTENSION:
                raise ValueError(f"the format of {file.path} is not known by its name: say --format")
            formats.setdefault(FORMATS_BY_EXTENSION[extension], file.path)
        if len(formats) > 1:
            raise ValueError(f"inputs of several formats ({', '.join(formats.values())}): tokenize them one by one")
        wanted = next(iter(formats))
        largest = max(files, key=lambda file: file.size)
        if wanted == "txt" and largest.size > MAX_TXT_BYTES:
            raise ValueError(f"{largest.path} is over 64 MiB: with --format lines each of its lines is a document")
    return wanted


def read_header(lines: CountedLines) -> list[str]:
    """Read the first row of a csv file as its column names."""
    line = lines.next_line()
    header = line.decode("utf-8", "replace") if line else ""
    return next(csv.reader([header]), [])


def resolve_columns(
    files: Sequence[InputFile], file_format: str, *, text: Sequence[str], id_column: str | None, keep: Sequence[str]
) -> Columns:
    """Check the columns asked for against the first megabyte of the input, and find the types of the kept ones.

    Raises:
        ValueError: a column does not exist (the message lists those that do), or cannot be kept.
    """
    for name in keep:
        if name in RESERVED_COLUMNS or name.startswith(RESERVED_PREFIXES):
            raise ValueError(f"column {name} cannot be kept: that name is used in the output")
    if len(set(text)) < len(text) or len(set(keep)) < len(keep) or not text:
        raise ValueError("text columns and kept columns must be there and each be named once")
    if file_format in ("lines", "txt"):
        if tuple(text) != ("text",) or id_column or keep:
            raise ValueError(f"format {file_format} has no columns: leave out the options that name some")
        return Columns()
    first, names, rows = _first_readable(files, file_format)
    asked = [*text, *([id_column] if id_column else []), *keep]
    for name in asked:
        if name not in names:
            raise ValueError(f"column {name!r} does not exist in {first.path}; its columns are {', '.join(names)}")
    kinds = []
    for name in keep:
        try:
            kinds.append("string" if file_format == "csv" else type_name([row.get(name) for row in rows]))
        except ValueError as error:
            raise ValueError(f"column {name!r} cannot be kept: {error}") from error
    return Columns(tuple(text), id_column, tuple(keep), tuple(kinds))


def _first_readable(
    files: Sequence[InputFile], file_format: str
) -> tuple[InputFile, list[str], list[dict[str, object]]]:
    for file in files:
        names, rows = _sample(file, file_format)
        if names:
            return file, names, rows
    raise ValueError(f"none of the {len(files)} input files holds a record in its first megabyte: nothing to tokenize")


def _sample(file: InputFile, file_format: str) -> tuple[list[str], list[dict[str, object]]]:
    """Return the column names and, for jsonl, the objects of the first megabyte."""
    with open_text(file.path) as stream:
        if file_format == "csv":
            return read_header(CountedLines(stream)), []
        rows = []
        for record in islice(read_records(stream, file_format, 0, SAMPLE_BYTES), 100_000):
            try:
                value = json.loads(record.raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                rows.append(value)
    return list(dict.fromkeys(name for row in rows for name in row)), rows
