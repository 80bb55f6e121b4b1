"""A labelled token dataset in two parts, as a classifier's training takes it: documents to learn from, and to judge by.

Which document belongs to which part is a function of its id and the seed. So whoever knows a classifier's config finds
its documents again: the training, and the baseline beside its figures.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.examples import Examples
from ulmfit_ray.streams.labels import LabelColumn, Objective, check_names, ordered
from ulmfit_ray.streams.selection import Selection, everything, select


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelOptions:
    """Which documents take part, and what their labels are; see `TrainClassifierConfig`."""

    label: str
    objective: str = "auto"
    labels: tuple[str, ...] = ()
    label_separator: str = ""
    valid_fraction: float = 0.0
    labelled_documents: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LabelledParts:
    """Both parts, and the names of the labels in the order of the outputs."""

    objective: Objective
    labels: tuple[str, ...]
    train: Examples
    valid: Examples | None

    @property
    def counts(self) -> np.ndarray:
        """Return the number of training documents with each label, (C,)."""
        return np.bincount(self.train.targets.values, minlength=len(self.labels))


def labelled_parts(tokens: TokenDataset, valid: TokenDataset | None, options: LabelOptions) -> LabelledParts:
    """Return the labelled documents to train on and to validate on: those of `valid`, or held-out ones.

    Raises:
        ValueError: there is no such column of labels, they cannot be learned from, or one of the validation's is not
            known in training.
    """
    column = _column(tokens, options, options.objective)
    train_selection = everything(tokens)
    valid_selection: Selection | None = None
    if valid is None and options.valid_fraction:
        train_selection, valid_selection = (
            select(tokens, fraction=options.valid_fraction, seed=options.seed, held_out=held_out)
            for held_out in (False, True)
        )
    labels = () if column.objective == "regression" else _labels(column, train_selection, options)
    train = Examples(tokens, column, labels, train_selection, at_most=options.labelled_documents, seed=options.seed)
    _check_size(train, column, labels)
    if column.objective == "regression" and len(np.unique(train.targets.values)) == 1:
        raise ValueError(f"column {options.label!r} holds the same number in all documents: nothing can be learned")
    judged = None
    try:
        if valid is not None:
            judged = Examples(valid, _column(valid, options, column.objective), labels, everything(valid))
        elif valid_selection is not None:
            judged = Examples(tokens, column, labels, valid_selection)
    except ValueError as error:
        raise ValueError(f"validation documents: {error}") from error
    if judged is not None and not len(judged):
        raise ValueError("no validation document has a label: give another --valid, or another --valid-fraction")
    return LabelledParts(column.objective, labels, train, judged)


def _column(tokens: TokenDataset, options: LabelOptions, objective: str) -> LabelColumn:
    return LabelColumn(tokens, options.label, objective=objective, separator=options.label_separator)


def _labels(column: LabelColumn, selection: Selection, options: LabelOptions) -> tuple[str, ...]:
    """Return the labels in the order of the outputs: those given, else all that training documents have."""
    counts, _ = column.names(selection)
    if options.labels:
        _refuse_twice(options.labels)
    else:
        check_names(column.column, counts)
    labels = options.labels or ordered(counts)
    _check_counts(column, counts, labels)
    return labels


def _check_size(train: Examples, column: LabelColumn, labels: Sequence[str]) -> None:
    """Raise ValueError if the training documents, of which --labelled-documents may have left few, are too few."""
    least = 2 * len(labels) if column.objective == "single-label" else 2
    if len(train) < least:
        each = f": each of the {len(labels)} labels needs two at least" if labels else ""
        raise ValueError(f"{len(train):,} training documents with a label are too few{each}")


def _refuse_twice(labels: tuple[str, ...]) -> None:
    name, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise ValueError(f"--labels names {name!r} twice")


def _check_counts(column: LabelColumn, counts: Counter[str], labels: Sequence[str]) -> None:
    if not counts:
        raise ValueError(f"no training document has a label in column {column.column!r}")
    if column.objective == "single-label" and len(labels) == 1:
        raise ValueError(f"column {column.column!r} has one label only, {labels[0]!r}: there is nothing to tell apart")
    rare = [name for name in labels if counts[name] < 2]
    if len(rare) > counts.total() // 2:
        raise ValueError(
            f"column {column.column!r} has {len(labels):,} labels in {counts.total():,} documents: is it a column of"
            " labels? (--objective regression is for numbers)"
        )
    if rare:
        raise ValueError(
            f"label {rare[0]!r} of column {column.column!r} has {counts[rare[0]]} training documents, and"
            f" {len(rare) - 1} other labels have fewer than two: bring more, or leave these documents out"
        )
