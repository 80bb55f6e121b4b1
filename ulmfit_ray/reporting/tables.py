"""Tables on the terminal: a job's closing summary, figures side by side, hits of a search."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_summary(title: str, rows: Mapping[str, object]) -> None:
    """Print a job's closing table: whole numbers with separators, the output last."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(justify="left")
    table.add_column(justify="right", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, format_number(value))
    _print(table)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print rows of text under named columns; those named in `right` are set flush right."""
    table = Table(title=Text(title), title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*row)
    _print(table)


def print_clusters(clusters: Mapping[str, int]) -> None:
    """Print the clusters of a map: their names, and how many documents each has."""
    rows = [[name, f"{size:,}"] for name, size in clusters.items()]
    print_table("clusters", ["typical words", "documents"], rows, right=["documents"])


def _print(table: Table) -> None:
    # Markup off: brackets in titles and paths are text. Not a terminal: wide enough that nothing is cut.
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120).print(table)


def format_number(value: object) -> str:
    """Return a number as a person reads it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.2f}"
