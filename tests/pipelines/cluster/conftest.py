"""What the tests of submission share."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ulmfit_ray.pipelines.cluster import follow


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is asked again be asked at once."""
    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic))


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let SIGINT be a KeyboardInterrupt, whatever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
