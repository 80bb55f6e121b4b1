"""The lease of an output: which job is writing it. Politeness between jobs, not safety: commits are safe without it.

`lease.json` names the owner and holds a counter that the owner raises every few seconds. Who finds a lease takes it
over at once when its owner is a process of this machine that has ended; otherwise the counter is watched, by our own
clock, and the lease is taken over only when it stands still. An owner that was stopped for a while and wakes up finds
another owner's lease, and ends.
"""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.store_errors import StoreLostError

FILE = "lease.json"
BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
"""How long a counter must stand still; four beats."""
SETTLE_SECONDS = 0.3
"""Two jobs that take a free lease at the same moment see after this time which of them wrote last."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What lease.json says."""

    run_id: str
    host: str
    pid: int
    command: str
    counter: int = 0

    def is_dead(self) -> bool:
        """Tell whether the owner was a process of this machine and has ended; of other machines nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class LeaseHeldError(RuntimeError):
    """Another job is writing the output."""


@contextmanager
def held_lease(folder: Folder, command: str) -> Iterator[None]:
    """Hold the folder's lease while the block runs.

    Raises:
        LeaseHeldError: another job holds it, and is alive.
    """
    own = Lease(secrets.token_hex(8), socket.gethostname(), os.getpid(), command)
    _wait_for(folder)
    folder.publish_json(asdict(own), FILE)
    time.sleep(SETTLE_SECONDS)
    other = _read(folder)
    if other is not None and other.run_id != own.run_id:
        raise LeaseHeldError(_refusal(folder, other))
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, own, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        found = _read(folder)
        if found is not None and found.run_id == own.run_id:
            folder.delete(FILE)


def _wait_for(folder: Folder) -> None:
    """Return when the lease is free, or its owner is dead or silent."""
    first = _read(folder)
    began = time.monotonic()
    while first is not None and not first.is_dead() and time.monotonic() - began < PATIENCE_SECONDS:
        time.sleep(min(1.0, PATIENCE_SECONDS / 10))
        now = _read(folder)
        if now is None:
            return
        if (now.run_id, now.counter) != (first.run_id, first.counter):
            raise LeaseHeldError(_refusal(folder, now))


def _beat(folder: Folder, own: Lease, ended: threading.Event) -> None:
    """Raise the counter until the job ends; end the process if the lease has another owner, or its store is lost."""
    while not ended.wait(BEAT_SECONDS):
        try:
            found = _read(folder)
            if found is not None and found.run_id != own.run_id:
                _end_process(f"this job was silent for too long, and {_name(found)} writes {folder.uri} now: ended")
            own = replace(own, counter=own.counter + 1)
            folder.publish_json(asdict(own), FILE)
        except StoreLostError as error:
            # The workers' units would fail one after the other, each after this time.
            _end_process(f"{error}; ended: run the same command again when the store is back")
        except OSError as error:
            # A full disk is the job's own to notice; silence only costs the lease.
            print(f"warning: {folder.uri}/{FILE} could not be renewed: {error}", file=sys.stderr, flush=True)


def _end_process(reason: str) -> None:
    """End without clearing up: what lies in the folder is another owner's."""
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


def _read(folder: Folder) -> Lease | None:
    try:
        return Lease(**folder.read_json(FILE))
    except (FileNotFoundError, TypeError, ValueError):
        # Not there, or not written by this version: as good as none.
        return None


def _name(owner: Lease) -> str:
    return f"process {owner.pid} on {owner.host} ({owner.command})"


def _refusal(folder: Folder, owner: Lease) -> str:
    return f"output {folder.uri} is being written by {_name(owner)}: wait for its end, or stop it"
