"""Faults for Ray's workers: what a test writes into a folder, each worker does when its turn comes.

Installed in each new worker by Ray's hook (see conftest.py). A fault names an operation of storage.folder.Folder, a
part of a file's name, what happens (an error, or the worker's death), and how often over all workers.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "ULMFIT_RAY_TEST_FAULTS"
OPERATIONS = ("open", "read_bytes", "publish")
FOR_EVER = 1_000_000


@contextmanager
def fault(operation: str, name: str, *, kill: bool = False, times: int = 1) -> Iterator[Callable[[], int]]:
    """Make workers fail at `operation` on files whose name contains `name`; gives how often that has happened."""
    folder = Path(os.environ[VARIABLE])
    path = folder / f"{time.monotonic_ns()}.json"
    path.write_text(json.dumps({"operation": operation, "name": name, "kill": kill, "times": times}))
    try:
        yield lambda: len(list(folder.glob(f"{path.stem}.*.done")))
    finally:
        path.unlink()


def install() -> None:
    """Wrap the operations, in a worker."""
    from ulmfit_ray.storage.folder import Folder

    for operation in OPERATIONS:
        _wrap(Folder, operation)


def _wrap(folder_class: Any, operation: str) -> None:
    original = getattr(folder_class, operation)

    def wrapped(self: Any, *arguments: Any) -> Any:
        _perhaps(operation, str(arguments[-1]))
        return original(self, *arguments)

    setattr(folder_class, operation, wrapped)


def _perhaps(operation: str, name: str) -> None:
    folder = Path(os.environ[VARIABLE])
    for path in folder.glob("*.json"):
        try:
            what = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            continue
        if what["operation"] == operation and what["name"] in name and _claim(path, what["times"]):
            if what["kill"]:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(f"injected fault at {operation} of {name}")


def _claim(path: Path, times: int) -> bool:
    """Take one of the times that are left; two workers never take the same one."""
    for number in range(times):
        try:
            (path.parent / f"{path.stem}.{number:07d}.done").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False
