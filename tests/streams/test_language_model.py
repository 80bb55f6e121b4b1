"""The language model's stream against one that joins all tokens in memory."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.language_model import LMStream, varied_lengths
from ulmfit_ray.streams.selection import Selection, everything, select
from ulmfit_ray.training import distributed

MakeTokenDataset = Callable[..., TokenDataset]
SIZES = [[3, 0, 11, 1], [], [25, 2], [0], [7, 7, 1, 0, 9], [40]]


@pytest.fixture
def dataset(make_token_dataset: MakeTokenDataset) -> TokenDataset:
    """A data set in which every token but xxbos is another number."""
    numbers = iter(range(10, 10_000))
    return make_token_dataset(
        [
            [(f"{shard}-{row}", [[next(numbers) for _ in range(size)]]) for row, size in enumerate(sizes)]
            for shard, sizes in enumerate(SIZES)
        ]
    )


def stream_of(dataset: TokenDataset, selection: Selection | None = None, **options: Any) -> LMStream:
    shape = {"global_batch_size": 4, "bptt": 5, "columns": slice(None), "seed": 3} | options
    return LMStream(dataset, selection or everything(dataset), **shape)


def documents_in_order(
    dataset: TokenDataset, selection: Selection, seed: int, epoch: int, shuffle: bool
) -> list[list[int]]:
    tables = list(dataset.tables())
    shards = range(len(tables))
    if shuffle:
        shards = np.random.default_rng([seed, epoch]).permutation(len(tables)).tolist()
    joined = []
    for shard in shards:
        rows = np.flatnonzero(selection.takes(tables[shard]))
        if shuffle:
            rows = np.random.default_rng([seed, epoch, shard]).permutation(rows)
        tokens = tables[shard]["tokens"].to_pylist()
        joined += [tokens[row] for row in rows]
    return joined


def reference_windows(documents: list[list[int]], batch_size: int, bptt: int) -> list[list[list[int]]]:
    tokens = [token for document in documents for token in document]
    length = (len(tokens) - 1) // batch_size
    columns = [tokens[column * length : (column + 1) * length + 1] for column in range(batch_size)]
    return [[column[start : start + bptt + 1] for column in columns] for start in range(0, length, bptt)]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("batch_size", "bptt"), [(1, 7), (4, 5), (4, 1000), (13, 1), (3, 13)])
def test_windows_are_those_of_a_stream_joined_in_memory(
    dataset: TokenDataset, batch_size: int, bptt: int, shuffle: bool, backward: bool
) -> None:
    shape = {"global_batch_size": batch_size, "bptt": bptt, "shuffle": shuffle, "backward": backward}
    stream = stream_of(dataset, **shape)
    for epoch in (0, 1):
        documents = documents_in_order(dataset, everything(dataset), 3, epoch, shuffle)
        if backward:
            documents = [document[::-1] for document in documents]
        found = [window.tolist() for window in stream.windows(epoch)]
        assert found == reference_windows(documents, batch_size, bptt)
        assert len(found) == stream.num_windows


def test_windows_from_any_step_are_the_tail_of_the_whole_epoch(dataset: TokenDataset) -> None:
    stream = stream_of(dataset)
    whole = [window.tolist() for window in stream.windows(1)]
    for first in range(stream.num_windows + 1):
        assert [window.tolist() for window in stream_of(dataset).windows(1, first)] == whole[first:]


@pytest.mark.parametrize("batch_size", [4, 7, 11])
@pytest.mark.parametrize("num_workers", [1, 2, 3, 4])
def test_columns_of_several_workers_are_together_those_of_one(
    dataset: TokenDataset, num_workers: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: num_workers)
    alone = list(stream_of(dataset, global_batch_size=batch_size).windows(2))
    shares = distributed.shares(batch_size)
    sizes = [len(range(batch_size)[share]) for share in shares]
    assert sum(sizes) == batch_size
    assert max(sizes) - min(sizes) <= 1
    parts = [stream_of(dataset, global_batch_size=batch_size, columns=share).windows(2) for share in shares]
    together = [np.concatenate(windows) for windows in zip(*parts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(together, axis=1), np.concatenate(alone, axis=1))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 11])
def test_every_token_is_read_once_but_for_fewer_than_a_batch_and_one(dataset: TokenDataset, batch_size: int) -> None:
    selection = everything(dataset)
    stream = stream_of(dataset, global_batch_size=batch_size)
    inputs = np.concatenate([window[:, :-1] for window in stream.windows(0)], axis=1).reshape(-1).tolist()
    numbers = [token for token in inputs if token != 2]
    assert len(numbers) == len(set(numbers))
    assert 0 < selection.total_tokens - len(inputs) < batch_size + 1


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("vary_bptt", [False, True])
@pytest.mark.parametrize(("batch_size", "bptt"), [(4, 5), (5, 1), (7, 1000), (11, 3), (61, 2), (118, 70)])
@pytest.mark.parametrize("num_workers", [1, 2, 3, 4])
def test_every_token_is_a_target_of_one_worker_once_in_an_epoch_but_for_those_left_out(
    dataset: TokenDataset,
    num_workers: int,
    batch_size: int,
    bptt: int,
    vary_bptt: bool,
    backward: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: num_workers)
    selection = everything(dataset)
    for epoch in (0, 1):
        targets: list[int] = []
        for share in distributed.shares(batch_size):
            shape = {"global_batch_size": batch_size, "bptt": bptt, "vary_bptt": vary_bptt, "backward": backward}
            stream = stream_of(dataset, selection, columns=share, **shape)
            targets += [token for window in stream.windows(epoch) for token in window[:, 1:].ravel().tolist()]
        documents = documents_in_order(dataset, selection, 3, epoch, shuffle=True)
        tokens = [token for document in documents for token in (document[::-1] if backward else document)]
        left_out = [tokens[0], *tokens[1 + len(targets) :]]
        assert Counter(targets) == Counter(tokens) - Counter(left_out)
        assert len(left_out) == stream.tokens_left_out <= batch_size


def test_a_row_goes_on_in_the_next_window_where_it_stopped(dataset: TokenDataset) -> None:
    windows = list(stream_of(dataset).windows(0))
    for before, after in pairwise(windows):
        np.testing.assert_array_equal(before[:, -1], after[:, 0])


def test_each_epoch_and_seed_has_another_order_of_the_same_documents(dataset: TokenDataset) -> None:
    def tokens(seed: int, epoch: int) -> list[int]:
        stream = stream_of(dataset, seed=seed, global_batch_size=1, bptt=10_000)
        return next(stream.windows(epoch))[0].tolist()

    orders = [tokens(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert tokens(0, 0) == orders[0]


def test_without_shuffling_documents_come_as_they_are_stored(dataset: TokenDataset) -> None:
    stream = stream_of(dataset, global_batch_size=1, bptt=10_000, shuffle=False)
    stored = [token for table in dataset.tables() for document in table["tokens"].to_pylist() for token in document]
    assert next(stream.windows(5))[0].tolist() == stored


def test_backward_documents_begin_with_their_last_word_and_end_with_xxbos(make_token_dataset: MakeTokenDataset) -> None:
    dataset = make_token_dataset([[("a", [[5, 6, 7]]), ("b", [[8]]), ("c", [[]])]])
    stream = stream_of(dataset, global_batch_size=1, bptt=100, shuffle=False, backward=True)
    assert next(stream.windows(0))[0].tolist() == [7, 6, 5, 2, 8, 2, 2]


def test_too_few_tokens_for_the_batch_are_refused(make_token_dataset: MakeTokenDataset) -> None:
    dataset = make_token_dataset([[("a", [[5, 6, 7]])]])
    assert stream_of(dataset, global_batch_size=3).num_windows == 1
    with pytest.raises(ValueError, match=r"4 tokens are too few for a batch of 4 rows: lower --training\.global"):
        stream_of(dataset, global_batch_size=4)
    with pytest.raises(ValueError, match=r"4 held-out words are too few for a batch of 5 rows: lower -n"):
        stream_of(dataset, global_batch_size=5, what="held-out words", remedy="lower -n")


def test_a_stream_of_a_selection_holds_its_documents_alone(dataset: TokenDataset) -> None:
    selection = select(dataset, fraction=0.4, seed=1, held_out=False)
    stream = stream_of(dataset, selection, global_batch_size=2)
    documents = documents_in_order(dataset, selection, 3, 0, True)
    assert [window.tolist() for window in stream.windows(0)] == reference_windows(documents, 2, 5)


@pytest.mark.parametrize("bptt", [5, 20, 70])
@pytest.mark.parametrize("column_tokens", [1, 4, 70, 1_000, 54_321])
def test_varied_windows_fill_a_column_to_the_last_token(bptt: int, column_tokens: int):
    lengths = varied_lengths(bptt, column_tokens, seed=1)
    assert lengths.sum() == column_tokens
    assert lengths.min() >= 1
    assert (lengths[:-1] >= 5).all()


def test_varied_windows_are_distributed_as_in_awd_lstm():
    # Merity et al. (2017), section 5: N(bptt, 5) with probability 0.95, else N(bptt / 2, 5).
    lengths = varied_lengths(70, 3_000_000, seed=2)
    near, half = lengths[lengths > 52], lengths[lengths <= 52]
    assert len(half) / len(lengths) == pytest.approx(0.05, abs=0.005)
    # Rounded down to whole tokens, as they do.
    assert near.mean() == pytest.approx(69.5, abs=0.2)
    assert half.mean() == pytest.approx(34.5, abs=0.5)
    assert near.std() == pytest.approx(5, abs=0.2)


def test_a_stream_of_varied_windows_is_the_same_stream_cut_elsewhere(dataset: TokenDataset):
    plain, varied = stream_of(dataset), stream_of(dataset, bptt=8, vary_bptt=True)

    def columns(stream: LMStream, epoch: int) -> np.ndarray:
        return np.concatenate([window[:, :-1] for window in stream.windows(epoch)], 1)

    for epoch in (0, 1):
        windows = list(varied.windows(epoch))
        assert len(windows) == varied.num_windows
        np.testing.assert_array_equal(columns(varied, epoch), columns(plain, epoch))
        for first in range(len(windows)):
            rest = list(varied.windows(epoch, first))
            assert all(np.array_equal(*pair) for pair in zip(rest, windows[first:], strict=True))


def test_every_epoch_has_the_same_varied_windows_in_an_order_of_its_own(dataset: TokenDataset):
    stream = stream_of(dataset, global_batch_size=1, bptt=8, vary_bptt=True)
    first, second = ([window.shape[1] for window in stream.windows(epoch)] for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)
