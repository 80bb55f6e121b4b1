"""Which documents are held out."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams import selection as selection_module
from ulmfit_ray.streams.selection import Selection, count_tokens, everything, is_held_out, select

SIZES = [[3, 0, 11, 1], [], [25, 2], [0], [7, 7, 1, 0, 9], [40]]
IDS = pa.chunked_array([[f"document {number}" for number in range(300)], [f"{number}" for number in range(200)]])


@pytest.fixture
def dataset(make_token_dataset: Callable[..., TokenDataset]) -> TokenDataset:
    """A data set in which every token but xxbos is another number."""
    numbers = iter(range(10, 10_000))
    shards = [
        [(f"{n}-{row}", [[next(numbers) for _ in range(size)]]) for row, size in enumerate(s)]
        for n, s in enumerate(SIZES)
    ]
    return make_token_dataset(shards)


def tokens_of(dataset: TokenDataset, selection: Selection) -> list[list[int]]:
    """Return each shard's tokens of the documents that take part."""
    rows = [(table["tokens"].to_pylist(), selection.takes(table)) for table in dataset.tables()]
    return [[token for row, taken in zip(*shard, strict=True) if taken for token in row] for shard in rows]


def test_held_out_documents_and_the_others_are_all_documents(dataset: TokenDataset) -> None:
    held_out, others = (select(dataset, fraction=0.4, seed=1, held_out=held_out) for held_out in (True, False))
    for table in dataset.tables():
        assert (held_out.takes(table) ^ others.takes(table)).all()
    assert held_out.total_tokens + others.total_tokens == everything(dataset).total_tokens
    assert held_out.total_tokens > 0
    assert others.total_tokens > 0
    assert select(dataset, fraction=0.0, seed=0, held_out=True).total_tokens == 0


def test_everything_is_what_is_left_when_nothing_is_held_out(dataset: TokenDataset) -> None:
    whole, others = everything(dataset), select(dataset, fraction=0.0, seed=0, held_out=False)
    assert whole.num_tokens.tolist() == others.num_tokens.tolist()
    assert all(whole.takes(table).all() for table in dataset.tables())


def test_a_selections_tokens_are_those_of_its_documents(dataset: TokenDataset) -> None:
    selection = select(dataset, fraction=0.4, seed=1, held_out=False)
    assert selection.num_tokens.tolist() == [len(tokens) for tokens in tokens_of(dataset, selection)]


def test_words_of_a_selection_are_counted_and_those_beyond_the_vocabulary_as_xxunk(dataset: TokenDataset) -> None:
    selection = select(dataset, fraction=0.4, seed=1, held_out=False)
    expected = Counter(token if token < 60 else 0 for shard in tokens_of(dataset, selection) for token in shard)
    assert expected[0] > 1
    assert count_tokens(dataset, selection, 60).tolist() == [expected[token] for token in range(60)]


def test_which_documents_are_held_out_does_not_depend_on_order_or_company(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = dict(zip(IDS.to_pylist(), is_held_out(IDS, 0.2, 7), strict=True))
    assert 60 < sum(chosen.values()) < 140
    again = IDS.to_pylist()[::-3]
    monkeypatch.setattr(selection_module, "IDS_AT_ONCE", 7)
    assert is_held_out(pa.chunked_array([again]), 0.2, 7).tolist() == [chosen[doc_id] for doc_id in again]
    assert is_held_out(IDS.slice(290, 20), 0.2, 7).tolist() == list(chosen.values())[290:310]


def test_more_documents_are_held_out_for_a_larger_fraction_and_others_for_another_seed() -> None:
    small, large = is_held_out(IDS, 0.1, 0), is_held_out(IDS, 0.3, 0)
    assert not (small & ~large).any()
    assert small.sum() < large.sum()
    assert (is_held_out(IDS, 0.3, 1) != large).any()
    assert not is_held_out(IDS, 0.0, 0).any()
    assert is_held_out(IDS, 1.0, -1).all()


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_ids_that_count_are_held_out_as_often_as_chance_and_neighbours_no_more_often_together(seed: int) -> None:
    ids = pa.chunked_array([[f"imdb/{number:06d}.txt" for number in range(50_000)]])
    chosen = is_held_out(ids, 0.1, seed)
    # Four standard deviations of 50,000 draws.
    assert abs(chosen.mean() - 0.1) < 0.0054
    assert abs((chosen[1:] & chosen[:-1]).mean() - 0.01) < 0.0018


def test_ids_that_differ_only_in_zeros_at_the_end_or_are_empty_are_told_apart() -> None:
    ids = pa.chunked_array([["", "\0", "\0\0", "a", "a\0"]])
    drawn = np.array([is_held_out(ids, 0.5, seed) for seed in range(64)])
    assert len(np.unique(drawn, axis=1).T) == 5


def test_the_choice_is_the_same_on_every_machine() -> None:
    """Made with numpy 2.4: another answer would move documents from training into validation when a run goes on."""
    chosen = is_held_out(pa.chunked_array([[str(number) for number in range(40)]]), 0.25, 3)
    assert np.flatnonzero(chosen).tolist() == [5, 6, 7, 11, 16, 19, 22, 26, 28, 33, 34, 35, 38, 39]
