"""Ray's own lines about things that are as they should be, kept from the terminal; everything else passes.

Ray's C++ code writes to the process's standard error itself, so Python cannot ask it to be silent, and setting its log
level prints a line as well. Standard error goes through a pipe while a job runs, and a thread passes its lines on.
"""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ulmfit_ray.reporting.logs import is_json, json_line

KNOWN = (
    # Ray Data itself passes the arguments in this way, to every actor that may be restarted.
    rb"core_worker\.cc:\d+: Actor with class name: .* has constructor arguments in the object store",
    # What a job that is interrupted ends on purpose.
    rb"\(raylet\).* (killed|was killed) by (ray\.kill|.*`ray\.kill`)",
    rb"\(raylet\).*The actor is dead because it was killed by `ray\.kill`",
)
NOISE = re.compile(b"|".join(KNOWN))


@contextmanager
def without_noise() -> Iterator[None]:
    """Drop known lines of Ray from standard error while the block runs."""
    sys.stderr.flush()
    terminal = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    thread = threading.Thread(target=_pass_on, args=(reader, terminal), daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        # The pipe ends when its last writer is closed; Ray's own processes may hold it open for a moment.
        os.dup2(terminal, 2)
        thread.join(timeout=1)


def _pass_on(reader: int, terminal: int) -> None:
    with open(reader, "rb", closefd=True) as lines:
        for line in lines:
            if NOISE.search(line):
                continue
            if is_json() and not line.startswith(b"{"):
                text = line.decode(errors="backslashreplace").strip()
                os.write(terminal, json_line(text, "WARNING").encode() if text else b"")
            else:
                os.write(terminal, line)
