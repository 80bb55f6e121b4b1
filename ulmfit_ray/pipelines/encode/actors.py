"""The pool of actors that hold the models, and what each of them does."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from ray.data import ActorPoolStrategy

from ulmfit_ray.encoding.encoder import distinct
from ulmfit_ray.pipelines.encode.config import EncodingRun
from ulmfit_ray.pipelines.encode.verb import MakeRows, shard_file
from ulmfit_ray.pipelines.metrics import DeviceClock, device_busy
from ulmfit_ray.pipelines.runtime import cluster_gpus, is_on_cluster, require_resources
from ulmfit_ray.pipelines.shard_text import quarantine_files
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import flat_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """How many actors there are, and what each of them has."""

    strategy: ActorPoolStrategy
    num_cpus: int
    num_gpus: float


def actor_pool(config: EncodingRun, num_shards: int, *, tokenizer_cpus: int = 0) -> Pool:
    """Return the pool, once the cluster has room for its first actors, and for a tokenizer of so many CPUs.

    What the cluster has now is no limit: nodes may come later, and Ray starts as many actors as fit.
    """
    actors, gpus = config.actors, _gpus_per_actor(config)
    num_cpus, what = first_cpus(config) + tokenizer_cpus, "the encoder pool"
    if tokenizer_cpus:
        what += " and a tokenizer"
    require_resources(config.ray, num_cpus=num_cpus, num_gpus=gpus * actors.min, what=what)
    largest = max(actors.min, min(actors.max or num_shards, num_shards))
    strategy = ActorPoolStrategy(
        min_size=actors.min,
        max_size=largest,
        # On a GPU one shard is read and written while another is encoded: see ShardMaker. On CPUs reading and writing
        # would take the cores from the encoder's threads, which wait for each other at every step.
        max_concurrent_calls_per_actor=2 if gpus else 1,
        enable_true_multi_threading=gpus > 0,
    )
    return Pool(strategy=strategy, num_cpus=actors.num_cpus, num_gpus=gpus)


def first_cpus(config: EncodingRun) -> int:
    """Return the CPUs of the actors that there are at the start."""
    return config.actors.min * config.actors.num_cpus


def _gpus_per_actor(config: EncodingRun) -> float:
    """Return the GPUs of each actor: as asked for, else 1 if there is any now."""
    if config.actors.num_gpus is not None:
        return config.actors.num_gpus
    if cluster_gpus() == 0 and is_on_cluster(config.ray):
        print("no GPU is up: encoding on CPUs (--actors.num-gpus 1 waits for GPUs)", flush=True)
    return float(cluster_gpus() > 0)


class ShardMaker:
    """Models that are loaded once, in an actor, and then shard after shard made of documents and committed.

    Two shards may be under way at once, but the models, and the device, have one at a time: one thread does all that
    torch does. GNU's OpenMP counts the threads that work for each thread that has ever asked; if they are more than the
    cores, all fall asleep at every wait, and the encoder is half as fast (benchmarks/encode_job.py).
    """

    def __init__(self, load: Callable[[], MakeRows], config: EncodingRun, where: str) -> None:
        """Load the models; receipts go to the folder `where`, and shards into the one that goes with it."""
        self._device = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(config.actors.num_cpus,))
        self._make_rows = self._device.submit(load).result()
        self._clock = DeviceClock()
        self._folder, self._where = Folder(config.output), where

    def commit(
        self,
        receipt: Receipt,
        tables: Sequence[pa.Table],
        of_models: Sequence[int] = (0,),
        quarantine: bytes | None = None,
        *,
        began: float,
    ) -> Receipt:
        """Make and commit the shard of a receipt; `began` is when the work on it began, by time.monotonic.

        The tables have the documents' `tokens` in one or several vocabularies, the first also all other columns of a
        token shard; `of_models` has the number of each model's table. `quarantine` is None where no
        document can be bad.
        """
        documents = [_documents(table["tokens"]) for table in tables]
        num_tokens = np.fromiter(map(len, documents[0]), np.int64, len(documents[0]))
        of_each_model = [documents[number] for number in of_models]
        make_rows = partial(self._make_rows, tables[0], num_tokens, of_each_model)
        rows, busy_share = self._device.submit(self._clock.timed, make_rows).result()
        device_busy(busy_share)
        receipt = replace(receipt, num_repeated=len(documents[0]) - len(distinct(documents[0])[0]))
        if "num_unknown" in rows.schema.names:
            receipt = replace(receipt, num_unknown=pc.sum(rows["num_unknown"]).as_py() or 0)
        files = {} if quarantine is None else quarantine_files(self._folder, receipt.shard, quarantine)
        files[shard_file(self._where, receipt.shard)] = partial(write_parquet, rows)
        return commit_shard(self._folder, receipt, files, began=began, where=self._where)


def _documents(tokens: pa.ChunkedArray) -> list[np.ndarray]:
    """Return the ids of each document, not copied."""
    values, offsets = flat_tokens(tokens)
    return [values[start:stop] for start, stop in pairwise(offsets)]
