"""This node's copies of files in object stores: each is fetched once, checked by its hash, and memory-mapped.

    ULMFIT_RAY_CACHE        the folder (ulmfit-ray-cache-UID among the temporary files)
    ULMFIT_RAY_CACHE_GIB    what it may hold (16); 0: nothing is kept, and all is read from the store

A copy is named by its SHA-256, which the manifest or a receipt has told. Processes agree through locks, which the
system takes away from those that die: the first who needs a file fetches it and the others wait; what is in use is not
deleted when room is made, and what is deleted while it is memory-mapped lives on until its last reader is gone.
"""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from ulmfit_ray.storage.folder import Folder

logger = logging.getLogger(__name__)
FOLDER, BOUND = "ULMFIT_RAY_CACHE", "ULMFIT_RAY_CACHE_GIB"
DEFAULT_GIB = 16.0
FREE_FRACTION = 0.1
"""Of the disk that is left free: where 95 % are full, Ray stores nothing there."""
FETCHES = 3
"""Of a file whose hash is not the recorded one, before it is called damaged."""
PART = ".part"
LOCAL_TROUBLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR),
    *(errno.ENOLCK, errno.EOPNOTSUPP),
)
"""Of the node's disk; the errors of stores have no numbers. The store is read without a copy then."""
_CHECKED: set[tuple[str, int, int, int]] = set()
"""Name, inode, size and time of change of the copies whose hashes this process has compared."""


@contextmanager
def local_file(folder: Folder, name: str, sha256: str) -> Iterator[Path | None]:
    """Give a file as a local one: itself, or this node's copy; None if there is no room for one.

    The copy may be deleted after the block, but not what has been memory-mapped in it.

    Raises:
        ValueError: the file in the store is not the one that was written.
    """
    if folder.is_local:
        yield Path(folder.path(name))
        return
    with ExitStack() as stack:
        try:
            held = _held(folder, name, sha256)
        except OSError as error:
            if error.errno not in LOCAL_TROUBLE:
                raise
            _warn_once(f"the cache for object stores is not used: {error}")
            held = None
        yield Path(stack.enter_context(held).name) if held else None


def open_cached(folder: Folder, name: str, sha256: str) -> pa.NativeFile:
    """Open a file for random access, memory-mapped where it is local or fits into the cache.

    Raises:
        ValueError: the file in the store is not the one that was written.
    """
    if folder.is_local:
        return folder.open(name)
    with local_file(folder, name, sha256) as path:
        return folder.open(name) if path is None else pa.memory_map(str(path))


def damaged(folder: Folder, name: str) -> ValueError:
    """Return the error that says that a file is another than the recorded one."""
    return ValueError(
        f"{name} of {folder.uri} is not the file that was written: its SHA-256 is not the recorded one\n"
        f"    `ulmfit-ray verify {folder.uri}` lists all that is wrong there"
    )


def _held(folder: Folder, name: str, sha256: str) -> BinaryIO | None:
    """Return this node's copy of a file, open and locked against deletion; None if there is no room for it."""
    bound = _bound_bytes()
    if not bound:
        return None
    place = _place()
    while True:
        held = _opened(place / sha256)
        if held is not None:
            return held
        with _locked(place / "locks" / sha256[:2]):
            if not (place / sha256).exists() and not _fetch(folder, name, sha256, place, bound):
                return None


def _opened(path: Path) -> BinaryIO | None:
    """Return a copy, open and locked; None if there is none. One that is damaged is deleted."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    found = os.fstat(file.fileno())
    key = (path.name, found.st_ino, found.st_size, found.st_mtime_ns)
    is_there = found.st_nlink > 0
    if is_there and (key in _CHECKED or hashlib.file_digest(file, "sha256").hexdigest() == path.name):
        _CHECKED.add(key)
        # When it was used last; the time of its last change stays, and tells whether it is to be hashed again.
        os.utime(path, ns=(time.time_ns(), found.st_mtime_ns))
        return file
    if is_there:
        path.unlink(missing_ok=True)
    file.close()
    return None


def _fetch(folder: Folder, name: str, sha256: str, place: Path, bound: int) -> bool:
    """Make the copy of a file, whose key is locked; return False if there is no room for it."""
    size = folder.size(name)
    for _ in range(FETCHES):
        if not _make_room(place, size, bound):
            return False
        part = place / f"{sha256}{PART}"
        try:
            if _download(folder, name, size, part) == sha256:
                os.rename(part, place / sha256)
                return True
        finally:
            part.unlink(missing_ok=True)
    raise damaged(folder, name)


def _download(folder: Folder, name: str, size: int, part: Path) -> str:
    """Write a file of `size` bytes to this node's disk and return its SHA-256; "" if `part` was deleted at once."""
    digest = hashlib.sha256()
    with part.open("wb") as file:
        # While it is written it is not deleted to make room, and counts with its whole size.
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink == 0:
            return ""
        file.truncate(size)
        for piece in folder.parts(name):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _make_room(place: Path, size: int, bound: int) -> bool:
    """Delete the copies that were not used for the longest time, until there is room; return False if there is none."""
    copies = []
    for entry in os.scandir(place):
        if entry.is_file():
            found = entry.stat()
            copies.append((found.st_atime, found.st_size, Path(entry.path)))
    used = sum(copy[1] for copy in copies)
    disk = shutil.disk_usage(place)
    lacking = max(used + size - bound, size + int(FREE_FRACTION * disk.total) - disk.free)
    if size > bound or lacking > used:
        return False
    for _, num_bytes, path in sorted(copies):
        if lacking <= 0:
            break
        lacking -= num_bytes if _delete_unless_used(path) else 0
    return lacking <= 0


def _delete_unless_used(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _place() -> Path:
    """Return the folder of the copies, which is there."""
    named = os.environ.get(FOLDER)
    place = Path(named) if named else Path(tempfile.gettempdir(), f"ulmfit-ray-cache-{os.getuid()}")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = place.stat()
    if not named and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
        raise PermissionError(errno.EACCES, f"others may write there; name a folder with {FOLDER}", str(place))
    (place / "locks").mkdir(exist_ok=True)
    return place


def _bound_bytes() -> int:
    given = os.environ.get(BOUND)
    try:
        gib = DEFAULT_GIB if given is None else float(given)
    except ValueError:
        gib = -1.0
    if not 0 <= gib < float("inf"):
        raise ValueError(f"{BOUND}={given}: needed is a number of GiB, 0 or more")
    return int(gib * (1 << 30))


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
