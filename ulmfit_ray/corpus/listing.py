"""Which files are the corpus: paths, globs, folders and URIs -> a sorted list of files."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.fs

from ulmfit_ray.storage.folder import absolute_uri


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the corpus as it was listed; `name` is relative to the folder given, or the file's own."""

    path: str
    name: str
    size: int
    modified: str


def list_inputs(inputs: Sequence[str]) -> list[InputFile]:
    """Return the files behind paths, globs, folders and URIs, sorted by path, each once.

    In a folder, files and subfolders whose names begin with "." or "_" are left out.

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
