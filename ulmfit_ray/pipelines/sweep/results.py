"""What comes out of a sweep: its table and picture, made of the models' own manifests, and its manifest."""

from collections.abc import Mapping, Sequence
from typing import Any

from ulmfit_ray.reporting.sweep_plot import sweep_plot
from ulmfit_ray.reporting.sweep_table import SweepRow, SweepTable, figure_named, write_table
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Figure, Manifest, read_manifest, write_manifest
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.trial_record import TrialRecord

FILES = ("sweep.parquet", "sweep.csv", "sweep.png")


def table_of(
    folder: Folder, records: Sequence[TrialRecord], figure: str, base: Mapping[str, Any]
) -> tuple[SweepTable, list[Manifest]]:
    """Return the table of these settings, and the manifests of the finished ones.

    `base` has the values, by field, of what a setting does not name: grids of several runs may name other fields.
    """
    names = list(dict.fromkeys(name for record in records for name in record.values))
    rows, manifests = [], []
    for record in records:
        uri = f"{folder.uri}/{record.name}"
        figures: dict[str, Figure] = {}
        if record.state == "finished":
            manifests.append(read_manifest(Folder(uri)))
            figures = dict(manifests[-1].figures)
            compared = figure_named(figures, figure)
            figures |= {} if compared is None else {figure: compared}
        elif record.epochs and record.state == "stopped early":
            figures = {figure: record.epochs[-1][1]}
        values = {name: record.values.get(name, base.get(name)) for name in names}
        rows.append(SweepRow(values=values, record=record, figures=figures, uri=uri))
    return SweepTable(rows=rows, figure=figure), manifests


def write_results(folder: Folder, table: SweepTable) -> None:
    """Publish the table and the picture."""
    with scratch_directory() as scratch:
        write_table(table, scratch)
        picture = sweep_plot(table)
        if picture is not None:
            (scratch / "sweep.png").write_bytes(picture)
        for name in FILES:
            if (scratch / name).exists():
                folder.publish(scratch / name, name)


def write_sweep_manifest(folder: Folder, verb: str, table: SweepTable, models: Sequence[Manifest]) -> None:
    """Write the manifest: nothing is left to be done."""
    vocabs, tokenizers = {model.vocab for model in models}, {model.tokenizer for model in models}
    states = [row.record.state for row in table.rows]
    figures: dict[str, Figure] = {"num_settings": len(states), "num_stopped_early": states.count("stopped early")}
    if table.best is not None:
        figures |= {"best": table.best.record.name, f"best_{table.figure}": table.figure_of(table.best)}
    manifest = Manifest(
        job=verb,
        # Of the models, where they have one in common.
        vocab=vocabs.pop() if len(vocabs) == 1 else "",
        tokenizer=tokenizers.pop() if len(tokenizers) == 1 else "",
        files={name: folder.sha256(name) for name in FILES if folder.exists(name)},
        figures=figures,
    )
    write_manifest(folder, manifest)
