"""Logging: one line a record, which says job, stage and shard where the code works on one; as text, or as JSON.

Modules only ask for `logging.getLogger(__name__)`. `configure_logging` is called once per process: by the command on
the driver, and by the functions that Ray calls on a worker. (Ray's hook for new workers would do it too, but costs a
second at each worker's start and does not reach the workers of a session that somebody else began.) Workers learn from
the environment that JSON is wanted: those of a local session inherit the driver's, a cluster's get it from runtime.py.
"""

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s%(context)s: %(message)s"
VARIABLE = "ULMFIT_RAY_LOG_FORMAT"
"""Environment variable that is "json" where logs are JSON."""
LEVELS = {"error:": "ERROR", "warning:": "WARNING", "Traceback": "ERROR"}
"""How serious a printed line is, by how it begins."""
_context: ContextVar[dict[str, str]] = ContextVar("log_context", default={})  # noqa: B039
_progress = logging.getLogger("ulmfit_ray.progress")


def configure_logging(level: int = logging.INFO) -> None:
    """Send the package's records to standard error; a second call changes nothing but the level and the format."""
    logger = logging.getLogger("ulmfit_ray")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.addFilter(_add_context)
        logger.addHandler(handler)
    logger.handlers[0].setFormatter(_JsonFormatter() if is_json() else logging.Formatter(FORMAT))


def is_json() -> bool:
    """Tell whether logs of this process are JSON lines."""
    return os.environ.get(VARIABLE) == "json"


@contextmanager
def standard_error() -> Iterator[Callable[[str], None]]:
    """Give a function that is told "text" or "json", and makes JSON of all that is printed there in the block."""
    with ExitStack() as stack:

        def use(log_format: str) -> None:
            if log_format == "json":
                stack.enter_context(_json_lines())

        yield use


@contextmanager
def _json_lines() -> Iterator[None]:
    before, terminal = os.environ.get(VARIABLE), sys.stderr
    level = logging.getLogger("ulmfit_ray").level
    os.environ[VARIABLE] = "json"
    # Made before standard error is wrapped: what goes through it is JSON already.
    configure_logging(level)
    sys.stderr = JsonLines(terminal)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = terminal
        if before is None:
            del os.environ[VARIABLE]
        configure_logging(level)


def say_progress(text: str, **facts: float | None) -> None:
    """Print a line about how far a job is; with --log-format json it is a record, with these facts."""
    if is_json():
        _progress.setLevel(logging.INFO)
        _progress.info("%s", text, extra={"facts": facts})
    else:
        print(text, flush=True)


def json_line(message: str, level: str, **more: Any) -> str:
    """Return a record as a line of JSON, with job, stage and unit where they are known."""
    known = {"unit" if name == "shard" else name: value for name, value in _context.get().items()}
    moment = more.pop("moment", None) or datetime.now(UTC)
    record = {"time": moment.isoformat(timespec="milliseconds"), "level": level, "message": message}
    # In ASCII: a text may have half a character, and a line end that only some programs know.
    return json.dumps(record | known | more, default=str) + "\n"


class _JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        more: dict[str, Any] = {"logger": record.name} | getattr(record, "facts", {})
        if record.exc_info:
            more["exception"] = self.formatException(record.exc_info)
        moment = datetime.fromtimestamp(record.created, UTC)
        return json_line(record.getMessage(), record.levelname, moment=moment, **more).rstrip("\n")


class JsonLines(io.TextIOBase):
    """A stream that makes one record of what one call prints, several lines too, and passes it on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # `print` writes the text and the line end by two calls, and other threads print as well.
        self._own = threading.local()

    def write(self, text: str) -> int:
        """Keep the text until its line ends."""
        said = getattr(self._own, "said", "") + text
        if said.endswith("\n"):
            self._say(said)
            said = ""
        self._own.said = said
        return len(text)

    def flush(self) -> None:
        """Pass on what is complete; a line that has not ended is kept."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the number of the file behind the stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Tell that nobody looks at bars here."""
        return False

    def _say(self, said: str) -> None:
        message = said.strip("\n")
        if message:
            self._stream.write(json_line(message, level_of(message)))
            self._stream.flush()


def level_of(message: str) -> str:
    """Return how serious a printed line is."""
    return next((level for begin, level in LEVELS.items() if message.startswith(begin)), "INFO")


def _add_context(record: logging.LogRecord) -> bool:
    known = _context.get()
    record.context = " [" + " ".join(f"{name}={value}" for name, value in known.items()) + "]" if known else ""
    return True


def known_context() -> Mapping[str, str]:
    """Return the job, the stage and the shard that this code works on, as far as they are known."""
    return _context.get()


@contextmanager
def log_context(**known: str) -> Iterator[None]:
    """Put `job=`, `stage=`, `shard=` into every record written inside the block."""
    token = _context.set(_context.get() | known)
    try:
        yield
    finally:
        _context.reset(token)
