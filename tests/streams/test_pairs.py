"""Pairs of queries and documents out of a data set's own fields."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.pairs import FieldPairs, Frame, GivenPairs, PairBatch, Pairs, pad
from ulmfit_ray.streams.spans import SpanOptions

MakeTokenDataset = Callable[..., TokenDataset]
BOS, EOS = 2, 3
FRAME = ([BOS], [])
DOCUMENT_TOKENS = 40
LEFT_IN = SpanOptions(taken_out=0, with_query_field=0)
"""Documents are consecutive tokens of their own field."""


def fields(number: int) -> list[list[int]]:
    """A title of 3 tokens and a text of 50, all of the document's own numbers."""
    first = 100 * (number + 1)
    return [list(range(first, first + 3)), list(range(first + 10, first + 60))]


@pytest.fixture
def dataset(make_token_dataset: MakeTokenDataset) -> TokenDataset:
    shards = [[(f"{number}", fields(number)) for number in numbers] for numbers in (range(7), (), range(7, 20))]
    shards[1] = [("no title", [[], [50, 51]]), ("no text", [[52], []])]
    return make_token_dataset(shards, ("title", "text"))


def pairs_of(
    dataset: TokenDataset,
    query: str | None = "title",
    document: str = "text",
    *,
    frame: Frame = FRAME,
    spans: SpanOptions = LEFT_IN,
    document_tokens: int = DOCUMENT_TOKENS,
    backward: bool = False,
    given: GivenPairs | None = None,
) -> Pairs:
    return Pairs(
        fields=FieldPairs(dataset, query, document, frame),
        given=given,
        spans=spans,
        document_tokens=document_tokens,
        frame=frame,
        backward=backward,
    )


