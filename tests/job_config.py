"""A config with a field of every sort, for the tests of config.py."""

from dataclasses import dataclass, field
from typing import Literal

from ulmfit_ray.config import ConfigError, OutputRun, operational, parse_config


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    """Options of a part."""

    rate: float = 0.5
    """A rate."""
    deep: bool = True
    """A switch that is on."""
    limit: int | None = None
    """A limit."""
    threads: int = operational(1)
    """How many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How it is run."""

    workers: int = operational(1)
    """How many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job(OutputRun):
    """A job."""

    input: tuple[str, ...]
    """Where from."""
    output: str = operational()
    """Where to."""
    max_size: int = 10
    """How much."""
    mode: Literal["fast", "slow"] = "fast"
    """How."""
    marks: bool = False
    """Whether."""
    columns: tuple[str, ...] = ("text",)
    """Which."""
    name: str | None = None
    """What it is called."""
    inner: Inner = field(default_factory=Inner)
    scale: Scale = operational(default_factory=Scale)

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise ConfigError("--max-size must be at least 1")


def parsed(*arguments: str) -> Job:
    return parse_config(Job, arguments, "job")
