"""Node-local directories to build files in, which go when their process ends, whatever ends it.

A process that is killed cannot delete its directory. It holds a lock on it, though, which the system takes away with
the process: whoever needs a directory first deletes old ones that nobody holds. (A process id would not do: containers
that share a folder for temporary files count their own.)
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

PREFIX = "ulmfit-ray-scratch-"
"""Of names that nobody gives to a directory of his own: old ones are deleted."""
OLD_SECONDS = 3600
"""Younger ones may just be made, their locks not yet taken."""


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a node-local directory to build files in before they are published; it is gone afterwards."""
    _sweep_once()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path:
        lock = os.open(path, os.O_RDONLY)
        try:
            # Some network file systems have no locks; there nobody can take one either, and nothing is deleted.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(path)
        finally:
            os.close(lock)


@cache
def _sweep_once() -> None:
    """Delete what killed processes have left; once in each process."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Another process may delete it first, or it is another user's.
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > OLD_SECONDS:
                _delete_unless_held(place)


def _delete_unless_held(place: Path) -> None:
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(lock)
