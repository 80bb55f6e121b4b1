"""Compressed files that are damaged: what can still be read of them, then `DamagedFileError`.

Damage comes as EOFError (a file that is cut off), gzip.BadGzipFile, zlib.error, lzma.LZMAError, ZstdError, or as a bare
OSError (bz2), and a disk or a network that fails raises some of the same. So an error is believed to be damage only if
a second try fails at the same place and all raw bytes can be read. A checksum stands behind what it is for: where gzip
finds a wrong one, the content before it has been given away, and some of it is wrong.
"""

import io
from typing import Any, BinaryIO

from ulmfit_ray.corpus.open_text import is_compressed, open_stored, open_text

STEP_BYTES = 1 << 16
BOMB_RATIO, BOMB_BYTES = 500, 512 << 20
"""A file is read no further when it has given more than so many times its size, and more than so many bytes: 10 MB of
bz2 can be a terabyte of zeros. Text is seldom packed to less than a twentieth."""


class DamagedFileError(Exception):
    """A file is damaged: its content can be read up to byte `offset` and no further."""

    def __init__(self, offset: int, detail: str) -> None:
        super().__init__(f"the content that can be read ends at byte {offset:,}: {detail}")
        self.offset, self.detail = offset, detail


def open_checked(path: str, num_bytes: int) -> BinaryIO:
    """Open a file of `num_bytes` raw bytes for reading as decompressed bytes.

    Reading raises DamagedFileError behind the last byte that can be read, however much is asked for at a time.
    """
    return io.BufferedReader(_Content(path, num_bytes), STEP_BYTES) if is_compressed(path) else open_text(path)


class _Content(io.RawIOBase):
    """The content of a compressed file, read in steps of one size: where damage stops it depends on the file alone."""

    def __init__(self, path: str, num_bytes: int) -> None:
        self._path, self._num_bytes = path, num_bytes
        self._file: Any = open_text(path)
        self._offset, self._limit = 0, max(BOMB_BYTES, BOMB_RATIO * num_bytes)
        self._waiting = b""
        self._damage: DamagedFileError | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        if not self._waiting:
            self._waiting = self._step()
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size

    def _step(self) -> bytes:
        """Return the next bytes, or none at the end."""
        chunk = b""
        if self._damage is None:
            try:
                chunk = _read_some(self._file, STEP_BYTES)[: self._limit - self._offset]
                if self._offset + len(chunk) == self._limit:
                    detail = f"it holds more than {self._limit:,} bytes, packed into {self._num_bytes:,}: a bomb"
                    self._damage = DamagedFileError(self._limit, detail)
            except MemoryError:
                raise
            except Exception as error:
                chunk = _rest_before_damage(self._path, self._offset, error)
                _check_raw_bytes(self._path, self._num_bytes, error)
                offset = self._offset + len(chunk)
                self._damage = DamagedFileError(offset, f"{type(error).__name__}: {error}")
        self._offset += len(chunk)
        if self._damage is not None and not chunk:
            raise self._damage
        return chunk


def _read_some(file: Any, size: int) -> bytes:
    """Return at most `size` bytes, straight from the decompressor: a buffer would lose what it holds at an error."""
    return file.raw.read1(size)


def _rest_before_damage(path: str, offset: int, error: Exception) -> bytes:
    """Return what can be read behind `offset`, where a first try failed with `error`, on a second try.

    A decompressor that fails throws away what it found in the same call, so the rest is read byte by byte.

    Raises:
        Exception: `error`, if the second try does not fail there in the same way.
    """
    position, rest = 0, bytearray()
    with open_text(path) as file:
        try:
            while position < offset and (chunk := _read_some(file, STEP_BYTES)):
                position += len(chunk)
            while position == offset and len(rest) <= STEP_BYTES and (chunk := _read_some(file, 1)):
                rest += chunk
        except Exception as again:
            if type(again) is type(error) and position == offset:
                return bytes(rest)
    raise error


def _check_raw_bytes(path: str, num_bytes: int, error: Exception) -> None:
    """Raise OSError if the raw bytes of a file cannot all be read, or are not as many as planned."""
    with open_stored(path) as file:
        found = sum(map(len, iter(lambda: file.read(1 << 20), b"")))
    if found != num_bytes:
        raise OSError(f"{path} has {found:,} bytes, {num_bytes:,} were planned") from error
