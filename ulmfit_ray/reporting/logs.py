"""Logging: one line a record, which says job, stage and shard where the code works on one.

Modules only ask for `logging.getLogger(__name__)`. `configure_logging` is called once per process: by the command on
the driver, and by the functions that Ray calls on a worker. (Ray's hook for new workers would do it too, but costs a
second at each worker's start and does not reach the workers of a session that somebody else began.)
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FORMAT = "%(asctime)s %(levelname)s %(name)s%(context)s: %(message)s"
_context: ContextVar[dict[str, str]] = ContextVar("log_context", default={})  # noqa: B039


def configure_logging(level: int = logging.INFO) -> None:
    """Send the package's records to standard error; a second call changes nothing but the level."""
    logger = logging.getLogger("ulmfit_ray")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT))
        handler.addFilter(_add_context)
        logger.addHandler(handler)


def _add_context(record: logging.LogRecord) -> bool:
    known = _context.get()
    record.context = " [" + " ".join(f"{name}={value}" for name, value in known.items()) + "]" if known else ""
    return True


@contextmanager
def log_context(**known: str) -> Iterator[None]:
    """Put `job=`, `stage=`, `shard=` into every record written inside the block."""
    token = _context.set(_context.get() | known)
    try:
        yield
    finally:
        _context.reset(token)
