"""Token dataset -> data set of Parquet shards, by an actor pool on Ray Data: the road of `embed` and `classify`.

One token shard, one shard. A verb says what rows it makes of the documents, and what its config and manifest tell.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from ray.data import ActorPoolStrategy

from ulmfit_ray.config import to_dict
from ulmfit_ray.lifecycle import Outcome, claim_output, output_lease, print_dry_run
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.encode.config import OverTokensRun
from ulmfit_ray.pipelines.runtime import cluster_gpus, is_on_cluster, ray_session, require_resources
from ulmfit_ray.pipelines.shards import PhaseResult, map_shards_in_actors, run_phase
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.plan import Plan, PlannedUnit, read_plan, write_plan
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

PLAN_SCHEMA = pa.schema(
    [("shard", pa.string()), ("num_documents", pa.int64()), ("num_tokens", pa.int64()), ("sha256", pa.string())]
)
MakeRows = Callable[[pa.Table, np.ndarray, Sequence[np.ndarray]], pa.Table]
"""(token shard, its documents' lengths (N,), their ids in the order of the text) -> the shard that is made of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverTokensVerb:
    """What one verb adds to the common road."""

    name: str
    inputs: Mapping[str, str]
    """Fingerprints of the weights, by name."""
    load: Callable[[], MakeRows]
    """Loads the models, in each actor once."""
    facts: Mapping[str, Any]
    """What config.json says beside the config."""
    pooling: str | None = None
    """What the manifest says of it."""
    figures: Callable[[Folder], Mapping[str, object]] = lambda folder: {}
    """Own rows of the closing summary."""


def run_over_tokens(config: OverTokensRun, verb: OverTokensVerb, tokens: TokenDataset) -> Manifest | None:
    """Make the shards, or what is missing of them, and return the manifest (None after --dry-run)."""
    with output_lease(verb.name, config):
        return _run(config, verb, tokens)


def _run(config: OverTokensRun, verb: OverTokensVerb, tokens: TokenDataset) -> Manifest | None:
    inputs = {"tokens": tokens.fingerprint, **verb.inputs}
    folder, manifest = claim_output(verb.name, config, inputs=inputs, facts=verb.facts)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest, verb))
        return manifest
    counts = tokens.manifest.counts
    if config.dry_run:
        print_dry_run(config, f"{counts.num_shards:,} shards, {counts.num_tokens:,} tokens")
        return None
    plan = _plan(config, folder, tokens)
    with ray_session(config.ray):
        made = _make_shards(config, verb, folder, plan)
    if sum(receipt.num_documents for receipt in made.receipts) != counts.num_documents:
        raise RuntimeError(f"{folder.uri} does not have the documents of {config.input}; start afresh with --overwrite")
    manifest = Manifest(
        job=verb.name,
        vocab=tokens.manifest.vocab,
        tokenizer=tokens.manifest.tokenizer,
        plan=plan.fingerprint,
        model="+".join(verb.inputs.values()),
        pooling=verb.pooling,
        files={},
        figures={"tokens_per_second": round(made.tokens_per_second, 1)},
    )
    manifest = write_dataset_manifest(folder, made.receipts, "parquet", manifest)
    folder.delete("started")
    for name in ("", "shards", "done"):
        folder.sweep(name)
    print_summary(verb.name, _summary(folder, manifest, verb, {"shards found done": made.num_found}))
    shards = f"{folder.uri}/shards"
    print(f'open it: pandas.read_parquet("{shards}") or polars.read_parquet("{shards}/*.parquet")')
    return manifest


def _plan(config: OverTokensRun, folder: Folder, tokens: TokenDataset) -> Plan:
    """Return the existing plan, or write one. claim_output has already checked that the inputs have not changed."""
    plan = read_plan(folder)
    if plan is not None:
        return plan
    rows = [{name: getattr(shard, name) for name in PLAN_SCHEMA.names} for shard in tokens.shards]
    identity = to_dict(config, identity_only=True) | read_job(folder).inputs
    return write_plan(folder, pa.Table.from_pylist(rows, schema=PLAN_SCHEMA), identity=identity)


def _make_shards(config: OverTokensRun, verb: OverTokensVerb, folder: Folder, plan: Plan) -> PhaseResult:
    """Run the missing shards through the actor pool."""
    phase = Phase(job=verb.name, stage=verb.name, output=folder.uri, plan=plan.fingerprint)

    def dataflow(pending: Sequence[PlannedUnit], receipts: dict[str, Receipt]) -> Iterator[Outcome]:
        gpus = _gpus_per_actor(config)
        return map_shards_in_actors(
            phase,
            pending,
            partial(ShardMaker, verb.load, config, folder.uri, plan.fingerprint),
            pool=_pool(config, gpus, len(pending)),
            num_cpus=config.actors.num_cpus,
            num_gpus=gpus,
        )

    return run_phase(phase, plan.units, dataflow, lambda unit: f"{config.input}/shards/{unit.stem}.arrow")


def _gpus_per_actor(config: OverTokensRun) -> float:
    """Return the GPUs of each actor: as asked for, else 1 if there is any now."""
    if config.actors.num_gpus is not None:
        return config.actors.num_gpus
    if cluster_gpus() == 0 and is_on_cluster(config.ray):
        print("no GPU is up: encoding on CPUs (--actors.num-gpus 1 waits for GPUs)", flush=True)
    return float(cluster_gpus() > 0)


def _pool(config: OverTokensRun, gpus: float, num_pending: int) -> ActorPoolStrategy:
    """Return how many actors there are at least and at most, once the cluster has room for the first ones.

    What the cluster has now is no limit: nodes may come later, and Ray starts as many actors as fit.
    """
    actors = config.actors
    require_resources(
        config.ray, num_cpus=actors.num_cpus * actors.min, num_gpus=gpus * actors.min, what="the encoder pool"
    )
    return ActorPoolStrategy(min_size=actors.min, max_size=max(actors.min, min(actors.max or num_pending, num_pending)))


class ShardMaker:
    """The work of an actor: models that are loaded once, then shard after shard made and committed."""

    def __init__(self, load: Callable[[], MakeRows], config: OverTokensRun, output: str, plan: str) -> None:
        torch.set_num_threads(config.actors.num_cpus)
        self._plan = plan
        self._folder, self._tokens = Folder(output), TokenDataset(config.input)
        self._make_rows = load()

    def __call__(self, shard: str) -> Receipt:
        """Make and commit the shard of one token shard."""
        began = time.monotonic()
        table = self._tokens.read(shard)
        values, offsets = flat_tokens(table["tokens"])
        documents = [values[start:stop] for start, stop in pairwise(offsets)]
        rows = self._make_rows(table, np.diff(offsets), documents)
        receipt = Receipt(plan=self._plan, shard=shard, num_documents=table.num_rows, num_tokens=len(values))
        return commit_shard(
            self._folder, receipt, {f"shards/{shard}.parquet": partial(write_parquet, rows)}, began=began
        )


def _summary(
    folder: Folder, manifest: Manifest, verb: OverTokensVerb, found: Mapping[str, object] | None = None
) -> dict[str, object]:
    counts = manifest.counts
    return {
        "documents": counts.num_documents,
        "tokens": counts.num_tokens,
        "shards": counts.num_shards,
        **(found or {}),
        **verb.figures(folder),
        "tokens per second": manifest.figures["tokens_per_second"],
        "output": folder.uri,
    }
