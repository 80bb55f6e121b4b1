"""Batches of labelled documents, whole and unpadded: every document once in an epoch, neighbours of like length.

Batches depend on the documents, seed, epoch and *global* batch size alone. Within a global batch the longest document
comes first, and of N workers each takes every Nth row: so they have about equally many tokens (8 workers with batches
of 64 documents as long as IMDb's: at least 98 % of the largest share on average; a test says so).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.streams.examples import Examples

GROUP_BATCHES = 50
"""Documents are sorted by length within so many batches, as fastai does: short and long ones still come mixed."""


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """A worker's documents of a global batch, and the targets of all of its rows, longest document first."""

    documents: list[np.ndarray]
    """This worker's documents, int64, as the model reads them: backward ones are reversed whole."""
    rows: slice
    """Which rows of the global batch these are."""
    size: int
    """Rows of the global batch."""
    targets: np.ndarray
    """Of all rows, as `Targets.dense` gives them."""
    numbers: np.ndarray
    """(size,) int64, the numbers of all rows' documents."""
    num_tokens: int
    """Of all rows."""


class LabelledBatches:
    """The batches of each epoch: sizes differ by at most one, and none is over `global_batch_size`.

    Raises:
        ValueError: there are fewer than two documents.
    """

    def __init__(self, examples: Examples, *, global_batch_size: int, seed: int, backward: bool = False) -> None:
        if len(examples) < 2:
            raise ValueError(f"{len(examples)} labelled documents are too few to train on: bring at least 2")
        self._examples, self._seed, self._backward = examples, seed, backward
        self._lengths = examples.lengths
        self.num_batches = -(-len(examples) // global_batch_size)

    def of_epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the documents' numbers of each batch, longest first.

        The batch of the longest document comes first: if memory is short, that shows at once.
        """
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(len(self._lengths))
        bounds = len(order) * np.arange(self.num_batches + 1) // self.num_batches
        group_bounds = bounds[GROUP_BATCHES:-1:GROUP_BATCHES]
        order = np.concatenate([group[_longest_first(self._lengths[group])] for group in np.split(order, group_bounds)])
        batches = np.split(order, bounds[1:-1])
        turns = random.permutation(self.num_batches)
        longest = int(np.argmax([self._lengths[batches[turn][0]] for turn in turns]))
        turns[[0, longest]] = turns[[longest, 0]]
        return [batches[turn] for turn in turns]

    def batches(self, epoch: int, first: int, *, rank: int, world_size: int) -> Iterator[LabelledBatch]:
        """Return an iterator over a worker's part of the epoch's batches, from `first` on.

        Raises:
            ValueError: the smallest batch has fewer documents than there are workers.
        """
        smallest = len(self._lengths) // self.num_batches
        if smallest < world_size:
            raise ValueError(
                f"{len(self._lengths):,} labelled documents make batches of {smallest},"
                f" fewer than num_workers ({world_size}): each worker needs a document"
            )
        rows = slice(rank, None, world_size)
        return (_batch(self._examples, numbers, rows, self._backward) for numbers in self.of_epoch(epoch)[first:])


def in_order(examples: Examples, *, rank: int, world_size: int, size: int, backward: bool) -> Iterator[LabelledBatch]:
    """Yield a worker's part of all documents, longest first, in batches of `size`; the last may be smaller.

    A worker may have no documents of the last batch.
    """
    order = _longest_first(examples.lengths)
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        yield _batch(examples, numbers, slice(rank, None, world_size), backward)


def _longest_first(lengths: np.ndarray) -> np.ndarray:
    return np.argsort(-lengths, kind="stable")


def _batch(examples: Examples, numbers: np.ndarray, rows: slice, backward: bool) -> LabelledBatch:
    step = -1 if backward else 1
    return LabelledBatch(
        documents=[examples.tokens(number)[::step].astype(np.int64) for number in numbers[rows].tolist()],
        rows=slice(rows.start, len(numbers), rows.step),
        size=len(numbers),
        targets=examples.targets.take(numbers).dense(len(examples.labels)),
        numbers=numbers,
        num_tokens=int(examples.lengths[numbers].sum()),
    )
