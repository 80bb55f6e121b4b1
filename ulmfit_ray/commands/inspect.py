"""What a directory is, whether it is complete, and a few of its rows."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError, Run
from ulmfit_ray.reporting.corpus import print_corpus, visible
from ulmfit_ray.reporting.tables import print_clusters, print_summary
from ulmfit_ray.storage.embedding_dataset import SCALE, EmbeddingDataset
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, read_manifest
from ulmfit_ray.storage.neighbour_dataset import NeighbourDataset
from ulmfit_ray.storage.parquet_dataset import ParquetDataset
from ulmfit_ray.storage.prediction_dataset import PredictionDataset
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS, TokenDataset
from ulmfit_ray.streams.language_model import LMStream
from ulmfit_ray.streams.selection import everything
from ulmfit_ray.text.decode import text_of

NOT_SHOWN = ("files", "job", "format_version", "document_lengths", "most_frequent_tokens", "clusters")
SHOWN_TOKENS = 100
SHOWN_NUMBERS = 6
SHOWN_LABELS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectConfig(Run):
    """Show the manifest of a token dataset, a model, embeddings, predictions or a map, and a few of its documents."""

    input: Annotated[str, tyro.conf.Positional]
    """Directory or URI to show."""
    rows: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 3
    """Number of documents to show, or of rows of the batch (a model has none)."""
    batch: bool = False
    """Show a batch of a language model's training instead of documents: what it reads and what it is to predict."""
    bptt: int = 16
    """Tokens in each row of the batch."""

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ConfigError("-n (--rows) must not be negative")
        if self.batch and (self.rows < 1 or self.bptt < 1):
            raise ConfigError("--batch needs -n (--rows) and --bptt of at least 1")


def run(config: InspectConfig) -> Manifest:
    """Print the manifest's figures and a few rows, and return the manifest."""
    folder = Folder(config.input)
    manifest = read_manifest(folder)
    if config.batch and manifest.job != "tokenize":
        raise ConfigError(f"{folder.uri} is an output of `{manifest.job}`: only a token dataset has batches (--batch)")
    figures = {name: value for name, value in manifest.to_json().items() if name not in NOT_SHOWN}
    print_summary(f"{manifest.job}, complete", figures | {"output": folder.uri})
    console = Console(highlight=False, markup=False)
    console.print(f"made with: {read_job(folder).command}\n", soft_wrap=True)
    if manifest.job == "tokenize":
        if "document_lengths" in manifest.figures:
            print_corpus(manifest)
        show = _show_batch if config.batch else _show_documents
        show(console, TokenDataset(config.input), config)
    elif manifest.job == "embed":
        _show_vectors(console, EmbeddingDataset(config.input), config.rows)
    elif manifest.job == "classify":
        _show_predictions(console, PredictionDataset(config.input), config.rows)
    elif manifest.job == "neighbours":
        _show_neighbours(console, NeighbourDataset(config.input), config.rows)
    elif manifest.job == "map":
        print_clusters(manifest.figures["clusters"])
    elif manifest.job.startswith("sweep "):
        console.print(folder.read_bytes("sweep.csv").decode(), soft_wrap=True)
    elif "model" in (content := folder.read_json("config.json")):
        console.print(json.dumps(content["model"], indent=2))
    return manifest


def _first_rows(dataset: TokenDataset | ParquetDataset, num_rows: int) -> list[dict[str, Any]]:
    """Return the first rows, out of as many shards as it takes."""
    rows: list[dict[str, Any]] = []
    for table in shard_tables(dataset):
        rows += table.slice(0, num_rows - len(rows)).to_pylist()
        if len(rows) == num_rows:
            break
    return rows


def _show_documents(console: Console, dataset: TokenDataset, config: InspectConfig) -> None:
    """Print documents as text, field by field."""
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    kind = dataset.folder.read_json("tokenizer.json")["kind"]
    for row in _first_rows(dataset, config.rows):
        tokens = [itos[token_id] for token_id in row.pop("tokens")]
        starts, ends = (row.pop(name, [place]) for name, place in zip(FIELD_COLUMNS, (0, len(tokens)), strict=True))
        console.print(row)
        for name, start, end in zip(dataset.text_columns, starts, ends, strict=True):
            more = f" ... ({end - start:,} tokens)" if end - start > SHOWN_TOKENS else ""
            text = text_of(tokens[start : min(end, start + SHOWN_TOKENS)], kind).strip("\n")
            console.print(f"    {name}: {text}{more}")


def _show_batch(console: Console, dataset: TokenDataset, config: InspectConfig) -> None:
    """Print the first batch of the language model's stream, as if a batch had so many rows: tokens, and their next."""
    stream = LMStream(
        dataset,
        everything(dataset),
        global_batch_size=config.rows,
        bptt=config.bptt,
        columns=slice(config.rows),
        seed=0,
        remedy="lower -n (--rows)",
    )
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    for number, row in enumerate(next(stream.windows(epoch=0)), 1):
        tokens = [visible(itos[token_id]) for token_id in row.tolist()]
        console.print(f"row {number}  reads     {' '.join(tokens[:-1])}", soft_wrap=True)
        console.print(f"{' ' * len(f'row {number}')}  predicts  {' '.join(tokens[1:])}", soft_wrap=True)


def _show_vectors(console: Console, dataset: EmbeddingDataset, num_rows: int) -> None:
    for row in _first_rows(dataset, num_rows):
        vector = np.array(row.pop("embedding"), np.float32) * row.pop(SCALE, 1)
        row.pop("tokens", None)
        numbers = ", ".join(f"{value:.4f}" for value in vector[:SHOWN_NUMBERS])
        console.print(row)
        console.print(f"    [{numbers}, ...] ({len(vector)} numbers)")


def _show_neighbours(console: Console, dataset: NeighbourDataset, num_rows: int) -> None:
    for row in _first_rows(dataset, num_rows):
        found = zip(*(row.pop(name) for name in ("neighbours", "cosines", "rows")), strict=True)
        console.print(row)
        for doc_id, cosine, _ in found:
            console.print(f"    {cosine:.3f}  {doc_id}")


def _show_predictions(console: Console, dataset: PredictionDataset, num_rows: int) -> None:
    """Print documents with what was predicted, and the most probable labels if it is labels."""
    for row in _first_rows(dataset, num_rows):
        probabilities = row.pop("probabilities", [])
        console.print(row)
        found = sorted(zip(probabilities, dataset.labels, strict=True), key=lambda pair: -pair[0])
        shown = [f"{label} {probability:.4f}" for probability, label in found[:SHOWN_LABELS]]
        more = [f"... ({len(found):,} labels)"] if len(found) > SHOWN_LABELS else []
        if shown:
            console.print(f"    {', '.join(shown + more)}", soft_wrap=True)
