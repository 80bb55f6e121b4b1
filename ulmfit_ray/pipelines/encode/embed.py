"""Token dataset -> embedding dataset, by an actor pool on Ray Data. One token shard, one embedding shard."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch
from ray.data import ActorPoolStrategy

from ulmfit_ray.config import to_dict
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.lifecycle import Outcome, claim_output, output_lease, print_dry_run
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.runtime import cluster_gpus, is_on_cluster, ray_session, require_resources
from ulmfit_ray.pipelines.shards import PhaseResult, map_shards_in_actors, run_phase
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import embedding_table, write_parquet
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.plan import Plan, PlannedUnit, read_plan, write_plan
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

PLAN_SCHEMA = pa.schema(
    [("shard", pa.string()), ("num_documents", pa.int64()), ("num_tokens", pa.int64()), ("sha256", pa.string())]
)


def run(config: EmbedConfig) -> Manifest | None:
    """Encode the documents, or what is missing of them, and return the manifest (None after --dry-run)."""
    model, tokens = ModelDirectory(config.model), TokenDataset(config.input)
    model.check_tokens(tokens.manifest.vocab, config.input)
    with output_lease("embed", config):
        return _run(config, model, tokens)


def _run(config: EmbedConfig, model: ModelDirectory, tokens: TokenDataset) -> Manifest | None:
    pooling = config.pooling or model.description.pooling
    folder, manifest = claim_output(
        "embed",
        config,
        inputs={"tokens": tokens.fingerprint, "weights": model.fingerprint},
        facts={"blocks": [asdict(block) for block in model.description.vector_blocks(pooling)]},
    )
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    if config.pooling and model.description.blocks:
        own = model.description.pooling
        print(f"--pooling {config.pooling} replaces the {own} of the context block; the words block stays as it is")
    counts = tokens.manifest.counts
    if config.dry_run:
        print_dry_run(config, f"{counts.num_shards:,} shards, {counts.num_tokens:,} tokens")
        return None
    plan = _plan(config, folder, tokens)
    with ray_session(config.ray):
        encoded = _encode(config, folder, plan)
    if sum(receipt.num_documents for receipt in encoded.receipts) != counts.num_documents:
        raise RuntimeError(f"{folder.uri} does not have the documents of {config.input}; start afresh with --overwrite")
    manifest = Manifest(
        job="embed",
        vocab=model.manifest.vocab,
        tokenizer=tokens.manifest.tokenizer,
        plan=plan.fingerprint,
        model=model.fingerprint,
        pooling=pooling,
        files={},
        figures={"tokens_per_second": round(encoded.tokens_per_second, 1)},
    )
    manifest = write_dataset_manifest(folder, encoded.receipts, "parquet", manifest)
    folder.delete("started")
    for name in ("", "shards", "done"):
        folder.sweep(name)
    print_summary("embed", _summary(folder, manifest, {"shards found done": encoded.num_found}))
    shards = f"{folder.uri}/shards"
    print(f'open it: pandas.read_parquet("{shards}") or polars.read_parquet("{shards}/*.parquet")')
    return manifest


def _plan(config: EmbedConfig, folder: Folder, tokens: TokenDataset) -> Plan:
    """Return the existing plan, or write one. claim_output has already checked that the inputs have not changed."""
    plan = read_plan(folder)
    if plan is not None:
        return plan
    rows = [{name: getattr(shard, name) for name in PLAN_SCHEMA.names} for shard in tokens.shards]
    identity = to_dict(config, identity_only=True) | read_job(folder).inputs
    return write_plan(folder, pa.Table.from_pylist(rows, schema=PLAN_SCHEMA), identity=identity)


def _encode(config: EmbedConfig, folder: Folder, plan: Plan) -> PhaseResult:
    """Run the missing shards through the actor pool."""
    phase = Phase(job="embed", stage="embed", output=folder.uri, plan=plan.fingerprint)

    def encoding(pending: Sequence[PlannedUnit], receipts: dict[str, Receipt]) -> Iterator[Outcome]:
        gpus = _gpus_per_actor(config)
        return map_shards_in_actors(
            phase,
            pending,
            partial(ShardEncoder, config, folder.uri, plan.fingerprint),
            pool=_pool(config, gpus, len(pending)),
            num_cpus=config.actors.num_cpus,
            num_gpus=gpus,
        )

    return run_phase(phase, plan.units, encoding, lambda unit: f"{config.input}/shards/{unit.stem}.arrow")


def _gpus_per_actor(config: EmbedConfig) -> float:
    """Return the GPUs of each actor: as asked for, else 1 if there is any now."""
    if config.actors.num_gpus is not None:
        return config.actors.num_gpus
    if cluster_gpus() == 0 and is_on_cluster(config.ray):
        print("no GPU is up: encoding on CPUs (--actors.num-gpus 1 waits for GPUs)", flush=True)
    return float(cluster_gpus() > 0)


def _pool(config: EmbedConfig, gpus: float, num_pending: int) -> ActorPoolStrategy:
    """Return how many actors there are at least and at most, once the cluster has room for the first ones.

    What the cluster has now is no limit: nodes may come later, and Ray starts as many actors as fit.
    """
    actors = config.actors
    require_resources(
        config.ray, num_cpus=actors.num_cpus * actors.min, num_gpus=gpus * actors.min, what="the encoder pool"
    )
    return ActorPoolStrategy(min_size=actors.min, max_size=max(actors.min, min(actors.max or num_pending, num_pending)))


class ShardEncoder:
    """The work of an actor: a model that is loaded once, then shard after shard encoded and committed."""

    def __init__(self, config: EmbedConfig, output: str, plan: str) -> None:
        torch.set_num_threads(config.actors.num_cpus)
        self._config, self._plan = config, plan
        self._folder, self._tokens = Folder(output), TokenDataset(config.input)
        self._documents = DocumentEncoder.load(config.model)
        self._encoder = self._documents.token_encoder(config.pooling)

    def __call__(self, shard: str) -> Receipt:
        """Encode the documents of one token shard and commit their vectors."""
        began = time.monotonic()
        table = self._tokens.read(shard)
        values, offsets = flat_tokens(table["tokens"])
        documents = [self._documents.directed(values[start:stop]) for start, stop in pairwise(offsets)]
        vectors = self._encoder.encode(documents)  # (N, D)
        if self._config.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        rows = embedding_table(table, np.diff(offsets), vectors.astype(self._config.dtype))
        receipt = Receipt(plan=self._plan, shard=shard, num_documents=table.num_rows, num_tokens=len(values))
        return commit_shard(
            self._folder, receipt, {f"shards/{shard}.parquet": partial(write_parquet, rows)}, began=began
        )


def _summary(folder: Folder, manifest: Manifest, found: dict[str, int] | None = None) -> dict[str, object]:
    counts = manifest.counts
    return {
        "documents": counts.num_documents,
        "tokens": counts.num_tokens,
        "shards": counts.num_shards,
        **(found or {}),
        "tokens per second": manifest.figures["tokens_per_second"],
        "output": folder.uri,
    }
