"""Labels of documents: a kept column of a token dataset, read as what a classifier learns to say.

A label is its name, a string, wherever it is shown; inside, it is its place in `labels`, the names in the order of the
model's outputs. A null is no label, nor is text of nothing but blanks, which is what csv has in place of a null: such a
document is left out and counted. Only where a separator cuts text into several labels, empty text says: none of them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS, TokenDataset
from ulmfit_ray.streams.selection import Selection

Objective = Literal["single-label", "multi-label", "regression"]
TAKES: dict[str, str] = {
    "single-label": "text, integers or truth values",
    "multi-label": "lists of text, integers or truth values, or text with a separator",
    "regression": "numbers, or text that is numbers",
}
"""What a column may hold, by objective."""
NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Targets:
    """What is to be said of N documents, in memory that does not grow with the number of labels."""

    objective: Objective
    values: np.ndarray
    """single-label: int32 (N,), -1 without label; multi-label: int32, the labels of all documents, one document after
    the other; regression: float64 (N,), NaN without label."""
    offsets: np.ndarray | None = None
    """multi-label: int64 (N + 1,): labels of document i are values[offsets[i]:offsets[i + 1]], rising."""
    labelled: np.ndarray | None = None
    """multi-label: bool (N,): a document may be labelled and have none of the labels."""

    def __len__(self) -> int:
        return len(self.values if self.labelled is None else self.labelled)

    def is_labelled(self) -> np.ndarray:
        """Return which documents have a label, (N,) bool."""
        if self.labelled is not None:
            return self.labelled
        return ~np.isnan(self.values) if self.objective == "regression" else self.values >= 0

    def take(self, index: np.ndarray) -> "Targets":
        """Return the targets of some documents: their numbers, in any order, or (N,) bool."""
        if self.offsets is None or self.labelled is None:
            return Targets(self.objective, self.values[index])
        starts, counts = self.offsets[:-1][index], np.diff(self.offsets)[index]
        offsets = _offsets(counts)
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return Targets(self.objective, self.values[places], offsets, self.labelled[index])

    def dense(self, num_labels: int) -> np.ndarray:
        """Return int64 (N,) of labels, float32 (N, num_labels) of 0 and 1, or float64 (N,) of numbers, by objective."""
        if self.objective == "regression":
            return self.values
        if self.offsets is None:
            return self.values.astype(np.int64)
        dense = np.zeros((len(self), num_labels), np.float32)
        dense[np.repeat(np.arange(len(self)), np.diff(self.offsets)), self.values] = 1
        return dense

    @classmethod
    def joined(cls, parts: Sequence["Targets"]) -> "Targets":
        """Return the targets of all parts (at least one), in order."""
        values = np.concatenate([part.values for part in parts])
        if parts[0].offsets is None:
            return cls(parts[0].objective, values)
        counts = np.concatenate([np.diff(part.offsets) for part in parts if part.offsets is not None])
        return cls(parts[0].objective, values, _offsets(counts), np.concatenate([part.is_labelled() for part in parts]))


class LabelColumn:
    """A kept column, read as labels of an objective.

    auto: lists, and text with a separator, are multi-label, floating-point numbers regression, all else single-label.
    Names are the text itself, integers in decimals, true and false. With `separator` a string holds several of them:
    spaces around each are cut off, and empty ones left out.

    Raises:
        ValueError: there is no such column, its type does not suit the objective, or the separator does not.
    """

    def __init__(self, dataset: TokenDataset, column: str, *, objective: str = "auto", separator: str = "") -> None:
        schema = dataset.read(dataset.shards[0].shard).schema
        kept = [name for name in schema.names if name not in ("doc_id", "tokens", *FIELD_COLUMNS)]
        if column not in kept:
            raise ValueError(
                f"{dataset.folder.uri} has no kept column {column!r} (it has {', '.join(kept) or 'none'}):"
                f" tokenize again with --keep-columns {column}"
            )
        kind = schema.field(column).type
        if separator and not (types.is_string(kind) and objective in ("auto", "multi-label")):
            raise ValueError(
                f"a label separator ({separator!r}) is for several labels in a column of text:"
                f" column {column!r} holds {kind}, and the objective is {objective}"
            )
        suited = _suited(kind, separator)
        if objective == "auto" and not suited:
            raise ValueError(f"column {column!r} holds {kind}: labels are {'; '.join(TAKES.values())}")
        if objective != "auto" and objective not in suited:
            raise ValueError(f"column {column!r} holds {kind}, but {objective} takes {TAKES[objective]}")
        self.column = column
        self.objective: Objective = suited[0] if objective == "auto" else cast(Objective, objective)
        self._dataset, self._separator = dataset, separator

    def names(self, selection: Selection) -> tuple[Counter[str], int]:
        """Return each label with its number of documents, and the number of documents without a label.

        For single-label and multi-label; one pass over the selection's column.
        """
        assert self.objective != "regression"
        counts: Counter[str] = Counter()
        num_unlabelled = 0
        for table in self._dataset.tables():
            rows, names, is_labelled = self._named(table[self.column].filter(pa.array(selection.takes(table))))
            encoded = names.dictionary_encode()
            codes = encoded.indices.to_numpy()
            first = _first_of_each(rows, codes, len(encoded.dictionary))
            documents = np.bincount(codes[first], minlength=len(encoded.dictionary))
            counts.update(dict(zip(encoded.dictionary.to_pylist(), documents.tolist(), strict=True)))
            num_unlabelled += int((~is_labelled).sum())
        return counts, num_unlabelled

    def targets(self, table: pa.Table, labels: Sequence[str]) -> Targets:
        """Return the targets of a shard's documents, or of some of them; regression has no `labels`.

        Raises:
            ValueError: a document has a label that is not one of `labels`, or (regression) is not a finite number.
        """
        if self.objective == "regression":
            return Targets("regression", self._numbers(table))
        rows, names, is_labelled = self._named(table[self.column])
        found = pc.index_in(names, value_set=pa.array(labels, pa.string()))
        if found.null_count:
            place = int(np.flatnonzero(found.is_null())[0])
            raise ValueError(
                f"label {names[place].as_py()!r} of document {table['doc_id'][int(rows[place])].as_py()!r} is not one"
                f" of the {len(labels)} labels: {_listed(labels)}"
            )
        codes = found.to_numpy()
        if self.objective == "single-label":
            values = np.full(table.num_rows, -1, np.int32)
            values[rows] = codes
            return Targets("single-label", values)
        first = _first_of_each(rows, codes, len(labels))
        offsets = _offsets(np.bincount(rows[first], minlength=table.num_rows))
        return Targets("multi-label", codes[first], offsets, is_labelled)

    def _named(self, column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array, np.ndarray]:
        """Return the document of each label, rising; the labels' names; and which documents are labelled."""
        array = column.combine_chunks()
        is_labelled = array.is_valid().to_numpy(zero_copy_only=False)
        if self.objective == "single-label":
            names = array.cast(pa.string())
            is_labelled &= ~_is_blank(names)
            return np.flatnonzero(is_labelled), names.filter(pa.array(is_labelled)), is_labelled
        if self._separator:
            array = pc.split_pattern(array, self._separator)
        rows = np.repeat(np.arange(len(array)), pc.list_value_length(array).fill_null(0).to_numpy())
        names = array.flatten().cast(pa.string())
        if self._separator:
            names = pc.utf8_trim_whitespace(names)
            is_name = pc.not_equal(names, "")
        else:
            is_name = names.is_valid()
        return rows[is_name.to_numpy(zero_copy_only=False)], names.filter(is_name), is_labelled

    def _numbers(self, table: pa.Table) -> np.ndarray:
        array = table[self.column].combine_chunks()
        if types.is_string(array.type):
            numbers = np.full(len(array), np.nan)
            for row, text in enumerate(array.to_pylist()):
                if text and not text.isspace():
                    number = _number(text)
                    numbers[row] = np.inf if number is None else float(number)
        else:
            # A copy, which is not the file's memory; integers beyond 2**53 are rounded.
            numbers = np.array(array.cast(pa.float64(), safe=False).fill_null(np.nan))
        is_infinite = np.isinf(numbers)
        if is_infinite.any():
            row = int(np.argmax(is_infinite))
            raise ValueError(
                f"label {array[row].as_py()!r} of document {table['doc_id'][row].as_py()!r} is not a finite number,"
                f" and {self.objective} takes {TAKES[self.objective]}"
            )
        return numbers


