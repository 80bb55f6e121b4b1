"""The command line in a test: the fixture `command` of conftest.py runs it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]
"""Runs the command with the arguments it is given, in a folder of the test's own."""
