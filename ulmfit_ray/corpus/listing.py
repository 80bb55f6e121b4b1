"""Which files are the corpus: paths, globs, folders and URIs -> a sorted list of files."""

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs

from ulmfit_ray.corpus.globs import find_matches, split_pattern
from ulmfit_ray.corpus.open_text import open_stored
from ulmfit_ray.corpus.web import ask_for, is_on_the_web
from ulmfit_ray.storage.folder import absolute_uri, file_system
from ulmfit_ray.storage.rows import Rows

END_BYTES = 1 << 20
READING_THREADS = 32
"""A read from an object store takes about 25 ms, nearly all of it waiting."""
MAX_FILES_OPENED = 10_000
"""Before any work: a million would be read for half an hour, and their ends be two terabytes."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the corpus as it was listed; `name` is relative to the folder given, or the file's own."""

    path: str
    name: str
    size: int
    modified: str
    has_ranges: bool = True
    """Whether a part of it can be read by itself; of a file that is compressed as a whole this says nothing."""


class InputFiles(Rows[InputFile]):
    """Listed files in columns."""

    row_type = InputFile
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("name", pa.string()),
            ("size", pa.int64()),
            ("modified", pa.string()),
            ("has_ranges", pa.bool_()),
        ]
    )

    @property
    def num_bytes(self) -> int:
        """Return how much there is to read."""
        return int(pc.sum(self.table["size"], min_count=0).as_py())

    def among(self, paths: pa.Array | pa.ChunkedArray) -> "InputFiles":
        """Return those with one of these paths."""
        return self.filter(pc.is_in(self.table["path"], value_set=paths))

    def some(self, number: int) -> "InputFiles":
        """Return at most so many, evenly chosen."""
        step = -(-len(self) // number) or 1
        return self.take(pa.array(range(0, len(self), step), pa.int64()))


def list_inputs(inputs: Sequence[str]) -> InputFiles:
    """Return the files behind paths, globs, folders and URIs, sorted by path, each once.

    In a folder, files and subfolders whose names begin with "." or "_" are left out.

    Raises:
        ValueError: one of the inputs matches no file.
    """
    found = []
    for given in inputs:
        matches = InputFiles.of(_list_one(absolute_uri(given)))
        if not len(matches):
            raise ValueError(f"input {given} matches no file")
        found.append(matches.table)
    table = pa.concat_tables(found)
    paths = table["path"]
    # Of a file that two inputs name the first finding counts.
    firsts = pc.index_in(pc.unique(paths), value_set=paths)
    return InputFiles(table.take(firsts)).sorted_by("path")


def _list_one(uri: str) -> Iterator[InputFile]:
    if "://" not in uri and not os.path.exists(uri) and glob.has_magic(uri):
        for match in sorted(glob.glob(uri, recursive=True)):
            yield from _list_one(match)
        return
    if is_on_the_web(uri):
        yield _on_the_web(uri)
        return
    scheme, separator, inside = uri.rpartition("://")
    if separator and glob.has_magic(inside):
        folder, pattern = split_pattern(inside)
        if not folder:
            raise ValueError(f"input {uri}: a pattern must have a folder or a bucket in front of it")
        filesystem, path = file_system(f"{scheme}://{folder}")
        exact = f"{path.rstrip('/')}/{pattern}"
        is_there = filesystem.get_file_info(exact).type != pyarrow.fs.FileType.NotFound
        matches = [exact] if is_there else find_matches(filesystem, path, pattern)
    else:
        filesystem, path = file_system(uri)
        matches = [path]
    for match in matches:
        yield from _list_path(filesystem, match, scheme + separator)


def _on_the_web(url: str) -> InputFile:
    file = ask_for(url)
    return InputFile(url, file.name, file.size, file.version, file.has_ranges)


def _list_path(filesystem: pyarrow.fs.FileSystem, path: str, scheme: str) -> Iterator[InputFile]:
    """Yield a file, or the files below a folder."""
    info = filesystem.get_file_info(path)
    if info.type == pyarrow.fs.FileType.Directory:
        selector = pyarrow.fs.FileSelector(path, recursive=True)
        infos = filesystem.get_file_info(selector)
    else:
        infos = [info]
    for info in infos:
        is_found = info.path != path
        name = info.path.removeprefix(path).lstrip("/") if is_found else info.base_name
        if info.type == pyarrow.fs.FileType.File and not (is_found and _is_hidden(name)):
            yield InputFile(path=scheme + info.path, name=name, size=info.size, modified=str(info.mtime_ns))


def _is_hidden(relative_path: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative_path.split("/"))


def read_beside(folder: str, name: str) -> bytes | None:
    """Return the content of a small file in the folder of a listed one, or None if there is none of that name."""
    try:
        with open_stored(f"{folder}/{name}") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def hashes_of_ends(files: Sequence[InputFile]) -> dict[str, str]:
    """Return for each path the SHA-256 of the file's first and last megabyte, as stored.

    Files whose sizes and hashes are equal count as equal. A change in the middle of a file of over 2 MiB that keeps
    its size is not seen. Of a web server that sends no parts of a file only the first megabyte is read.

    The cost is one or two ranged reads and at most 2 MiB for each file: 10,000 files of 10 kB take half a second on a
    local disk and 30 seconds on an object store, 10,000 files of over 2 MiB are 20 GB to read. Of more files than that
    none is read, and the result is empty.
    """
    if len(files) > MAX_FILES_OPENED:
        return {}
    with ThreadPoolExecutor(READING_THREADS) as pool:
        return dict(zip((file.path for file in files), pool.map(_hash_of_ends, files), strict=True))


def _hash_of_ends(file: InputFile) -> str:
    second = max(END_BYTES, file.size - END_BYTES) if file.has_ranges else file.size
    with open_stored(file.path) as stream:
        digest = hashlib.sha256(stream.read_at(min(file.size, END_BYTES), 0))
        if second < file.size:
            digest.update(stream.read_at(file.size - second, second))
    return digest.hexdigest()