def flat(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(texts), np.cumsum([0, *map(len, texts)])


def drawn(pairs: Pairs, epoch: int = 0, size: int = 6) -> Iterator[PairBatch]:
    return pairs.batches(epoch, 0, global_batch_size=size, rows=slice(None), seed=0)


def batches(
    dataset: TokenDataset, epoch: int = 0, first: int = 0, rows: slice = slice(None), seed: int = 0
) -> Iterator[PairBatch]:
    return pairs_of(dataset).batches(epoch, first, global_batch_size=6, rows=rows, seed=seed)


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
                assert LEFT_IN.min_tokens <= len(query) - 1 <= LEFT_IN.max_tokens
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
    (batch,) = drawn(pairs_of(dataset), size=1)
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
    found = [all_rows(batches(dataset, epoch, seed=seed)) for seed in (0, 1) for epoch in (0, 1)]
    orders = [[document[1] // 100 for _, document in rows] for rows in found]
    by_document = [{document[1] // 100: (query, document) for query, document in rows} for rows in found]
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
        (batch,) = drawn(pairs_of(dataset), epoch, size=3)
        assert batch.keys.shape == (3, 2)
        queries = [tuple(query) for query, _ in rows_of(batch)]
        for first in range(3):
            for second in range(3):
                assert (batch.keys[first, 0] == batch.keys[second, 0]) == (queries[first] == queries[second])
        keys_of_documents[epoch] = set(batch.keys[:, 1].tolist())
    assert set(map(len, keys_of_documents.values())) == {2}
    assert len(set.union(*keys_of_documents.values())) == 2


def test_fields_may_be_taken_the_other_way_round(dataset: TokenDataset) -> None:
    batch = next(drawn(pairs_of(dataset, "text", "title", document_tokens=2)))
    assert set(batch.document_lengths.tolist()) == {3}


def test_without_a_query_field_every_query_is_a_span_and_every_document_with_tokens_a_pair(
    dataset: TokenDataset,
) -> None:
    pairs = pairs_of(dataset, None)
    assert len(pairs) == 21
    for query, document in all_rows(drawn(pairs)):
        if document[1] < 100:
            assert document == [BOS, 50, 51]
            assert query in ([BOS, 50], [BOS, 51])
            continue
        _, text = fields(document[1] // 100 - 1)
        start = text.index(query[1])
        assert query[1:] == text[start : start + len(query) - 1]


@pytest.mark.parametrize(
    ("frame", "inside"), [(([], []), [BOS, 5, 6, EOS]), (FRAME, [5, 6, EOS]), (([BOS], [EOS]), [5, 6])]
)
def test_a_data_set_of_one_field_makes_pairs_of_what_stands_in_the_frame(
    make_token_dataset: MakeTokenDataset, frame: Frame, inside: list[int]
) -> None:
    dataset = make_token_dataset([[("a", [[5, 6, EOS]])]])
    pairs = pairs_of(dataset, None, frame=frame)
    assert [ids.tolist() for ids in pairs.fields.texts(0)] == [[], inside]
    begin, end = frame
    (row,) = all_rows(drawn(pairs, size=1))
    assert row[1] == [*begin, *inside, *end]


def test_half_of_the_spans_are_taken_out_and_half_of_their_documents_have_the_query_field_in_front(
    dataset: TokenDataset,
) -> None:
    spans = SpanOptions(share=1, min_tokens=10, max_tokens=12)
    pairs = pairs_of(dataset, spans=spans, document_tokens=1000)
    num_left, num_taken, num_with_title = 0, 0, 0
    for epoch in range(20):
        for query, document in all_rows(drawn(pairs, epoch)):
            title, text = fields(document[1] // 100 - 1)
            has_title = document[1:4] == title
            rest = document[4:] if has_title else document[1:]
            num_with_title += has_title
            if rest == text:
                num_left += 1
            else:
                assert rest == [token for token in text if token not in query]
                num_taken += 1
    assert num_left + num_taken == 360
    assert 140 < num_taken < 220
    assert 140 < num_with_title < 220


def test_given_pairs_come_once_in_an_epoch_beside_the_fields_with_their_own_query(dataset: TokenDataset) -> None:
    queries, documents = [[9001, 9002], [9003], [9004]], [[8001], list(range(7000, 7100)), [8002, 8003]]
    given = GivenPairs(flat(queries), flat(documents))
    pairs = pairs_of(dataset, given=given)
    assert len(pairs) == 23
    cuts = set()
    for epoch in range(10):
        rows = all_rows(drawn(pairs, epoch, size=23))
        own = {query[1]: (query[1:], document[1:]) for query, document in rows if query[1] > 9000}
        assert own[9001] == ([9001, 9002], [8001])
        assert own[9004] == ([9004], [8002, 8003])
        query, cut = own[9003]
        assert query == [9003]
        assert cut == list(range(cut[0], cut[0] + DOCUMENT_TOKENS))
        cuts.add(cut[0])
        assert len(rows) == 23
    assert len(cuts) > 3


@pytest.mark.parametrize(("query", "document"), [("body", "text"), ("title", "body")])
def test_a_field_that_is_not_there_is_named_beside_those_that_are(
    dataset: TokenDataset, query: str, document: str
) -> None:
    with pytest.raises(ValueError, match="has no field 'body' to make pairs of; its fields are title, text"):
        pairs_of(dataset, query, document)


def test_padding_is_zeros_behind_each_documents_own_tokens() -> None:
    ids, lengths = pad([np.array([3, 4, 5]), np.array([6]), np.array([], np.int64)])
    assert ids.tolist() == [[3, 4, 5], [6, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 1, 0]
    assert ids.dtype == lengths.dtype == np.int64


@pytest.mark.parametrize("frame", [([], []), ([BOS], [EOS])])
def test_queries_and_documents_stand_in_the_frame_of_the_tokenizer(dataset: TokenDataset, frame: Frame) -> None:
    begin, end = frame
    found = drawn(pairs_of(dataset, frame=frame))
    expected = [
        ([*begin, *query[1:], *end], [*begin, *document[1:], *end]) for query, document in all_rows(batches(dataset))
    ]
    assert all_rows(found) == expected


def test_backward_pairs_are_the_forward_ones_reversed_whole(dataset: TokenDataset) -> None:
    given = GivenPairs(flat([[9001, 9002]]), flat([[8001, 8002, 8003]]))
    for spans in (LEFT_IN, SpanOptions()):
        forward, backward = (pairs_of(dataset, given=given, spans=spans, backward=way) for way in (False, True))
        expected = [(query[::-1], document[::-1]) for query, document in all_rows(drawn(forward, size=7))]
        assert all_rows(drawn(backward, size=7)) == expected


def test_what_stands_in_front_of_a_document_is_cut_too(make_token_dataset: MakeTokenDataset) -> None:
    dataset = make_token_dataset([[("a", [list(range(100, 200)), list(range(300, 400))])]], ("title", "text"))
    spans = SpanOptions(share=1, taken_out=0, with_query_field=1)
    (batch,) = drawn(pairs_of(dataset, spans=spans, document_tokens=10), size=1)
    assert rows_of(batch)[0][1][:11] == [BOS, *range(100, 110)]
    assert batch.document_lengths.tolist() == [21]
