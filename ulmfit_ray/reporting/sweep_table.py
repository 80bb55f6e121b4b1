"""The table of a sweep: one row a setting, on the terminal and as Parquet and CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ulmfit_ray.reporting.progress import duration
from ulmfit_ray.reporting.tables import format_number, print_table
from ulmfit_ray.storage.manifest import Figure
from ulmfit_ray.storage.trial_record import TrialRecord

SHOWN_FIGURES = ("perplexity", "loss", "accuracy", "f1")
"""Beside the one that is compared, those are shown on the terminal whose name begins so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRow:
    """One setting: what was tried and what came of it."""

    values: dict[str, Any]
    """Every field of the sweep's grids, in the same order in all rows."""
    record: TrialRecord
    figures: dict[str, Figure]
    """Of the model's manifest; of a setting that was stopped early the one that is compared, where it was stopped."""
    uri: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTable:
    """All settings of a sweep, and the figure they are compared by."""

    rows: Sequence[SweepRow]
    figure: str

    @property
    def is_high_good(self) -> bool:
        """Tell whether the best setting is the one with the largest figure."""
        return is_high_good(self.figure)

    @property
    def fields(self) -> list[str]:
        """Return the fields that were varied."""
        return list(self.rows[0].values)

    def figure_of(self, row: SweepRow) -> float | None:
        """Return the figure that is compared, None if the setting has none."""
        return row.figures.get(self.figure)

    @property
    def best(self) -> SweepRow | None:
        """Return the best of the finished settings; the first of equal ones."""
        found = [row for row in self.rows if row.record.state == "finished" and self.figure_of(row) is not None]
        best = max if self.is_high_good else min
        return best(found, key=lambda row: row.figures[self.figure], default=None)


def is_high_good(figure: str) -> bool:
    """Tell whether a large value of a figure is a good one."""
    return figure.startswith(("accuracy", "f1", "r2", "spearman"))


def figure_named(figures: Mapping[str, Figure], name: str) -> Figure | None:
    """Return a figure, None if there is none.

    A retriever with one block has no joint vectors beside this block's: its accuracy is that of the block.
    """
    if name == "accuracy_joint" and name not in figures:
        of_blocks = [value for other, value in figures.items() if other.startswith("accuracy_")]
        return of_blocks[0] if len(of_blocks) == 1 else None
    return figures.get(name)


def write_table(table: SweepTable, folder: Path) -> None:
    """Write sweep.parquet and sweep.csv into a local folder: fields, figures, state, seconds, problem, output.

    The last one is where a setting's model is: the option of that name cannot be varied, as --model can.
    """
    figures = _number_names(table)
    rows = []
    for row in table.rows:
        rows.append(
            {name: _plain(value) for name, value in row.values.items()}
            | {name: row.figures.get(name) for name in figures}
            | {"state": row.record.state, "seconds": round(row.record.seconds, 1), "is_best": row is table.best}
            | {"problem": row.record.problem, "output": row.uri}
        )
    arrow = pa.Table.from_pylist(rows)
    pq.write_table(arrow, folder / "sweep.parquet")
    pyarrow.csv.write_csv(arrow, folder / "sweep.csv")


def _number_names(table: SweepTable) -> list[str]:
    """Return the figures that are numbers, in the order of the manifests."""
    names: dict[str, None] = {}
    for row in table.rows:
        names |= dict.fromkeys(name for name, value in row.figures.items() if isinstance(value, int | float))
    return list(names)


def _plain(value: Any) -> Any:
    """Return a field's value as it stands in one cell; a list as a person types it."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def print_sweep(title: str, table: SweepTable, uri: str) -> None:
    """Print the table with the best row marked, where the sweep lies, and why settings failed."""
    others = [name for name in _number_names(table) if name.startswith(SHOWN_FIGURES) and name != table.figure]
    figures = [table.figure, *others]
    best = table.best
    rows = [
        ["*" if row is best else "", *(str(_plain(value)) for value in row.values.values())]
        + [shown_figure(name, row.figures.get(name)) for name in figures]
        + [duration(row.record.seconds) if row.record.seconds else "", row.record.state]
        for row in table.rows
    ]
    right = [*table.fields, *figures, "time"]
    print_table(title, ["", *table.fields, *figures, "time", "state"], rows, right=right)
    if best is not None:
        print(f"* best {table.figure}: {best.uri}")
    elif _number_names(table):
        print(f"no finished setting has the figure {table.figure}; there are {', '.join(_number_names(table))}")
    print(f"table and picture: {uri}/sweep.csv, sweep.parquet, sweep.png")
    for row in table.rows:
        if row.record.problem:
            print(f"{row.record.name} failed: {row.record.problem}")


def shown_figure(name: str, value: Figure) -> str:
    """Return a figure as a person reads it, "-" for none."""
    if value is None:
        return "-"
    return f"{value:.1%}" if is_high_good(name) else format_number(value)
