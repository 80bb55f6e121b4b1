"""Rows of a table as a sequence of dataclass objects, each made when it is looked at.

A million units, input files or receipts take one to two gigabytes as Python's objects, and a fifth of it as Arrow's
columns. What goes over all of them at once works on `table`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, Generic, Self, TypeVar, overload

import pyarrow as pa
import pyarrow.compute as pc

Row = TypeVar("Row")
ROWS_AT_ONCE = 10_000
"""So many are Python's objects at the same time."""


class Rows(Sequence[Row], Generic[Row]):
    """A table whose columns are the fields of the dataclass `row_type`, in their order."""

    row_type: type[Row]
    schema: pa.Schema

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """Return these rows; as they are if they are in columns already."""
        if isinstance(rows, cls):
            return rows
        left, batches = iter(rows), []
        while some := list(islice(left, ROWS_AT_ONCE)):
            batches.append(cls.batch(some))
        return cls(pa.Table.from_batches(batches, schema=cls.schema))

    @classmethod
    def batch(cls, rows: Sequence[Row]) -> pa.RecordBatch:
        """Return some rows as columns."""
        columns = (pa.array([cls.cell(row, item.name) for row in rows], item.type) for item in cls.schema)
        return pa.RecordBatch.from_arrays(list(columns), schema=cls.schema)

    @staticmethod
    def cell(row: Row, name: str) -> Any:
        """Return one field of a row as Arrow takes it."""
        return getattr(row, name)

    def __len__(self) -> int:
        return self.table.num_rows

    def __iter__(self) -> Iterator[Row]:
        for batch in self.table.to_batches(max_chunksize=ROWS_AT_ONCE):
            yield from self._rows(batch)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> "Row | Self":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            assert step == 1, "rows are cut, not skipped"
            return type(self)(self.table.slice(start, max(0, stop - start)))
        number = range(len(self))[index]
        (row,) = self._rows(self.table.slice(number, 1))
        return row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_are_equal, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"

    def take(self, places: pa.Array) -> Self:
        """Return the rows with these numbers, in their order."""
        return type(self)(self.table.take(places))

    def sorted_by(self, name: str) -> Self:
        """Return the rows in the order of a column."""
        return self.take(pc.sort_indices(self.table, [(name, "ascending")]))

    def filter(self, mask: pa.Array | pa.ChunkedArray) -> Self:
        """Return the rows for which the mask is true."""
        return type(self)(self.table.filter(mask))

    def _rows(self, part: pa.RecordBatch | pa.Table) -> Iterator[Row]:
        names = [item.name for item in fields(self.row_type)]  # type: ignore[arg-type]
        columns = (part[name].to_pylist(maps_as_pydicts="strict") for name in names)
        for values in zip(*columns, strict=True):
            yield self.row_type(**dict(zip(names, values, strict=True)))


def _are_equal(one: object, other: object) -> bool:
    return one == other
