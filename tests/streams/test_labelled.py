"""Batches of labelled documents: each once in an epoch, shared out evenly, the same for any number of workers."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.examples import Examples
from ulmfit_ray.streams.labelled import LabelledBatch, LabelledBatches, in_order
from ulmfit_ray.streams.labels import LabelColumn
from ulmfit_ray.streams.selection import everything

MakeExamples = Callable[[Sequence[int]], Examples]
LABELS = ("0", "1", "2")


@pytest.fixture
def make_examples(make_token_dataset: Callable[..., TokenDataset]) -> MakeExamples:
    """Return a function that makes examples of given lengths: xxbos and then number + 10, the label number modulo 3."""

    def make(lengths: Sequence[int]) -> Examples:
        half = len(lengths) // 2
        shards = [range(half), range(half, len(lengths))]
        dataset = make_token_dataset(
            [[(f"{number}", [[number + 10] * (lengths[number] - 1)]) for number in shard] for shard in shards],
            kept=[pa.array([number % 3 for number in shard], pa.int64()) for shard in shards],
        )
        return Examples(dataset, LabelColumn(dataset, "label"), LABELS, everything(dataset))

    return make


def some_lengths(count: int) -> list[int]:
    """Lengths of 2 to 9 tokens, many of them equal."""
    return np.random.default_rng(count).integers(2, 10, count).tolist()


def batches_of(examples: Examples, global_batch_size: int, **options: Any) -> LabelledBatches:
    return LabelledBatches(examples, global_batch_size=global_batch_size, **{"seed": 7} | options)


def described(batch: LabelledBatch) -> tuple[Any, ...]:
    documents = [document.tolist() for document in batch.documents]
    return documents, batch.rows, batch.size, batch.targets.tolist(), batch.numbers.tolist()


def numbers_of(batches: Sequence[LabelledBatch]) -> list[int]:
    """Return the documents that a worker has in its batches, as their tokens tell."""
    return [int(document.max()) - 10 for batch in batches for document in batch.documents]


SIZES = [(2, 64), (3, 2), (5, 5), (6, 5), (64, 64), (65, 64), (100, 64), (129, 64), (300, 4), (331, 3)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize(("count", "size"), SIZES)
def test_every_document_is_one_workers_once_in_an_epoch_in_batches_of_nearly_equal_size(
    make_examples: MakeExamples, count: int, size: int, world_size: int
) -> None:
    batches = batches_of(make_examples(some_lengths(count)), size)
    if count // batches.num_batches < world_size:
        with pytest.raises(ValueError, match=rf"make batches of {count // batches.num_batches}, fewer than num_work"):
            batches.batches(0, 0, rank=0, world_size=world_size)
        return
    workers = [list(batches.batches(1, 0, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sorted(number for worker in workers for number in numbers_of(worker)) == list(range(count))
    sizes = [batch.size for batch in workers[0]]
    assert len(sizes) == batches.num_batches == -(-count // size)
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    for shares in zip(*workers, strict=True):
        counts = [len(share.documents) for share in shares]
        assert sum(counts) == shares[0].size
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("world_size", [1, 3])
def test_workers_know_all_targets_and_their_own_documents(
    make_examples: MakeExamples, world_size: int, backward: bool
) -> None:
    examples = make_examples(some_lengths(40))
    batches = batches_of(examples, 16, backward=backward)
    for rank in range(world_size):
        found = list(batches.batches(2, 0, rank=rank, world_size=world_size))
        assert [batch.numbers.tolist() for batch in found] == [numbers.tolist() for numbers in batches.of_epoch(2)]
        for batch in found:
            assert batch.rows == slice(rank, batch.size, world_size)
            assert batch.targets.tolist() == [number % 3 for number in batch.numbers.tolist()]
            expected = [examples.tokens(number).tolist() for number in batch.numbers[batch.rows].tolist()]
            assert [document.tolist() for document in batch.documents] == [
                tokens[::-1] if backward else tokens for tokens in expected
            ]
            assert all(document.dtype == np.int64 and document.flags.c_contiguous for document in batch.documents)


def test_the_longest_document_comes_first_in_each_batch_and_the_longest_of_all_in_the_first(
    make_examples: MakeExamples,
) -> None:
    examples = make_examples(some_lengths(500))
    batches = batches_of(examples, 4)
    for epoch in range(5):
        lengths = [examples.lengths[numbers].tolist() for numbers in batches.of_epoch(epoch)]
        assert all(row == sorted(row, reverse=True) for row in lengths)
        assert lengths[0][0] == max(examples.lengths)


def test_batches_are_of_like_length_within_groups_and_groups_are_drawn_at_random(make_examples: MakeExamples) -> None:
    """Of 600 documents of other lengths each, 50 batches of 4 are a group: 3 of them."""
    examples = make_examples([2 + number for number in range(600)])
    batches = batches_of(examples, 4).of_epoch(0)
    spans = sorted(int(examples.lengths[numbers].max() - examples.lengths[numbers].min()) for numbers in batches)
    # In a group of 200 a batch spans about 3 times 3 of 600 lengths; drawn from all of them, it would span about 360,
    # and exactly 3 if all were sorted.
    assert 3 < spans[75] < 20
    firsts = [int(examples.lengths[numbers[0]]) for numbers in batches]
    assert sum(one > other for one, other in pairwise(firsts)) in range(50, 100)


def test_batches_are_the_same_for_a_seed_and_epoch_and_others_for_another(make_examples: MakeExamples) -> None:
    examples = make_examples(some_lengths(90))
    drawn = [
        [numbers.tolist() for numbers in batches_of(examples, 8, seed=seed).of_epoch(epoch)]
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len({str(batches) for batches in drawn}) == 4
    assert drawn[3] == [numbers.tolist() for numbers in batches_of(examples, 8, seed=1).of_epoch(1)]


def test_batches_from_any_step_are_the_tail_of_the_whole_epoch(make_examples: MakeExamples) -> None:
    examples = make_examples(some_lengths(50))
    batches = batches_of(examples, 8)
    whole = [described(batch) for batch in batches.batches(3, 0, rank=1, world_size=2)]
    for first in range(batches.num_batches + 1):
        again = batches_of(examples, 8).batches(3, first, rank=1, world_size=2)
        assert [described(batch) for batch in again] == whole[first:]


def test_eight_workers_share_batches_of_64_documents_with_98_percent_busy(make_examples: MakeExamples) -> None:
    lengths = np.random.default_rng(0).lognormal(np.log(220), 0.75, 6_400).clip(7, 2_900).astype(int).tolist()
    batches = batches_of(make_examples(lengths), 64)
    workers = [list(batches.batches(0, 0, rank=rank, world_size=8)) for rank in range(8)]
    tokens = np.array([[sum(map(len, batch.documents)) for batch in worker] for worker in workers])
    assert tokens.sum() == sum(lengths)
    assert (tokens.mean(0) / tokens.max(0)).mean() > 0.98
    # A step is as long as its largest share: of all the time that the workers have, so much they compute.
    assert tokens.mean(0).sum() / tokens.max(0).sum() > 0.98


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("count", "size", "world_size"), [(10, 4, 1), (10, 4, 3), (9, 4, 2), (5, 100, 8), (1, 1, 2)])
def test_documents_in_order_come_once_and_longest_first_and_a_worker_may_have_none_of_the_last_batch(
    make_examples: MakeExamples, count: int, size: int, world_size: int, backward: bool
) -> None:
    examples = make_examples(some_lengths(count))
    workers = [
        list(in_order(examples, rank=rank, world_size=world_size, size=size, backward=backward))
        for rank in range(world_size)
    ]
    assert sorted(number for worker in workers for number in numbers_of(worker)) == list(range(count))
    order = sorted(range(count), key=lambda number: -examples.lengths[number])
    expected = [order[start : start + size] for start in range(0, count, size)]
    for rank, worker in enumerate(workers):
        assert [batch.numbers.tolist() for batch in worker] == expected
        for batch in worker:
            assert batch.size == len(batch.numbers)
            assert batch.targets.tolist() == [number % 3 for number in batch.numbers.tolist()]
            own = batch.numbers[rank::world_size].tolist()
            assert batch.numbers[batch.rows].tolist() == own
            tokens = [examples.tokens(number).tolist() for number in own]
            found = [document.tolist() for document in batch.documents]
            assert found == [one[::-1] if backward else one for one in tokens]
    assert (workers[-1][-1].documents == []) == ((count - 1) % size + 1 < world_size)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_documents_are_refused(make_examples: MakeExamples, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} labelled documents are too few to train on: bring at least 2"):
        batches_of(make_examples([3] * count), 4)


def test_fewer_documents_in_the_smallest_batch_than_workers_are_refused_before_the_first_batch(
    make_examples: MakeExamples,
) -> None:
    batches = batches_of(make_examples([3] * 5), 4)
    batches.batches(0, 0, rank=1, world_size=2)
    message = r"5 labelled documents make batches of 2, fewer than num_workers \(3\): each worker needs a document"
    with pytest.raises(ValueError, match=message):
        batches.batches(0, 0, rank=0, world_size=3)
