"""The lease of an output: which job is writing it. Politeness between jobs, not safety: commits are safe without it.

`lease.json` names the owner and holds a counter that the owner raises every few seconds. Who finds a lease takes it
over at once when its owner is a process of this machine that has ended (another process may have its number by now, or
the machine may have been started anew); otherwise the counter is watched, by our own clock, and the lease is taken over
only when it stands still. An owner that was stopped for a while and wakes up finds another owner's lease, or none
because that one has finished, and ends. Its workers on other nodes were not stopped with it: what is not the same
whoever writes it they write only while the lease is their job's (`check_lease`).
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
from pathlib import Path

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.store_errors import StoreLostError

FILE = "lease.json"
BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
"""How long a counter must stand still; four beats."""
LOOK_AGAIN_SECONDS = 0.5
"""A file system of a network may for a moment show no file where one is replaced by another."""
READ_SECONDS = 0.3
"""How long the last line may take on its way out of the process."""
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
    started: str = ""
    """When the process was started, as `process_start` says it; "" where that is not known."""

    def is_dead(self) -> bool:
        """Tell whether the owner was a process of this machine and has ended; of other machines nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # Somebody else's process: alive, but not necessarily the owner.
            pass
        return bool(self.started) and self.started != process_start(self.pid)


def process_start(pid: int) -> str:
    """Return what tells a process from all others that have had, or will have, its number; "" where there is no /proc.

    That is the boot of the machine, and the clock ticks from then to the process's start.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # Field 22. The second one, the program's name in brackets, may hold spaces and brackets.
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"


class LeaseHeldError(RuntimeError):
    """Another job is writing the output."""


class LeaseLostError(RuntimeError):
    """The job that this process belongs to does not hold the output's lease any more."""


@contextmanager
def held_lease(folder: Folder, command: str) -> Iterator[str]:
    """Hold the folder's lease while the block runs; gives the id by which `check_lease` knows it.

    Raises:
        LeaseHeldError: another job holds it, and is alive.
    """
    own = Lease(secrets.token_hex(8), socket.gethostname(), os.getpid(), command, started=process_start(os.getpid()))
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
        yield own.run_id
    finally:
        ended.set()
        beating.join()
        found = _read(folder)
        if found is not None and found.run_id == own.run_id:
            folder.delete(FILE)


def check_lease(folder: Folder, run_id: str) -> None:
    """Raise LeaseLostError if the lease is not that of this id: a question of workers, whose driver may be stopped."""
    found = _find(folder)
    if found is None or found.run_id != run_id:
        raise LeaseLostError(_loss(folder, found))


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
    """Raise the counter until the job ends; end the process if the lease is another's, or gone, or its store lost."""
    beaten_at = time.monotonic()
    while not ended.wait(BEAT_SECONDS):
        # Who was stopped for a while is not to go on, in its other threads, while this one looks twice.
        was_stopped = time.monotonic() - beaten_at > PATIENCE_SECONDS
        beaten_at = time.monotonic()
        try:
            found = _read(folder) if was_stopped else _find(folder)
            if found is None or found.run_id != own.run_id:
                _end_process(f"{_loss(folder, found)}: ended")
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
    # A job's standard error goes through a thread, which would end before it has passed this on.
    time.sleep(READ_SECONDS)
    os._exit(1)


def _loss(folder: Folder, owner: Lease | None) -> str:
    if owner is None:
        return f"{folder.uri}/{FILE} has gone: this job was silent for too long, and another one has taken its place"
    return f"this job was silent for too long, and {_name(owner)} writes {folder.uri} now"


def _find(folder: Folder) -> Lease | None:
    """Return the lease, after a second look if there seems to be none."""
    found = _read(folder)
    if found is None:
        time.sleep(LOOK_AGAIN_SECONDS)
        found = _read(folder)
    return found


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
