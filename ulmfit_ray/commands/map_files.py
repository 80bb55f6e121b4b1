"""The files of a map: a table of all documents, a picture, a page. One pass over the embedding dataset makes all three.

What is held in memory: the column that colours the map, and the texts of the documents on the page.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.commands.shards import column_tables
from ulmfit_ray.config import ConfigError
from ulmfit_ray.reporting.map_colors import Groups, coloring_of
from ulmfit_ray.reporting.map_page import map_page, page_texts
from ulmfit_ray.reporting.map_plot import map_png
from ulmfit_ray.storage.embedding_dataset import OWN_COLUMNS as OF_VECTORS
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset

TABLE, PICTURE, PAGE = "map.parquet", "map.png", "map.html"
OWN_COLUMNS = ("doc_id", "x", "y", "cluster")
USUAL_TITLE = "title"


@dataclass(frozen=True, slots=True)
class MapColumns:
    """Which columns of an embedding dataset a map shows."""

    kept: tuple[str, ...]
    """Number of tokens, and the kept columns."""
    title: str
    """One of them, or doc_id."""
    color: str | None
    """One of them, or None: the clusters colour the map."""

    @classmethod
    def chosen(cls, embeddings: EmbeddingDataset, *, title: str | None, color: str | None) -> "MapColumns":
        """Return what the options ask for.

        Raises:
            ConfigError: a column is not there.
        """
        hidden = {"doc_id", *OF_VECTORS} - {"num_tokens"}
        kept = tuple(name for name in embeddings.columns(embeddings.shards[0]) if name not in hidden)
        for option, name in (("--title", title), ("--color", color)):
            if name is not None and name not in kept:
                there = f"columns there are {', '.join(kept)}; others come with `tokenize --keep-columns`"
                raise ConfigError(f"{option} {name}: {embeddings.folder.uri} has no such column; {there}")
        return cls(kept, title or (USUAL_TITLE if USUAL_TITLE in kept else "doc_id"), color)


def write_files(
    scratch: Path,
    embeddings: EmbeddingDataset,
    columns: MapColumns,
    positions: np.ndarray,
    clusters: Groups,
    on_page: np.ndarray,
) -> None:
    """Write the files of a map into a local directory.

    `positions` are those of all documents (N, 2); `on_page` are the rising numbers of the documents that the page has.
    """
    names = [columns.title, *(name for name in ("doc_id", *columns.kept) if name != columns.title)]
    texts: dict[str, list[str]] = {name: [] for name in names}
    colors: list[pa.Array] = []
    first, writer = 0, None
    for table in column_tables(embeddings, ["doc_id", *columns.kept]):
        rows = slice(first, first + table.num_rows)
        part = _table(table, positions[rows], clusters, clusters.numbers[rows])
        writer = writer or pq.ParquetWriter(scratch / TABLE, part.schema, compression="zstd")
        writer.write_table(part)
        own = on_page[slice(*np.searchsorted(on_page, (rows.start, rows.stop)))] - first
        shown = table.take(pa.array(own))
        for name in names:
            texts[name] += page_texts(shown[name].to_pylist())
        if columns.color is not None:
            colors += table[columns.color].chunks
        first += table.num_rows
    assert writer is not None
    writer.close()
    by_column = [] if columns.color is None else [coloring_of(columns.color, pa.chunked_array(colors))]
    picture = map_png(positions, [*by_column, clusters][0], names_on_map=not by_column)
    (scratch / PICTURE).write_bytes(picture)
    page = map_page(
        positions[on_page],
        texts,
        [coloring.at(on_page) for coloring in by_column],
        clusters.at(on_page),
        num_documents=len(positions),
    )
    (scratch / PAGE).write_bytes(page)


def _table(table: pa.Table, positions: np.ndarray, clusters: Groups, numbers: np.ndarray) -> pa.Table:
    """Return the rows of some documents; `document_` stands before a kept column that is called like one of ours."""
    own = {
        "doc_id": table["doc_id"],
        "x": pa.array(positions[:, 0]),
        "y": pa.array(positions[:, 1]),
        "cluster": pa.array(clusters.labels).take(pa.array(numbers)),
    }
    kept = {
        f"document_{name}" if name in OWN_COLUMNS else name: table[name]
        for name in table.schema.names
        if name != "doc_id"
    }
    return pa.table(own | kept)
