"""Options of `neighbours`. Loads no Ray, so that --help is quick."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.pipelines.options import Actors, RayRun


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighboursConfig(RayRun):
    """Find the nearest other documents of every document, and groups of documents that are nearly the same."""

    embeddings: str
    """Embedding dataset."""
    output: str = operational()
    """Directory or URI of the data set that is made."""
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10
    """Number of neighbours of each document."""
    threshold: float = 0.95
    """Documents whose cosine is at least this are put into one group of near-duplicates."""
    actors: Actors = operational(default_factory=Actors)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError("-k must be at least 1")
        if not 0 < self.threshold <= 1:
            raise ConfigError("--threshold must be over 0 and at most 1")
        if self.actors.num_gpus:
            raise ConfigError("--actors.num-gpus: neighbours are found on CPUs")
