"""What `evaluate retrieval` writes beside its figures: values of single queries, and results that trec_eval reads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.judgments import Query
from ulmfit_ray.retrieval.search import Hits
from ulmfit_ray.storage.scratch import scratch_directory


def run_file(folder: str, system: str) -> str:
    """Return the file of a system's results."""
    return f"{folder.rstrip('/')}/{_tag(system)}.run"


def _tag(system: str) -> str:
    return system.replace(" + ", "+").replace(" ", "-")


def check_runs(folder: str, systems: Iterable[str], ids: Iterable[str], *, overwrite: bool) -> None:
    """Raise ConfigError if a run file is there already, or an id has a space in it, which parts the columns there."""
    for system in systems:
        refuse_existing(run_file(folder, system), overwrite, "--runs")
    for own in ids:
        if not own or len(own.split()) != 1 or own != own.strip():
            raise ConfigError(f"--runs: id {own!r} cannot stand in a run file, whose columns are parted by spaces")


def write_runs(folder: str, found: Mapping[str, Hits], queries: Sequence[Query], doc_ids: Sequence[str]) -> None:
    """Write each system's results: query, "Q0", document, rank, score, system.

    trec_eval sorts by score, so equal scores would change places: a score is written with all its digits.
    """
    for system, hits in found.items():
        place, name = place_of(run_file(folder, system))
        place.publish_bytes("".join(_lines(_tag(system), hits, queries, doc_ids)).encode(), name)
    print(f"results of {len(found)} systems written to {folder}")


def _lines(tag: str, hits: Hits, queries: Sequence[Query], doc_ids: Sequence[str]) -> Iterator[str]:
    for query, rows, scores in zip(queries, hits.rows, hits.scores, strict=True):
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1):
            yield f"{query.query_id} Q0 {doc_ids[row]} {rank} {float(score)!r} {tag}\n"


def write_per_query(output: str, values: Mapping[str, Mapping[str, np.ndarray]], queries: Sequence[Query]) -> None:
    """Write a row for each system and query, with a column for each metric."""
    ids, texts = [query.query_id for query in queries], [query.text for query in queries]
    tables = [
        pa.table({"system": [system] * len(ids), "query_id": ids, "query": texts} | dict(metrics))
        for system, metrics in values.items()
    ]
    folder, name = place_of(output)
    with scratch_directory() as scratch:
        pq.write_table(pa.concat_tables(tables), scratch / name)
        folder.publish(scratch / name, name)
    print(f"{len(ids):,} queries of {len(values)} systems written to {output}")
