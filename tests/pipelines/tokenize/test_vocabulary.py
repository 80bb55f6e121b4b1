"""Types added up by the driver, and in groups and partitions; with Ray between those, test_faults.py has them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.pipelines.tokenize import type_partitions, vocabulary
from ulmfit_ray.pipelines.tokenize.type_partitions import TYPES_SCHEMA, partitions_of
from ulmfit_ray.pipelines.tokenize.vocabulary import count_types
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt

SHARDS = [{"the": 5, "cat": 2, "sat": 3}, {"the": 4, "mat": 3}, {}, {"cat": 2, "rare": 1}]


@pytest.fixture
def counted(folder: Folder) -> list[Receipt]:
    """The receipts of shards whose types lie in `folder`; each type is in one document."""
    Path(folder.path("work")).mkdir(parents=True)
    receipts = []
    for number, counts in enumerate(SHARDS):
        table = pa.table([list(counts), list(counts.values()), [1] * len(counts)], schema=TYPES_SCHEMA)
        pq.write_table(table, folder.path(f"work/part-{number}.types.parquet"))
        receipts.append(Receipt(plan="p", shard=f"part-{number}", num_documents=1, num_tokens=sum(counts.values())))
    return receipts


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each task of the partitions in this process."""
    monkeypatch.setattr(type_partitions, "_rows", lambda blocks, work: map(work, blocks))


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(
    ("limit", "value"),
    [("BYTES_AT_ONCE", 8 << 20), ("BYTES_AT_ONCE", 1), ("MAX_BYTES_HERE", 0)],
)
@pytest.mark.parametrize("task_bytes", [1, 1 << 20])
def test_the_types_of_all_shards_are_added_up(
    folder: Folder, counted: list[Receipt], monkeypatch: pytest.MonkeyPatch, limit: str, value: int, task_bytes: int
) -> None:
    monkeypatch.setattr(vocabulary, limit, value)
    monkeypatch.setattr(type_partitions, "MIN_TASK_BYTES", task_bytes)
    monkeypatch.setattr(type_partitions, "MIN_PIECE_BYTES", 0)
    found_types = count_types(folder, counted, max_vocab=100, min_freq=2)
    vocab, expected = found_types.vocab, sum(map(Counter, SHARDS), Counter())
    found = dict(zip(vocab.itos, vocab.counts.tolist(), strict=True))
    assert {token: found[token] for token in vocab.itos[9:]} == {t: n for t, n in expected.items() if n >= 2}
    assert vocab.itos[9:] == ["the", "cat", "mat", "sat"]
    assert dict(zip(vocab.itos, vocab.documents.tolist(), strict=True))["the"] == 2
    assert found_types.num_types == len(expected)
    # The rare ones too, as long as there are not twenty others.
    assert found_types.most_frequent_tokens == {"the": 9, "cat": 4, "mat": 3, "sat": 3, "rare": 1}
    assert list(found_types.most_frequent_tokens) == ["the", "cat", "mat", "sat", "rare"]


@pytest.mark.parametrize("max_vocab", [12, 1000])
def test_the_most_frequent_of_many_types_are_named_however_small_the_vocabulary(folder: Folder, max_vocab: int) -> None:
    Path(folder.path("work")).mkdir(parents=True)
    counts = {"xxbos": 7} | {f"w{number:03}": 1 + number // 3 for number in range(100)}
    table = pa.table([list(counts), list(counts.values()), [1] * len(counts)], schema=TYPES_SCHEMA)
    pq.write_table(table, folder.path("work/part-0.types.parquet"))
    receipt = Receipt(plan="p", shard="part-0", num_documents=1, num_tokens=sum(counts.values()))
    found = count_types(folder, [receipt], max_vocab=max_vocab, min_freq=1)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
    assert list(found.most_frequent_tokens.items()) == expected
    assert (found.num_types, len(found.vocab)) == (101, min(max_vocab, 109))


def test_each_type_is_in_one_partition_wherever_it_is_counted() -> None:
    tokens = pa.chunked_array([[f"word{number}" for number in range(5000)], ["", "\u00e9t\u00e9", "a b"]])
    partitions = partitions_of(tokens, 7)
    assert partitions_of(tokens.slice(4990), 7).tolist() == partitions[4990:].tolist()
    assert np.bincount(partitions).min() > 5000 / 7 * 0.8
    # Written down: a worker of another machine must find the same.
    assert partitions_of(pa.chunked_array([["the", "xxbos", ""]]), 1000).tolist() == [78, 80, 0]


def test_groups_have_a_task_of_bytes_and_pieces_do_not_become_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_partitions, "MIN_TASK_BYTES", 100)
    shards = [f"part-{number}" for number in range(10)]
    sizes = dict.fromkeys(shards, 60)
    monkeypatch.setattr(type_partitions, "MIN_PIECE_BYTES", 1)
    assert [len(group) for group in type_partitions._groups(shards, sizes)] == [2] * 5
    monkeypatch.setattr(type_partitions, "MIN_PIECE_BYTES", 150)
    # A task of 300 bytes: two groups and two partitions, each pair of them 150 bytes.
    assert [len(group) for group in type_partitions._groups(shards, sizes)] == [5, 5]
    assert list(type_partitions._groups(shards, {})) == [shards]


@pytest.mark.parametrize("times", [1, 99])
def test_a_shard_that_cannot_be_read_is_tried_again_and_then_named(
    folder: Folder, counted: list[Receipt], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    read, left = pq.read_table, [times]

    def failing(source: Any) -> pa.Table:
        if left[0]:
            left[0] -= 1
            raise OSError("injected fault")
        return read(source)

    monkeypatch.setattr(pq, "read_table", failing)
    monkeypatch.setattr("ulmfit_ray.pipelines.attempts.time.sleep", lambda seconds: None)
    if times == 1:
        assert count_types(folder, counted, max_vocab=100, min_freq=1).vocab.num_tokens == 20
    else:
        with pytest.raises(RuntimeError, match=r"work/part-0\.types\.parquet cannot be read: OSError: injected fault"):
            count_types(folder, counted, max_vocab=100, min_freq=1)


def test_counts_that_do_not_add_up_fail(folder: Folder, counted: list[Receipt]) -> None:
    counted[0] = replace(counted[0], num_tokens=counted[0].num_tokens + 1)
    with pytest.raises(RuntimeError, match="have 20 occurrences, the shards 21 tokens: something was lost"):
        count_types(folder, counted, max_vocab=100, min_freq=1)
