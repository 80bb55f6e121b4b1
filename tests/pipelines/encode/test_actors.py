"""An actor of two calls, without Ray: one shard is written while another is encoded, and the models have one at a time.

That such actors run under Ray is seen in tests/cluster/test_autoscaling.py, whose nodes say that they have GPUs.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.pipelines.encode import actors
from ulmfit_ray.pipelines.encode.actors import ShardMaker
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.storage.receipts import Receipt

LIMIT_SECONDS = 30
TOKENS = pa.table({"doc_id": ["a"], "tokens": pa.array([[2, 7, 9]], pa.list_(pa.uint16()))})


class Models:
    """Stands for the models: remembers who asked, waits where it is told to, and notices two calls at once."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.begun = [threading.Event(), threading.Event()]
        self._is_free = threading.Lock()

    def load(self) -> "Models":
        self.threads.append(threading.get_ident())
        return self

    def __call__(self, tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[Sequence[np.ndarray]]) -> pa.Table:
        assert self._is_free.acquire(blocking=False), "two shards are in the models at once"
        self.threads.append(threading.get_ident())
        self.begun[len(self.threads) - 2].set()
        self._is_free.release()
        return pa.table({"doc_id": tokens["doc_id"], "num_tokens": num_tokens})


def test_a_shard_is_written_while_the_next_is_encoded_and_one_thread_has_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Models()

    def write(rows: pa.Table, path: Path) -> None:
        # The first shard's file is finished only when the second is in the models.
        assert models.begun[1].wait(LIMIT_SECONDS), "nothing is encoded while a shard is written"
        path.write_bytes(b"rows")

    monkeypatch.setattr(actors, "write_parquet", write)
    maker = ShardMaker(models.load, EmbedConfig(model=("lm",), input=("tokens",), output=str(tmp_path)), "done")
    receipts = [Receipt(plan="p", shard=f"part-000000{n}", num_documents=1, num_tokens=3) for n in range(2)]
    with ThreadPoolExecutor(2) as calls:
        first = calls.submit(maker.commit, receipts[0], [TOKENS], began=time.monotonic())
        assert models.begun[0].wait(LIMIT_SECONDS)
        second = calls.submit(maker.commit, receipts[1], [TOKENS], began=time.monotonic())
        done = [first.result(), second.result()]
    assert len(set(models.threads)) == 1
    assert models.threads[0] != threading.get_ident()
    assert [receipt.shard for receipt in done] == sorted(path.stem for path in (tmp_path / "done").iterdir())


def test_a_call_returns_only_after_its_receipt(tmp_path: Path) -> None:
    config = EmbedConfig(model=("lm",), input=("tokens",), output=str(tmp_path))
    maker = ShardMaker(Models().load, config, "done")
    receipt = Receipt(plan="p", shard="part-0000000", num_documents=1, num_tokens=3)
    done = maker.commit(receipt, [TOKENS], began=time.monotonic())
    assert (tmp_path / "done/part-0000000.json").exists()
    assert set(done.files) == {"shards/part-0000000.parquet"}
