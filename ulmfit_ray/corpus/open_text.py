"""Text inputs as byte streams: the one module that speaks smart_open (any compression, files of the web).

What lies in a file system that pyarrow opens, an object store above all, is read through pyarrow: a process has one
client of the store, with the settings of storage.remote.
"""

import functools
import io
import lzma
import os
import sys
import zlib
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs

from ulmfit_ray.corpus.web import TIMEOUT_SECONDS, is_on_the_web
from ulmfit_ray.storage.folder import file_system

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
CONTENT_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, ZstdError)
"""What the libraries raise about the bytes of a compressed file; gzip and bz2 raise an OSError of no file."""
GONE = (404, 410)
"""What a web server answers for a file that it has not."""
STORED_BYTES = 8 << 20
"""Read of a file in an object store at once: a request waits about 25 ms, as long as 2 MB take."""
UTF8_BOM = b"\xef\xbb\xbf"
MAX_RECORD_BYTES = 64 << 20
"""What is longer is no document: it is put aside, and only its front is ever held in memory."""
SKIPPED_AT_ONCE = 1 << 20


def is_compressed(path: str) -> bool:
    """Tell by its name whether a file must be read from the front."""
    return _stored_name(path).endswith(COMPRESSIONS)


def base_extension(path: str) -> str:
    """Return the extension that names the format, whatever the compression: ".jsonl" of "a.jsonl.gz"."""
    path = _stored_name(path)
    for suffix in COMPRESSIONS:
        path = path.removesuffix(suffix)
    return os.path.splitext(path)[1]


def _stored_name(path: str) -> str:
    """Return a path in lower case, without what stands behind a ? or # in the address of a file on the web."""
    return (urlsplit(path).path if is_on_the_web(path) else path).lower()


def _compression(path: str) -> str:
    """Return the extension that names the compression of a file, or "disable".

    smart_open would also decompress other extensions, whose files were planned as uncompressed.
    """
    return os.path.splitext(_stored_name(path))[1] if is_compressed(path) else "disable"


def open_text(path: str) -> BinaryIO:
    """Open a file or URL for reading as decompressed bytes."""
    kind = _compression(path)
    if "://" in path and not is_on_the_web(path):
        return _decompressed(io.BufferedReader(open_stored(path), STORED_BYTES), kind)
    return _open(path, kind)


def open_stored(path: str) -> pa.NativeFile:
    """Open a listed file for random access to its bytes as they are stored, compressed or not.

    Raises:
        OSError: it is not there, or an object store refuses it.
    """
    if is_on_the_web(path):
        return pa.PythonFile(_open_on_the_web(path), mode="r")
    scheme, separator, inside = path.rpartition("://")
    filesystem = _file_system(f"{scheme}://{inside.partition('/')[0]}/" if separator else "/")
    return filesystem.open_input_file(inside)


def _open_on_the_web(url: str) -> BinaryIO:
    try:
        return _open(url, "disable")
    except OSError as error:
        if getattr(getattr(error, "response", None), "status_code", None) in GONE:
            raise FileNotFoundError(f"{url} is not there: {error}") from error
        raise


@functools.lru_cache
def _file_system(root: str) -> pyarrow.fs.FileSystem:
    return file_system(root)[0]


def _open(path: str, compression: str) -> BinaryIO:
    # Brings boto3 where that is installed: a tenth of the time that a worker needs to begin, and most open no text.
    import smart_open

    parameters = {"timeout": TIMEOUT_SECONDS} if is_on_the_web(path) else {}
    return smart_open.open(path, "rb", compression=compression, transport_params=parameters)


def _decompressed(stored: BinaryIO, compression: str) -> Any:
    import smart_open.compression

    return smart_open.compression.compression_wrapper(stored, "rb", compression=compression)


def content_of(stored: bytes, path: str, num_bytes: int) -> bytes:
    """Return what the first bytes of a file, as they are `stored`, hold: at most `num_bytes` decompressed bytes.

    Nothing is returned if they are damaged, or too few: bz2 gives nothing before 900 kB of text are there.
    """
    if not is_compressed(path):
        return stored[:num_bytes]
    stream = _decompressed(io.BytesIO(stored), _compression(path))
    try:
        return stream.raw.read1(num_bytes)
    except CONTENT_ERRORS:
        return b""


class LongLine(bytes):
    """The front of a line of more than MAX_RECORD_BYTES, itself longer than that."""

    num_bytes: int
    """How long the whole line is."""


def line_bytes(line: bytes) -> int:
    """Return how many bytes of the file a line takes."""
    return line.num_bytes if isinstance(line, LongLine) else len(line)


def read_line(stream: BinaryIO) -> bytes:
    """Return the next line; one that is too long is passed by, and its front is returned."""
    # Still too long when a mark is taken off its front.
    line = stream.readline(MAX_RECORD_BYTES + 1 + len(UTF8_BOM))
    if len(line) <= MAX_RECORD_BYTES:
        return line
    front = LongLine(line)
    front.num_bytes = len(line) + (0 if line.endswith(b"\n") else rest_of_line(stream))
    return front


def rest_of_line(stream: BinaryIO) -> int:
    """Pass by what is left of a line, and return how many bytes that was."""
    size = 0
    while chunk := stream.readline(SKIPPED_AT_ONCE):
        size += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return size


def _shortened(line: bytes, num_bytes: int) -> bytes:
    """Return a line without its first bytes."""
    if not isinstance(line, LongLine):
        return line[num_bytes:]
    rest = LongLine(line[num_bytes:])
    rest.num_bytes = line.num_bytes - num_bytes
    return rest


class CountedLines:
    """Lines of a byte stream (newline kept) with the offset at which each begins; lines can be handed back."""

    def __init__(self, stream: BinaryIO, offset: int = 0, stop: int | None = None) -> None:
        self.offset = self.began = offset
        """Where the next line begins, and where the last one did."""
        self._stream = stream
        self._stop = stop
        self._returned: list[bytes] = []

    def next_line(self) -> bytes | None:
        """Return the next line, or None at the end or when it would begin at or after `stop`."""
        if self._stop is not None and self.offset >= self._stop:
            return None
        line = self._returned.pop() if self._returned else read_line(self._stream)
        if not line:
            return None
        if self.offset == 0 and line.startswith(UTF8_BOM):
            self.offset = len(UTF8_BOM)
            line = _shortened(line, len(UTF8_BOM))
        self.began = self.offset
        self.offset += line_bytes(line)
        return line

    def give_back(self, lines: list[bytes]) -> None:
        """Take lines back; the first of them is the next one again."""
        self._returned.extend(reversed(lines))
        self.offset -= sum(map(line_bytes, lines))
