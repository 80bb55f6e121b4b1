"""One directory behind one URI, through which all outputs are written.

Any URI that `pyarrow.fs.FileSystem.from_uri` opens will do. A file appears under its name complete or not at all:
locally it is copied to a temporary name in the same folder, synced and renamed; elsewhere it is uploaded as a whole
(see remote.py). Half a Parquet file can be a valid, shorter one. What an object store does not answer as it should is
asked again (see insistence.py), whoever asks.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs

from ulmfit_ray.storage import remote
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.store_errors import SCHEME, bucket_of

TEMPORARY_SUFFIX = ".tmp"
COPIED_AT_ONCE = 32 << 20
"""Bytes of a remote file that are held while it is copied or hashed, and read again where a connection breaks."""


def absolute_uri(uri: str) -> str:
    """Return `uri`, with a local path made absolute, so that it means the same from any working directory."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


def file_system(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return the file system that a path or URI lies in, and its path there."""
    if uri.startswith(SCHEME):
        return remote.s3_file_system(bucket_of(uri)), uri.removeprefix(SCHEME).rstrip("/")
    return pyarrow.fs.FileSystem.from_uri(uri)


def quoted_uri(uri: str) -> str:
    """Return a place for a library that takes URIs by the letter; in ours, a blank is a blank and not %20."""
    return SCHEME + quote(uri.removeprefix(SCHEME)) if uri.startswith(SCHEME) else uri


def check_place(uri: str) -> None:
    """Raise an error that says what to do if `uri` lies in a bucket that cannot be used.

    Raises:
        ValueError, ConnectionError, PermissionError, FileNotFoundError: see `bucket_of` and `in_words`.
    """
    if uri.startswith(SCHEME):
        remote.check_place(uri)


def temporary_name(name: str) -> str:
    """Return a name no other attempt uses: two attempts at one shard may run at the same moment."""
    folder, _, base = name.rpartition("/")
    unique = f".{base}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    return f"{folder}/{unique}" if folder else unique


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a local file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json_bytes(content: Any) -> bytes:
    """Return readable JSON that is the same for equal content."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


class Folder:
    """Files under `uri`, addressed by names such as "shards/part-0000017.arrow"."""

    def __init__(self, uri: str) -> None:
        self.uri = absolute_uri(uri).rstrip("/")
        self.filesystem, self.root = file_system(self.uri)
        self.is_local = isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def path(self, name: str) -> str:
        """Return the file system's own path of `name`."""
        return f"{self.root}/{name}" if name else self.root

    def exists(self, name: str = "") -> bool:
        """Tell whether a file or folder of that name is there."""
        return self.filesystem.get_file_info(self.path(name)).type != pyarrow.fs.FileType.NotFound

    def check_writable(self) -> None:
        """Raise an error that says what to do (see `in_words`) if we may write nothing here in a bucket."""
        is_in_bucket = self.uri.startswith(SCHEME) and "/" in self.root
        if is_in_bucket:
            # Not through a stream of pyarrow's, which would try a second time and print what goes wrong there.
            self.filesystem.create_dir(self.root, recursive=False)

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        info = self.filesystem.get_file_info(self.path(name))
        if info.type != pyarrow.fs.FileType.File:
            raise FileNotFoundError(f"{self.uri}/{name} is not there")
        return info.size

    def names(self, name: str = "") -> list[str]:
        """Return the sorted names right below `name` (none if it does not exist), temporary files left out."""
        selector = pyarrow.fs.FileSelector(self.path(name), allow_not_found=True)
        found = (info.base_name for info in self.filesystem.get_file_info(selector))
        return sorted(base for base in found if not base.endswith(TEMPORARY_SUFFIX))

    def read_bytes(self, name: str) -> bytes:
        """Return the whole of a small file."""
        if self.is_local:
            return Path(self.path(name)).read_bytes()
        with self.filesystem.open_input_file(self.path(name)) as file:
            content: bytes = file.read_at(file.size(), 0)
        return content

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads(self.read_bytes(name))

    def find_json(self, name: str) -> Any:
        """Return the content of a JSON file, or None if it is not there."""
        try:
            return self.read_json(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access: memory-mapped where it is local, read at once where it is small."""
        if self.is_local:
            return pa.memory_map(self.path(name))
        file = self.filesystem.open_input_file(self.path(name))
        return pa.BufferReader(file.read_at(file.size(), 0)) if file.size() <= remote.SMALL_BYTES else file

    @contextmanager
    def local_files(self, names: Iterable[str]) -> Iterator[Path]:
        """Give a local folder that has these files: this one, or one with copies, which is gone afterwards.

        Raises:
            OSError: a file could not be read to its end.
        """
        if self.is_local:
            yield Path(self.root)
            return
        with scratch_directory() as scratch:
            for name in names:
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                with (scratch / name).open("wb") as copy:
                    copy.writelines(self.parts(name))
            yield scratch

    def parts(self, name: str) -> Iterator[bytes]:
        """Yield a file's content, `COPIED_AT_ONCE` bytes at a time.

        Raises:
            OSError: it could not be read to its end.
        """
        with self.filesystem.open_input_file(self.path(name)) as source:
            size, place = source.size(), 0
            while place < size:
                part = source.read_at(min(COPIED_AT_ONCE, size - place), place)
                if not part:
                    raise OSError(f"{self.uri}/{name} ended after {place:,} of {size:,} bytes")
                place += len(part)
                yield part

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file as hexadecimal digits."""
        if self.is_local:
            return sha256_file(self.path(name))
        digest = hashlib.sha256()
        for part in self.parts(name):
            digest.update(part)
        return digest.hexdigest()

    def publish(self, local_file: Path, name: str) -> None:
        """Copy a finished local file to its place in one step."""
        if not self.is_local:
            with pa.memory_map(str(local_file)) as file:
                if self.uri.startswith(SCHEME):
                    remote.upload(file.read_buffer(), self.path(name))
                else:
                    remote.write_at_once(self.filesystem, file.read_buffer(), self.path(name))
            return

        def copy(target: Path) -> None:
            shutil.copyfile(local_file, target)
            # Looked at before it gets its name: there, another attempt may already have put a file of its own.
            expected, found = local_file.stat().st_size, target.stat().st_size
            if found != expected:
                raise OSError(f"{self.uri}/{name} has {found:,} bytes after the copy, not {expected:,}")

        self._replace(name, copy)

    def publish_bytes(self, content: bytes, name: str) -> None:
        """Put a small file in its place in one step."""
        with scratch_directory() as scratch:
            local = scratch / "content"
            local.write_bytes(content)
            self.publish(local, name)

    def publish_json(self, content: Any, name: str) -> None:
        """Put a JSON file in its place in one step."""
        self.publish_bytes(to_json_bytes(content), name)

    def create_json(self, content: Any, name: str) -> None:
        """Put a JSON file in its place unless one is there.

        Raises:
            FileExistsError: another process was first.
        """
        if not self.is_local:
            # pyarrow offers no conditional creation on object stores: look, then write.
            if self.exists(name):
                raise FileExistsError(f"{self.uri}/{name} is already there")
            self.publish_json(content, name)
            return
        temporary = Path(self.path(temporary_name(name)))
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(to_json_bytes(content))
        try:
            os.link(temporary, self.path(name))
        finally:
            temporary.unlink()

    def delete(self, name: str) -> None:
        """Remove a file or a folder with all it holds, if it is there."""
        kind = self.filesystem.get_file_info(self.path(name)).type
        # What is gone may have been deleted by a request whose answer was lost.
        with contextlib.suppress(FileNotFoundError):
            if kind == pyarrow.fs.FileType.Directory:
                self.filesystem.delete_dir(self.path(name))
            elif kind == pyarrow.fs.FileType.File:
                self.filesystem.delete_file(self.path(name))

    def delete_file(self, name: str) -> None:
        """Remove a file, if it is there; cheaper than `delete` where each question is a request."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    def sweep(self, name: str) -> None:
        """Remove what killed attempts left below `name`: files that never got their final name."""
        if not self.is_local:
            return
        selector = pyarrow.fs.FileSelector(self.path(name), allow_not_found=True)
        for info in self.filesystem.get_file_info(selector):
            if info.base_name.endswith(TEMPORARY_SUFFIX):
                self.filesystem.delete_file(info.path)

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        target = Path(self.path(name))
        temporary = Path(self.path(temporary_name(name)))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
