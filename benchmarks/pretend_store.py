"""An object store that is not there: a corpus of any size, and receipts that are made up when they are read.

What a job really writes (its plan, its manifest) goes to a local folder. Every request waits as long as one to an
object store does. Receipts that workers would have written are flags here, one byte for each.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from pyarrow import fs

from ulmfit_ray.storage import remote
from ulmfit_ray.storage.folder import to_json_bytes
from ulmfit_ray.storage.plan import unit_stem

BUCKET = "pretended"
CORPUS, OUTPUT = f"{BUCKET}/corpus", f"{BUCKET}/output"
LINES = b'{"text": "a document that is not there"}\n' * 26_000
"""A bit over the megabyte that is looked into; files are made of it again and again."""


class Text(io.RawIOBase):
    """A file of the corpus."""

    def __init__(self, size: int, wait: Callable[[], None]) -> None:
        self._size, self._wait, self._place = size, wait, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = (0, self._place, self._size)[whence] + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        self._wait()
        left = self._size - self._place
        size = left if size < 0 else min(size, left)
        start = self._place % len(LINES)
        self._place += size
        # No one reads more at once than the lines have bytes.
        return (LINES[start:] + LINES[:start])[:size] if start + size > len(LINES) else LINES[start : start + size]


class PretendStore(fs.FileSystemHandler):  # type: ignore[misc]
    """A bucket with a corpus of `num_files` files and the output of a job, as pyarrow asks for them."""

    def __init__(self, place: Path, *, num_files: int, file_bytes: int, num_units: int, seconds: float) -> None:
        self._num_files, self._file_bytes, self._seconds = num_files, file_bytes, seconds
        self._local = fs.SubTreeFileSystem(str(place), fs.LocalFileSystem())
        (place / OUTPUT).mkdir(parents=True)
        self._done = {where: np.zeros(num_units, bool) for where in ("done", "work/done")}
        self.receipt_of: Callable[[str, str], object] = lambda where, shard: {}
        """(folder of receipts, shard) -> the content of its receipt."""

    def commit(self, where: str, shards: pa.ChunkedArray) -> None:
        """Let these shards have receipts from now on."""
        numbers = [int(shard.removeprefix("part-")) for shard in shards.to_pylist()]
        self._done[where][numbers] = True

    def _wait(self) -> None:
        time.sleep(self._seconds)

    def _files(self) -> Iterator[fs.FileInfo]:
        for number in range(self._num_files):
            yield self._file(f"{CORPUS}/crawl-{number // 1000:04d}/{number:07d}.jsonl")

    def _file(self, path: str) -> fs.FileInfo:
        return fs.FileInfo(path, fs.FileType.File, size=self._file_bytes, mtime_ns=1_700_000_000_000_000_000)

    def get_type_name(self) -> str:
        return "pretended"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        self._wait()
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        if path == CORPUS:
            return fs.FileInfo(path, fs.FileType.Directory)
        return self._file(path) if path.startswith(f"{CORPUS}/") else self._local.get_file_info(path)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        self._wait()
        if selector.base_dir == CORPUS:
            return list(self._files())
        where = selector.base_dir.removeprefix(f"{OUTPUT}/")
        if where in self._done:
            shards = map(unit_stem, np.flatnonzero(self._done[where]).tolist())
            return [fs.FileInfo(f"{OUTPUT}/{where}/{shard}.json", fs.FileType.File, size=900) for shard in shards]
        return list(self._local.get_file_info(selector))

    def open_input_file(self, path: str) -> pa.NativeFile:
        self._wait()
        if path.startswith(f"{CORPUS}/"):
            return pa.PythonFile(Text(self._file_bytes, self._wait), mode="r")
        where, _, name = path.removeprefix(f"{OUTPUT}/").rpartition("/")
        if where in self._done:
            # A file is asked for its size first, and then read.
            self._wait()
            return pa.BufferReader(to_json_bytes(self.receipt_of(where, name.removesuffix(".json"))))
        return self._local.open_input_file(path)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self._local.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        self._local.create_dir(path.rpartition("/")[0])
        return self._local.open_output_stream(path)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._local.create_dir(path, recursive=True)

    def delete_dir(self, path: str) -> None:
        self._local.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self._local.delete_file(path)

    def _never(self, *arguments: object) -> None:
        raise AssertionError("no job does this")

    copy_file = move = delete_dir_contents = delete_root_dir_contents = open_append_stream = _never


@contextmanager
def behind_s3(store: PretendStore) -> Iterator[None]:
    """Let s3:// URIs of this process lead to the store while the block runs."""
    pretended = fs.PyFileSystem(store)
    with (
        patch.object(remote, "s3_file_system", lambda bucket: pretended),
        patch.object(remote, "upload", partial(remote.write_at_once, pretended)),
    ):
        yield
