"""Embedding dataset -> the nearest other documents of every document, exactly: all vectors with all, on Ray Data.

The vectors of one shard are compared with those of all by one actor, which has them all in a memory-mapped local file:
N vectors of D numbers are 4 N D bytes on the disk of each actor's node, and the work is 2 N^2 D operations.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray.data import ActorPoolStrategy

from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import Outcome, claim_output, output_lease, print_dry_run, refuse_output_inside
from ulmfit_ray.pipelines.attempts import Phase
from ulmfit_ray.pipelines.neighbours.actors import Neighbours
from ulmfit_ray.pipelines.neighbours.config import NeighboursConfig
from ulmfit_ray.pipelines.neighbours.groups import near_duplicates
from ulmfit_ray.pipelines.planning import plan_over_shards
from ulmfit_ray.pipelines.runtime import ray_session, require_resources
from ulmfit_ray.pipelines.shards import PhaseResult, map_shards_in_actors, run_phase
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.plan import Plan, PlannedUnits
from ulmfit_ray.storage.receipts import Receipts
from ulmfit_ray.storage.scratch import scratch_directory

GROUPS_FILE = "groups.parquet"


def run(config: NeighboursConfig) -> Manifest | None:
    """Find the neighbours, or those that are missing, and return the manifest (None after --dry-run)."""
    refuse_output_inside(config.output, [config.embeddings])
    embeddings = EmbeddingDataset(config.embeddings)
    if embeddings.manifest.counts.num_documents < 2:
        raise ConfigError(f"{config.embeddings} has fewer than two documents: there are no neighbours")
    with output_lease("neighbours", config):
        return _run(config, embeddings)


def _run(config: NeighboursConfig, embeddings: EmbeddingDataset) -> Manifest | None:
    inputs = {"embeddings": embeddings.fingerprint}
    folder, manifest = claim_output("neighbours", config, inputs=inputs)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    counts = embeddings.manifest.counts
    if config.dry_run:
        print_dry_run(config, f"{counts.num_shards:,} shards, {counts.num_documents:,} documents, each with all others")
        return None
    plan = plan_over_shards(config, folder, embeddings.shards, inputs)
    with ray_session(config.ray):
        made = _make_shards(config, embeddings, folder, plan)
    if made.receipts.total("num_documents") != counts.num_documents:
        raise RuntimeError(
            f"{config.output} does not have the documents of {config.embeddings}; --overwrite starts afresh"
        )
    manifest = _publish(config, embeddings, folder, plan, made)
    print_summary("neighbours", _summary(folder, manifest) | {"shards found done": made.num_found})
    return manifest


def _make_shards(config: NeighboursConfig, embeddings: EmbeddingDataset, folder: Folder, plan: Plan) -> PhaseResult:
    """Make every shard that has no receipt."""
    phase = Phase(job="neighbours", stage="neighbours", output=folder.uri, plan=plan.fingerprint)
    actors = config.actors

    def dataflow(pending: PlannedUnits, receipts: Receipts) -> Iterator[Outcome]:
        require_resources(config.ray, num_cpus=actors.min * actors.num_cpus, num_gpus=0, what="the pool")
        largest = max(actors.min, min(actors.max or len(pending), len(pending)))
        yield from map_shards_in_actors(
            phase,
            pending,
            partial(Neighbours, config, embeddings.fingerprint, plan.fingerprint),
            pool=ActorPoolStrategy(min_size=actors.min, max_size=largest),
            num_cpus=actors.num_cpus,
            num_gpus=0,
        )

    return run_phase(phase, plan.units, dataflow, lambda unit: f"{embeddings.folder.uri}/shards/{unit.stem}.parquet")


def _publish(
    config: NeighboursConfig, embeddings: EmbeddingDataset, folder: Folder, plan: Plan, made: PhaseResult
) -> Manifest:
    """Write the groups, and the manifest last."""
    files = [f"shards/{shard}.parquet" for shard in made.receipts.names()]
    groups = near_duplicates(folder, files, config.threshold)
    with scratch_directory() as scratch:
        pq.write_table(groups, scratch / GROUPS_FILE)
        folder.publish(scratch / GROUPS_FILE, GROUPS_FILE)
    manifest = Manifest(
        job="neighbours",
        vocab=embeddings.manifest.vocab,
        tokenizer=embeddings.manifest.tokenizer,
        plan=plan.fingerprint,
        model=embeddings.manifest.model,
        pooling=embeddings.manifest.pooling,
        files={GROUPS_FILE: folder.sha256(GROUPS_FILE)},
        figures=_figures(groups, config),
    )
    manifest = write_dataset_manifest(folder, made.receipts, "parquet", manifest)
    folder.delete("started")
    for name in ("", "shards", "done"):
        folder.sweep(name)
    return manifest


def _figures(groups: pa.Table, config: NeighboursConfig) -> dict[str, Any]:
    sizes = groups.group_by("group").aggregate([("row", "count")])["row_count"].to_pylist()
    return {
        "k": config.k,
        "threshold": config.threshold,
        "num_groups": len(sizes),
        "num_documents_in_groups": sum(sizes),
        "largest_group": max(sizes, default=0),
    }


def _summary(folder: Folder, manifest: Manifest) -> dict[str, object]:
    figures = manifest.figures
    return {
        "documents": manifest.counts.num_documents,
        "neighbours of each": figures["k"],
        f"groups of near-duplicates (cosine at least {figures['threshold']:g})": figures["num_groups"],
        "documents in them": figures["num_documents_in_groups"],
        "documents of the largest": figures["largest_group"],
        "output": folder.uri,
    }
