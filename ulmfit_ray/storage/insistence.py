"""An object store's client that asks again: whole files or none, pauses that grow, an end after a minute and a half.

pyarrow's own retries do not do: those of the AWS SDK's standard strategy stop for good in a process that has seen 100
failures, the others pause for less than two seconds in all, and an answer that is too short is taken for the content.
"""

import itertools
import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs

from ulmfit_ray.storage.store_errors import SCHEME, ShortAnswerError, is_passing, lost, words_for

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
PATIENCE_SECONDS = 90.0
"""How long a request is made again. Who is told to slow down is served within seconds, a store that starts again within
a minute."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
TOLD_AFTER = 6
"""Failures of one request, after about ten seconds, of which a person is told."""
CHANCE = random.SystemRandom()
"""So that a thousand workers do not ask again at the same moment; seeds of a training have no part in it."""


def insist(uri: str, call: Callable[[], Result]) -> Result:
    """Return what `call` returns; what may go well at another attempt is called again, after pauses that grow.

    Raises:
        StoreLostError: it never went well.
        OSError: what another attempt would not mend, in words (see `words_for`).
    """
    began = time.monotonic()
    for number in itertools.count():
        try:
            return call()
        except OSError as error:
            if not is_passing(error):
                said = words_for(uri, error)
                if said is error:
                    raise
                raise said from error
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**number) * CHANCE.uniform(0.5, 1)
            if time.monotonic() + pause - began > PATIENCE_SECONDS:
                raise lost(uri, error, time.monotonic() - began) from error
            if number == TOLD_AFTER:
                logger.warning("%s: the object store is asked again and again: %s", uri, words_for(uri, error))
        time.sleep(pause)
    raise AssertionError("unreachable")


class WholeReads:
    """A file of a store as pyarrow.PythonFile reads one: each read gives all that was asked for, or raises."""

    def __init__(self, uri: str, file: pa.NativeFile) -> None:
        self._uri, self._file = uri, file
        self._size, self._position = file.size(), 0

    @property
    def closed(self) -> bool:
        """Tell whether it is closed."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self._position = (0, self._position, self._size)[whence] + offset
        return self._position

    def read(self, num_bytes: int = -1) -> pa.Buffer:
        """Return the next bytes; fewer than asked for at the end of the file only."""
        rest = max(0, self._size - self._position)
        num_bytes = rest if num_bytes < 0 else min(num_bytes, rest)
        content = insist(self._uri, lambda: self._read(num_bytes)) if num_bytes else pa.py_buffer(b"")
        self._position += num_bytes
        return content

    def _read(self, num_bytes: int) -> pa.Buffer:
        """Read once.

        pyarrow says that an answer which is too short was whole, and leaves the rest of the memory as it was. So the
        last byte is given a value before. Whole content has the same one there once in 256 times, and is read again.
        """
        content = pa.allocate_buffer(num_bytes)
        view = memoryview(content).cast("B")
        for mark in (0xA5, 0x5A):
            view[-1] = mark
            self._file.seek(self._position)
            self._file.readinto(content)
            if view[-1] != mark:
                return content
        raise ShortAnswerError(f"fewer than {num_bytes:,} bytes came")


class InsistentStore(pyarrow.fs.FileSystemHandler):
    """What pyarrow.fs.PyFileSystem needs of a file system: another one, whose every request is insisted on."""

    def __init__(self, client: pyarrow.fs.S3FileSystem) -> None:
        self._client = client

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InsistentStore) and bool(self._client == other._client)

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        """Return a name."""
        return "insistent-s3"

    def normalize_path(self, path: str) -> str:
        """Return a path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pyarrow.fs.FileInfo]:
        """Return what lies at some paths."""
        return [self._insist(path, self._client.get_file_info, path) for path in paths]

    def get_file_info_selector(self, selector: pyarrow.fs.FileSelector) -> list[pyarrow.fs.FileInfo]:
        """Return what lies in a folder."""
        found: list[pyarrow.fs.FileInfo] = self._insist(selector.base_dir, self._client.get_file_info, selector)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder."""
        self._insist(path, self._client.create_dir, path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        """Delete a folder and all that is in it."""
        self._insist(path, self._client.delete_dir, path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete all that is in a folder."""
        self._insist(path, self._client.delete_dir_contents, path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        """Refuse to delete everything."""
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        self._insist(path, self._client.delete_file, path)

    def move(self, src: str, dest: str) -> None:
        """Refuse: a store has no rename."""
        raise NotImplementedError

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file inside the store."""
        self._insist(dest, self._client.copy_file, src, dest)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open a file for reading."""
        file = self._insist(path, self._client.open_input_file, path)
        return pa.PythonFile(WholeReads(SCHEME + path, file), mode="r")

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Refuse: a stream that fails leaves half a file. `remote.upload` writes."""
        raise NotImplementedError

    open_append_stream = open_output_stream

    @staticmethod
    def _insist(path: str, call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        return insist(SCHEME + path, lambda: call(*arguments, **options))
