"""What `embed` and `classify` say of themselves, and what they read: the two sides of the road in job.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.shards import PhaseResult
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.plan import Plan, PlannedUnit, PlannedUnits
from ulmfit_ray.storage.receipts import Receipts

MakeRows = Callable[[pa.Table, np.ndarray, Sequence[Sequence[np.ndarray]]], pa.Table]
"""(columns of a token shard, its documents' lengths (N,), their ids in the order of the text) -> the shard made of it.

The ids are those of each model; or one list of documents for all models, if they have a common vocabulary."""


WORK_RECEIPTS = "work/done"


def shard_file(where: str, shard: str) -> str:
    """Return the name of a shard whose receipt is in the folder `where`."""
    return f"{where.removesuffix('done')}{'' if where != 'done' else 'shards/'}{shard}.parquet"


class UnchangedModels:
    """Makes rows with models that are still those which the driver saw when an actor has loaded them."""

    def __init__(self, load: Callable[[], MakeRows], fingerprints: Mapping[str, str]) -> None:
        """Load the models; `fingerprints` are those that the driver saw, by directory."""
        self._make_rows = load()
        # An error here would end the actor, and Ray would start another for ever.
        self._changed = [uri for uri, seen in fingerprints.items() if ModelDirectory(uri).fingerprint != seen]

    def __call__(self, tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[Sequence[np.ndarray]]) -> pa.Table:
        """Make the rows of a shard.

        Raises:
            RuntimeError: a model has been made again since the job began.
        """
        if self._changed:
            raise RuntimeError(
                f"model {self._changed[0]} has changed since this job began: its shards would be of two models;"
                " --overwrite starts afresh with the new one"
            )
        return self._make_rows(tokens, num_tokens, documents)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingVerb:
    """What one verb adds to the common road."""

    name: str
    models: Sequence[ModelDirectory]
    inputs: Mapping[str, str]
    """Fingerprints of the models, by name."""
    load: Callable[[], MakeRows]
    """Loads the models, in each actor once."""
    facts: Mapping[str, Any]
    """What config.json says beside the config."""
    pooling: str | None = None
    """What the manifest says of it."""
    files: Sequence[str] = ()
    """What the output has beside its shards."""
    second: Callable[[Plan, PhaseResult], tuple[PhaseResult, Mapping[str, Any]]] | None = None
    """What makes the final shards of those that the models made, which lie in work/ then (None: they are final); it
    returns what the manifest says of it, too."""
    measured: Callable[[Folder, Receipts], Mapping[str, Any]] = lambda folder, receipts: {}
    """Own figures of the manifest when the last shard is made."""
    rows: Callable[[Folder, Manifest], Mapping[str, object]] = lambda folder, manifest: {}
    """Own rows of the summary."""

    @property
    def where(self) -> str:
        """Return the folder of the receipts of what the models make."""
        return "done" if self.second is None else WORK_RECEIPTS

    def load_unchanged(self) -> MakeRows:
        """Load the models in an actor; see UnchangedModels."""
        return UnchangedModels(self.load, {model.folder.uri: model.fingerprint for model in self.models})


class Source(Protocol):
    """Where the documents come from: a token dataset, or raw text."""

    inputs: Mapping[str, str]
    """Fingerprints of what is read, by name."""
    vocab: str
    """Fingerprint of the (first) model's vocabulary, and below of its tokenizer."""
    tokenizer: str

    def work(self, folder: Folder) -> str:
        """Return how much there is to do, for --dry-run."""

    def claimed_plan(self, folder: Folder, inputs: Mapping[str, str]) -> Plan:
        """Return the plan that is there, or write one; `inputs` are the fingerprints of all that is read."""

    def place_of(self, plan: Plan, unit: PlannedUnit) -> str:
        """Return the file that a unit is made from."""

    def outcomes(
        self, phase: Phase, verb: EncodingVerb, plan: Plan, pending: PlannedUnits, receipts: Receipts
    ) -> Iterator[Outcome]:
        """Make the missing shards on Ray, and yield what became of each, as they come."""

    def check(self, receipts: Receipts) -> None:
        """Raise RuntimeError unless all documents are there."""

    def figures(self, receipts: Receipts) -> dict[str, Any]:
        """Return what the manifest says of the text that was read."""
