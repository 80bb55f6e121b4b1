"""A launch of a job, written down when it begins and when it ends; then the report is written as well.

Both are for people. So what goes wrong here is a warning, and never ends a job.
"""

import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from ulmfit_ray.reporting.report_facts import gather
from ulmfit_ray.reporting.report_page import FILE, report_page
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.launches import Ending, Launch, now, read_launches, write_launches

PACKAGES = ("ulmfit-ray", "ray", "torch", "pyarrow", "numpy", "spacy", "sentencepiece")
LONGEST_REASON = 4000


class _Launching:
    """What is known of the launch that runs in this context."""

    def __init__(self, folder: Folder, command: str, ray: str) -> None:
        self.folder = folder
        self._command, self._ray = command, ray
        self._launch: Launch | None = None

    def begin(self) -> None:
        """Write down that it has begun: from now on the output is this job's."""
        self._launch = Launch(
            command=self._command,
            host=socket.gethostname(),
            pid=os.getpid(),
            ray=self._ray,
            began=now(),
            versions=_versions(),
        )
        _say_what_happened(self.folder, [*read_launches(self.folder), self._launch])

    def end(self, ending: Ending, reason: str = "") -> None:
        """Write down how it ended, if it had begun."""
        if self._launch is None:
            return
        launches = read_launches(self.folder)
        before = launches[:-1] if launches and launches[-1].began == self._launch.began else launches
        ended = replace(self._launch, ended=now(), ending=ending, reason=reason[:LONGEST_REASON])
        _say_what_happened(self.folder, [*before, ended])


_current: ContextVar[_Launching | None] = ContextVar("launching", default=None)


@contextmanager
def launch(folder: Folder, command: str, ray: str = "") -> Iterator[None]:
    """Write down how the block ends, if `launch_begins` was called in it; the report comes with it."""
    launching = _Launching(folder, command, ray)
    token = _current.set(launching)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        launching.end("interrupted", str(error) if isinstance(error, KeyboardInterrupt) else "ended by a signal")
        raise
    except Exception as error:
        launching.end("failed", f"{type(error).__name__}: {error}")
        raise
    else:
        launching.end("finished")
    finally:
        _current.reset(token)


def launch_begins(folder: Folder) -> None:
    """Say that the output is this job's now; without effect outside of `launch`."""
    launching = _current.get()
    if launching is not None and launching.folder.uri == folder.uri:
        launching.begin()


def finish_report(folder: Folder) -> None:
    """Write the report of a finished output whose job was killed between its manifest and its report."""
    launches = read_launches(folder)
    if launches and launches[-1].ending == "running":
        _say_what_happened(folder, [*launches[:-1], replace(launches[-1], ending="finished")])


def _say_what_happened(folder: Folder, launches: list[Launch]) -> None:
    try:
        write_launches(folder, launches)
        # Texts of a corpus may have halves of characters, which UTF-8 cannot say.
        folder.publish_bytes(report_page(gather(folder)).encode(errors="backslashreplace"), FILE)
    except Exception as error:
        # A full disk, a lost connection, a file that says what we did not expect: the results are what counts.
        said = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"warning: the report of {folder.uri} could not be written: {said}", file=sys.stderr, flush=True)


def _versions() -> dict[str, str]:
    """Return the versions of what a result may depend on, without importing any of it."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
