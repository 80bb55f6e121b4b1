"""Types that the driver adds up by itself. Those that Ray adds up are in test_faults.py, where their sums agree."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.pipelines.tokenize import vocabulary
from ulmfit_ray.pipelines.tokenize.vocabulary import TYPES_SCHEMA, count_types
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


@pytest.mark.parametrize("max_types", [4, 1_000])
def test_the_types_of_all_shards_are_added_up(
    folder: Folder, counted: list[Receipt], monkeypatch: pytest.MonkeyPatch, max_types: int
) -> None:
    monkeypatch.setattr(vocabulary, "MAX_TYPES_HERE", max_types + 1)
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


def test_more_types_than_the_driver_should_hold_are_left_to_ray(
    folder: Folder, counted: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [receipt.shard for receipt in counted]
    assert vocabulary._types_here(folder, shards) is not None
    monkeypatch.setattr(vocabulary, "MAX_TYPES_HERE", 4)
    assert vocabulary._types_here(folder, shards) is None
    monkeypatch.setattr(vocabulary, "MAX_TYPES_HERE", 5)
    monkeypatch.setattr(vocabulary, "MAX_SHARDS_HERE", 3)
    assert vocabulary._types_here(folder, shards) is None


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
