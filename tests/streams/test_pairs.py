"""Pairs of queries and documents out of a data set's own fields."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.pairs import SPAN_TOKENS, FieldPairs, PairBatch, pad

MakeTokenDataset = Callable[..., TokenDataset]
BOS, EOS = 2, 3
FRAME = ([BOS], [])
DOCUMENT_TOKENS = 40


def fields(number: int) -> list[list[int]]:
    """A title of 3 tokens and a text of 50, all of the document's own numbers."""
    first = 100 * (number + 1)
    return [list(range(first, first + 3)), list(range(first + 10, first + 60))]


@pytest.fixture
def dataset(make_token_dataset: MakeTokenDataset) -> TokenDataset:
    shards = [[(f"{number}", fields(number)) for number in numbers] for numbers in (range(7), (), range(7, 20))]
    shards[1] = [("no title", [[], [50, 51]]), ("no text", [[52], []])]
    return make_token_dataset(shards, ("title", "text"))


def pairs_of(dataset: TokenDataset, query: str = "title", document: str = "text") -> FieldPairs:
    return FieldPairs(dataset, query, document, document_tokens=DOCUMENT_TOKENS)


def batches(
    dataset: TokenDataset, epoch: int = 0, first: int = 0, rows: slice = slice(None), seed: int = 0
) -> Iterator[PairBatch]:
    return pairs_of(dataset).batches(epoch, first, global_batch_size=6, rows=rows, seed=seed, frame=FRAME)


def rows_of(batch: PairBatch) -> list[tuple[list[int], list[int]]]:
    queries = [ids[:length].tolist() for ids, length in zip(batch.query_ids, batch.query_lengths, strict=True)]
    documents = [ids[:length].tolist() for ids, length in zip(batch.document_ids, batch.document_lengths, strict=True)]
    return list(zip(queries, documents, strict=True))


def all_rows(found: Iterator[PairBatch]) -> list[tuple[list[int], list[int]]]:
    return [row for batch in found for row in rows_of(batch)]


def test_documents_without_one_of_the_fields_are_no_pairs(dataset: TokenDataset) -> None:
    assert len(pairs_of(dataset)) == 20


