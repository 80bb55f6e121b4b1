"""Token dataset -> embedding dataset, by an actor pool on Ray Data. One token shard, one embedding shard."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy

from ulmfit_ray.config import ConfigError, operational, to_dict
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.encoding.encoder import Encoder
from ulmfit_ray.lifecycle import Tally, attempt, claim_output, print_dry_run
from ulmfit_ray.model.pooling import pooled_width
from ulmfit_ray.pipelines.runtime import (
    RayRun,
    cluster_cpus,
    cluster_gpus,
    ray_session,
    require_resources,
    rows_as_they_come,
)
from ulmfit_ray.reporting.progress import Bar, print_summary
from ulmfit_ray.storage.embedding_dataset import embedding_table, write_parquet
from ulmfit_ray.storage.folder import Folder, scratch_directory, sha256_file
from ulmfit_ray.storage.manifest import write_dataset_manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.plan import Plan, read_plan, write_plan
from ulmfit_ray.storage.receipts import Receipt, read_receipts
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

PLAN_SCHEMA = pa.schema(
    [("shard", pa.string()), ("num_documents", pa.int64()), ("num_tokens", pa.int64()), ("sha256", pa.string())]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Actors:
    """The pool of encoders."""

    min: int = operational(1)
    """Actors to start with."""
    max: int | None = operational(None)
    """Actors at most (default: what fits)."""
    num_cpus: int = operational(1)
    """Cores, and threads, of each actor."""
    num_gpus: float | None = operational(None)
    """GPUs of each actor, fractions allowed (default: 1 if the cluster has any, else 0)."""

    def __post_init__(self) -> None:
        if self.min < 1 or self.num_cpus < 1:
            raise ConfigError("--actors.min and --actors.num-cpus must be at least 1")
        if self.max is not None and self.max < self.min:
            raise ConfigError(f"--actors.max {self.max} is less than --actors.min {self.min}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(RayRun):
    """Encode every document of a token dataset into one vector."""

    model: str
    """Model directory: a language model or a retriever."""
    input: str
    """Token dataset with the model's vocabulary."""
    output: str = operational()
    """Directory or URI of the embedding dataset."""
    pooling: Literal["last", "mean", "idf-mean", "max", "concat"] | None = None
    """How a document's outputs become one vector (default: what the model says)."""
    dtype: Literal["float32", "float16"] = "float32"
    """Type the vectors are stored in."""
    normalize: bool = False
    """Scale every vector to length 1."""
    actors: Actors = operational(default_factory=Actors)


def run(config: EmbedConfig) -> dict[str, Any]:
    """Encode the documents, or what is missing of them, and return the manifest."""
    model, tokens = ModelDirectory(config.model), TokenDataset(config.input)
    model.check_tokens(tokens.vocab_fingerprint, config.input)
    inputs = {"tokens": tokens.fingerprint, "weights": model.fingerprint}
    folder, manifest = claim_output("embed", config, inputs=inputs, facts={"blocks": _blocks(config, model)})
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    if config.dry_run:
        print_dry_run(config, f"{len(tokens.shards):,} shards, {tokens.manifest['num_tokens']:,} tokens")
        return {}
    plan = _plan(config, folder, tokens)
    found = len(read_receipts(folder, plan.fingerprint))
    with ray_session(config.ray):
        rate = _encode(config, folder, plan)
    receipts = read_receipts(folder, plan.fingerprint)
    missing = [shard for shard in plan.shards() if shard not in receipts]
    done = [receipts[shard] for shard in plan.shards() if shard in receipts]
    if missing or sum(receipt.num_documents for receipt in done) != tokens.manifest["num_documents"]:
        raise RuntimeError(f"shards {', '.join(missing[:10])} are missing: run the same command again")
    manifest = write_dataset_manifest(folder, "embed", done, "parquet", _facts(config, model, tokens, rate))
    for name in ("", "shards", "done"):
        folder.sweep(name)
    print_summary("embed", _summary(folder, manifest) | {"shards found done": found})
    return manifest


def _plan(config: EmbedConfig, folder: Folder, tokens: TokenDataset) -> Plan:
    """Return the plan that is there, or write one; claim_output has seen to it that the inputs are the same."""
    plan = read_plan(folder)
    if plan is not None:
        return plan
    rows = [{name: shard[name] for name in PLAN_SCHEMA.names} for shard in tokens.shards]
    identity = to_dict(config, identity_only=True) | folder.read_json("config.json")["job"]["inputs"]
    table = pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)
    return write_plan(folder, table, {"identity": identity, "num_units": len(rows)})