def _is_blank(names: pa.Array) -> np.ndarray:
    """Return which of these are text of nothing but blanks, or of nothing, (N,) bool."""
    blank = pc.equal(pc.utf8_trim_whitespace(names), "").fill_null(False)
    return np.asarray(blank.to_numpy(zero_copy_only=False))


def _suited(kind: pa.DataType, separator: str) -> tuple[Objective, ...]:
    """Return the objectives that a column of this type may have, first the one that auto means."""
    suited: tuple[Objective, ...] = ()
    if separator or (types.is_list(kind) and _is_name(kind.value_type)):
        suited = ("multi-label",)
    elif types.is_floating(kind):
        suited = ("regression",)
    elif types.is_boolean(kind):
        suited = ("single-label",)
    elif _is_name(kind):
        suited = ("single-label", "regression")
    return suited


def _is_name(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_integer(kind) or types.is_boolean(kind)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return labels by number if every one is a number, else by code point."""
    found = {name: _number(name) for name in names}
    numbers = {name: number for name, number in found.items() if number is not None}
    if len(numbers) < len(found):
        return tuple(sorted(found))
    return tuple(sorted(numbers, key=lambda name: (numbers[name], name)))


def check_names(column: str, names: Iterable[str]) -> None:
    """Check labels of one column that nobody has named: mostly numbers among words are a mistake in the data.

    Raises:
        ValueError: some are numbers and others are not.
    """
    first: dict[bool, str] = {}
    for name in sorted(names):
        first.setdefault(_number(name) is not None, name)
    if len(first) == 2:
        raise ValueError(
            f"column {column!r} has labels of mixed types: {first[True]!r} is a number, {first[False]!r} is not;"
            " if this is meant, name all labels"
        )


def _number(text: str) -> Decimal | None:
    """Return the number that a text is, None if it is none or not finite."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - NAMES_SHOWN
    return ", ".join(labels[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _first_of_each(rows: np.ndarray, codes: np.ndarray, num_codes: int) -> np.ndarray:
    """Return where each label of a document stands first, by document and label."""
    return np.unique(rows * num_codes + codes, return_index=True)[1]


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