def test_each_pair_is_of_one_document_and_comes_once_in_an_epoch(dataset: TokenDataset) -> None:
    rows = all_rows(batches(dataset))
    numbers = []
    for query, document in rows:
        assert query[0] == document[0] == BOS
        (number,) = {token // 100 - 1 for token in query[1:] + document[1:]}
        numbers.append(number)
    assert len(numbers) == len(set(numbers)) == 18


def test_a_query_is_the_query_field_or_a_span_of_the_document_each_in_about_half_of_the_pairs(
    dataset: TokenDataset,
) -> None:
    titles, spans = 0, 0
    for epoch in range(20):
        for query, document in all_rows(batches(dataset, epoch)):
            title, text = fields(document[1] // 100 - 1)
            if query[1:] == title:
                titles += 1
            else:
                start = text.index(query[1])
                assert query[1:] == text[start : start + len(query) - 1]
                assert SPAN_TOKENS[0] <= len(query) - 1 <= SPAN_TOKENS[1]
                spans += 1
    assert titles + spans == 360
    assert 140 < titles < 220


def test_a_document_is_cut_to_random_consecutive_tokens(dataset: TokenDataset) -> None:
    starts = set()
    for _, document in all_rows(batches(dataset)):
        _, text = fields(document[1] // 100 - 1)
        start = text.index(document[1])
        assert document[1:] == text[start : start + DOCUMENT_TOKENS]
        starts.add(start)
    assert len(starts) > 3


def test_a_document_shorter_than_the_cut_is_whole(make_token_dataset: MakeTokenDataset) -> None:
    dataset = make_token_dataset([[("a", [[5], [6, 7, 8]])]], ("title", "text"))
    (batch,) = pairs_of(dataset).batches(0, 0, global_batch_size=1, rows=slice(None), seed=0, frame=FRAME)
    assert rows_of(batch)[0][1] == [BOS, 6, 7, 8]


@pytest.mark.parametrize("num_workers", [2, 3])
def test_rows_of_several_workers_are_together_those_of_one(dataset: TokenDataset, num_workers: int) -> None:
    size = 6 // num_workers
    workers = [
        [rows_of(batch) for batch in batches(dataset, rows=slice(rank * size, (rank + 1) * size))]
        for rank in range(num_workers)
    ]
    together = [row for parts in zip(*workers, strict=True) for part in parts for row in part]
    assert together == all_rows(batches(dataset))


def test_batches_from_any_step_are_the_tail_of_the_whole_epoch(dataset: TokenDataset) -> None:
    whole = [rows_of(batch) for batch in batches(dataset, 1)]
    for first in range(4):
        assert [rows_of(batch) for batch in batches(dataset, 1, first)] == whole[first:]


def test_each_epoch_and_seed_has_another_order_and_draws_each_pair_anew(dataset: TokenDataset) -> None:
    drawn = [all_rows(batches(dataset, epoch, seed=seed)) for seed in (0, 1) for epoch in (0, 1)]
    orders = [[document[1] // 100 for _, document in rows] for rows in drawn]
    by_document = [{document[1] // 100: (query, document) for query, document in rows} for rows in drawn]
    for first in range(4):
        for second in range(first):
            assert orders[first] != orders[second]
            both = by_document[first].keys() & by_document[second].keys()
            same = sum(by_document[first][number] == by_document[second][number] for number in both)
            assert same < len(both) / 2


def test_keys_are_equal_for_equal_queries_and_for_equal_documents_whatever_their_cut(
    make_token_dataset: MakeTokenDataset,
) -> None:
    text = list(range(1000, 1200))
    shards = [[("a", [[5], text]), ("b", [[5], text]), ("c", [[6], text[1:]])]]
    dataset = make_token_dataset(shards, ("title", "text"))
    keys_of_documents: dict[int, set[int]] = {}
    for epoch in range(10):
        (batch,) = pairs_of(dataset).batches(epoch, 0, global_batch_size=3, rows=slice(None), seed=0, frame=FRAME)
        assert batch.keys.shape == (3, 2)
        queries = [tuple(query) for query, _ in rows_of(batch)]
        for first in range(3):
            for second in range(3):
                assert (batch.keys[first, 0] == batch.keys[second, 0]) == (queries[first] == queries[second])
        keys_of_documents[epoch] = set(batch.keys[:, 1].tolist())
    assert set(map(len, keys_of_documents.values())) == {2}
    assert len(set.union(*keys_of_documents.values())) == 2


def test_fields_may_be_taken_the_other_way_round(dataset: TokenDataset) -> None:
    found = FieldPairs(dataset, "text", "title", document_tokens=2)
    batch = next(found.batches(0, 0, global_batch_size=6, rows=slice(None), seed=0, frame=FRAME))
    assert set(batch.document_lengths.tolist()) == {3}


@pytest.mark.parametrize(("query", "document"), [("body", "text"), ("title", "body")])
def test_a_field_that_is_not_there_is_named_beside_those_that_are(
    dataset: TokenDataset, query: str, document: str
) -> None:
    with pytest.raises(ValueError, match="has no field 'body' to make pairs of; its fields are title, text"):
        pairs_of(dataset, query, document)


def test_a_data_set_of_one_field_makes_no_pairs(make_token_dataset: MakeTokenDataset) -> None:
    with pytest.raises(ValueError, match="its fields are text"):
        pairs_of(make_token_dataset([[("a", [[5]])]]), "text", "text")


def test_padding_is_zeros_behind_each_documents_own_tokens() -> None:
    ids, lengths = pad([np.array([3, 4, 5]), np.array([6]), np.array([], np.int64)])
    assert ids.tolist() == [[3, 4, 5], [6, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 1, 0]
    assert ids.dtype == lengths.dtype == np.int64


@pytest.mark.parametrize("frame", [([], []), ([BOS], [EOS])])
def test_queries_and_documents_stand_in_the_frame_of_the_tokenizer(
    dataset: TokenDataset, frame: tuple[list[int], list[int]]
) -> None:
    begin, end = frame
    found = pairs_of(dataset).batches(0, 0, global_batch_size=6, rows=slice(None), seed=0, frame=frame)
    expected = [
        ([*begin, *query[1:], *end], [*begin, *document[1:], *end]) for query, document in all_rows(batches(dataset))
    ]
    assert all_rows(found) == expected


def test_backward_pairs_are_the_forward_ones_reversed_whole(dataset: TokenDataset) -> None:
    backward = FieldPairs(dataset, "title", "text", document_tokens=DOCUMENT_TOKENS, backward=True)
    found = backward.batches(0, 0, global_batch_size=6, rows=slice(None), seed=0, frame=FRAME)
    assert all_rows(found) == [(query[::-1], document[::-1]) for query, document in all_rows(batches(dataset))]
