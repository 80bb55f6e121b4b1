"""Text inputs as byte streams: the one module that speaks smart_open (any URL, any compression)."""

import io
import lzma
import os
import sys
import zlib
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import smart_open
import smart_open.compression

from ulmfit_ray.corpus.web import TIMEOUT_SECONDS, is_on_the_web

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
CONTENT_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, ZstdError)
"""What the libraries raise about the bytes of a compressed file; gzip and bz2 raise an OSError of no file."""
GONE = (404, 410)
"""What a web server answers for a file that it has not."""
UTF8_BOM = b"\xef\xbb\xbf"


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
    """Return the extension that names the compression of a compressed file."""
    return os.path.splitext(_stored_name(path))[1]


def open_text(path: str) -> BinaryIO:
    """Open a file or URL for reading as decompressed bytes."""
    # Explicit, because smart_open would also decompress other extensions, whose files were planned as uncompressed.
    return _open(path, _compression(path) if is_compressed(path) else "disable")


def open_on_the_web(url: str) -> BinaryIO:
    """Open a file on a web server for reading its bytes as they are stored; seeking asks the server for a range.

    Raises:
        FileNotFoundError: the server has no such file.
    """
    try:
        return _open(url, "disable")
    except OSError as error:
        if getattr(getattr(error, "response", None), "status_code", None) in GONE:
            raise FileNotFoundError(f"{url} is not there: {error}") from error
        raise


def _open(path: str, compression: str) -> BinaryIO:
    parameters = {"timeout": TIMEOUT_SECONDS} if is_on_the_web(path) else {}
    return smart_open.open(path, "rb", compression=compression, transport_params=parameters)


def content_of(stored: bytes, path: str, num_bytes: int) -> bytes:
    """Return what the first bytes of a file, as they are `stored`, hold: at most `num_bytes` decompressed bytes.

    Nothing is returned if they are damaged, or too few: bz2 gives nothing before 900 kB of text are there.
    """
    if not is_compressed(path):
        return stored[:num_bytes]
    stream: Any = smart_open.compression.compression_wrapper(io.BytesIO(stored), "rb", compression=_compression(path))
    try:
        return stream.raw.read1(num_bytes)
    except CONTENT_ERRORS:
        return b""


class CountedLines:
    """Lines of a byte stream (newline kept) with the offset at which each begins; lines can be handed back."""

    def __init__(self, stream: BinaryIO, offset: int = 0, stop: int | None = None) -> None:
        self.offset = offset
        self._stream = stream
        self._stop = stop
        self._returned: list[bytes] = []

    def next_line(self) -> bytes | None:
        """Return the next line, or None at the end or when it would begin at or after `stop`."""
        if self._stop is not None and self.offset >= self._stop:
            return None
        line = self._returned.pop() if self._returned else self._stream.readline()
        if not line:
            return None
        if self.offset == 0 and line.startswith(UTF8_BOM):
            self.offset = len(UTF8_BOM)
            line = line[len(UTF8_BOM) :]
        self.offset += len(line)
        return line

    def give_back(self, lines: list[bytes]) -> None:
        """Take lines back; the first of them is the next one again."""
        self._returned.extend(reversed(lines))
        self.offset -= sum(map(len, lines))
