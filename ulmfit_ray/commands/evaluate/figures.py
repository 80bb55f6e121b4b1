"""The figures of systems beside each other, and in detail those of one of them beside the baseline's.

N documents with a label, C labels.
"""

from collections.abc import Sequence
from typing import Any

from ulmfit_ray.commands.evaluate.labelled import LabelledShards
from ulmfit_ray.commands.evaluate.systems import System
from ulmfit_ray.evaluation.classification import (
    by_length,
    figures_of_classes,
    figures_of_numbers,
    figures_of_several,
    per_class,
    per_label,
)
from ulmfit_ray.reporting.tables import print_table

SHOWN = {
    "single-label": ("accuracy", "error", "standard_error", "macro_f1", "log_loss", "calibration_error"),
    "multi-label": ("micro_f1", "macro_f1", "exact_match", "label_ranking_average_precision", "log_loss"),
    "regression": ("rmse", "mae", "r2", "spearman"),
}
"""Figures in the table, by objective."""
SHOWN_LABELS = 50
"""With more labels the table of labels has only the first ones; the file has all."""


def figures_of(system: System, documents: LabelledShards) -> dict[str, float]:
    """Return the figures of one system: see evaluation.classification."""
    if documents.objective == "single-label":
        return figures_of_classes(documents.targets, system.numbers)
    if documents.objective == "multi-label":
        return figures_of_several(documents.targets, system.numbers, system.thresholds)
    return figures_of_numbers(documents.targets, system.numbers)


def of_each_label(system: System, baseline: System, documents: LabelledShards) -> list[dict[str, Any]]:
    """Return a row for each label, with the baseline's F1 beside; none of a regression."""
    rows, others = (_of_each_label(one, documents) for one in (system, baseline))
    return [row | {"baseline_f1": other["f1"]} for row, other in zip(rows, others, strict=True)]


def _of_each_label(system: System, documents: LabelledShards) -> list[dict[str, Any]]:
    if documents.objective == "single-label":
        return per_class(documents.targets, system.numbers, documents.labels)
    if documents.objective == "multi-label":
        return per_label(documents.targets, system.numbers, system.thresholds, documents.labels)
    return []


def of_each_length(system: System, baseline: System, documents: LabelledShards) -> list[dict[str, Any]]:
    """Return a row for each range of lengths, with the baseline's accuracy beside; only where there is one label."""
    if documents.objective != "single-label":
        return []
    rows, others = (
        by_length(documents.num_tokens, one.numbers.argmax(axis=1) == documents.targets) for one in (system, baseline)
    )
    return [row | {"baseline_accuracy": other["accuracy"]} for row, other in zip(rows, others, strict=True)]


def print_figures(title: str, objective: str, result: dict[str, Any], detailed: str) -> None:
    """Print the tables of a result; those in detail are about the system `detailed`."""
    names: tuple[str, ...] = SHOWN[objective]
    _print(title, "system", names, [(name, row) for name, row in result["systems"].items()])
    rows = result["per_class"]
    if rows:
        part = "" if len(rows) <= SHOWN_LABELS else f", the first {SHOWN_LABELS} of {len(rows):,} labels"
        names = ("count", "precision", "recall", "f1", "baseline_f1")
        _print(f"{detailed}{part}", "label", names, [(row["label"], row) for row in rows[:SHOWN_LABELS]])
    if result["by_length"]:
        names = ("documents", "accuracy", "baseline_accuracy")
        _print(f"{detailed}, by length", "tokens", names, [(_range(row), row) for row in result["by_length"]])


def _print(title: str, first: str, names: Sequence[str], rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    columns = [name.replace("baseline", "TF-IDF").replace("_", " ") for name in names]
    cells = [[name, *(_cell(row.get(column)) for column in names)] for name, row in rows]
    print_table(title, [first, *columns], cells, right=columns)


def _cell(value: float | None) -> str:
    """Return a number as it stands in a table: counts whole, all else with four digits, "" where there is none."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _range(row: dict[str, Any]) -> str:
    return f"over {row['from'] - 1:,}" if row["to"] is None else f"{row['from']:,} to {row['to']:,}"