def _encode(config: EmbedConfig, folder: Folder, plan: Plan) -> float:
    """Run the missing shards through the actor pool; return tokens per second from first start to last receipt."""
    receipts = read_receipts(folder, plan.fingerprint)
    pending = [shard for shard in plan.shards() if shard not in receipts]
    spans: list[tuple[float, float, int]] = []
    with Bar("embed", len(plan.table), "shards", done=len(receipts)) as bar:
        tally = Tally(bar)
        for row in _encoding(config, folder, plan, pending):
            tally.add(row)
            spans.append((row["began"], row["ended"], row["num_tokens"]))
        tally.finish(folder)
    if not spans:
        # Nothing was left to do but the manifest: what one actor did, by the receipts.
        seconds = sum(receipt.seconds for receipt in receipts.values())
        return sum(receipt.num_tokens for receipt in receipts.values()) / max(seconds, 1e-9)
    seconds = max(span[1] for span in spans) - min(span[0] for span in spans)
    return sum(span[2] for span in spans) / max(seconds, 1e-9)


def _encoding(config: EmbedConfig, folder: Folder, plan: Plan, pending: list[str]) -> Iterator[dict[str, Any]]:
    """Missing shards -> encoder actors -> rows of receipts, as they come."""
    if not pending:
        return
    gpus = config.actors.num_gpus if config.actors.num_gpus is not None else float(cluster_gpus() > 0)
    cpus = config.actors.num_cpus
    require_resources(
        config.ray, num_cpus=cpus * config.actors.min, num_gpus=gpus * config.actors.min, what="the encoder pool"
    )
    fitting = min(cluster_cpus() // cpus, int(cluster_gpus() / gpus) if gpus else cluster_cpus())
    most = max(config.actors.min, min(config.actors.max or fitting, len(pending)))
    rows = ray.data.from_items([{"shard": shard} for shard in pending], override_num_blocks=len(pending)).map_batches(
        EncodeShards,
        fn_constructor_kwargs={"config": config, "output": folder.uri, "plan": plan.fingerprint},
        batch_size=1,
        num_cpus=cpus,
        num_gpus=gpus or None,
        compute=ActorPoolStrategy(min_size=config.actors.min, max_size=most),
        max_task_retries=3,
    )
    yield from rows_as_they_come(rows)


class EncodeShards:
    """The actor: loads the model once, then encodes shard after shard."""

    def __init__(self, config: EmbedConfig, output: str, plan: str) -> None:
        torch.set_num_threads(config.actors.num_cpus)
        self._config, self._plan = config, plan
        self._folder, self._tokens = Folder(output), TokenDataset(config.input)
        self._documents = DocumentEncoder.load(config.model)
        self._encoder: Encoder = self._documents.encoder(config.pooling)

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        """Encode the shards of one batch; each is committed by itself."""
        rows = []
        for shard in map(str, batch["shard"]):
            began = time.time()
            row = attempt(self._folder, shard, partial(self._encode, shard))
            rows.append(row | {"began": began, "ended": time.time()})
        return pa.Table.from_pylist(rows)

    def _encode(self, shard: str) -> Receipt:
        began = time.monotonic()
        table = self._tokens.read(shard)
        values, offsets = flat_tokens(table["tokens"])
        documents = [self._documents.directed(values[start:stop]) for start, stop in pairwise(offsets)]
        vectors = self._encoder.encode(documents)
        if self._config.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        rows = embedding_table(table, np.diff(offsets), vectors.astype(self._config.dtype))
        name = f"shards/{shard}.parquet"
        with scratch_directory() as scratch:
            write_parquet(rows, scratch / "shard.parquet")
            files = {name: sha256_file(scratch / "shard.parquet")}
            num_bytes = (scratch / "shard.parquet").stat().st_size
            self._folder.publish(scratch / "shard.parquet", name)
        receipt = Receipt(
            plan=self._plan,
            shard=shard,
            num_documents=table.num_rows,
            num_tokens=len(values),
            num_bytes=num_bytes,
            seconds=time.monotonic() - began,
            files=files,
        )
        receipt.commit(self._folder)
        return receipt


def _blocks(config: EmbedConfig, model: ModelDirectory) -> list[dict[str, Any]]:
    """Return the places of the blocks in the vectors; the pooling may have widened the context block."""
    places, start = [], 0
    for block in model.model.get("blocks", []):
        width = block["stop"] - block["start"]
        if block["name"] == "context":
            width = pooled_width(config.pooling or model.model["pooling"], width)
        places.append({"name": block["name"], "start": start, "stop": start + width})
        start += width
    return places


def _facts(config: EmbedConfig, model: ModelDirectory, tokens: TokenDataset, rate: float) -> dict[str, Any]:
    """Return what the manifest says beside the totals."""
    return {
        "vocab": model.vocab_fingerprint,
        "tokenizer": tokens.manifest["tokenizer"],
        "model": model.fingerprint,
        "pooling": config.pooling or model.model["pooling"],
        "tokens_per_second": round(rate, 1),
    }


def _summary(folder: Folder, manifest: dict[str, Any]) -> dict[str, Any]:
    names = ("num_documents", "num_tokens", "num_shards", "tokens_per_second")
    return {name.removeprefix("num_"): manifest[name] for name in names} | {"output": folder.uri}
