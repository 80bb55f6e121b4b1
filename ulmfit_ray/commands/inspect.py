"""What a directory is, whether it is complete, and a few of its rows."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console

from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError, Run
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, read_manifest
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS, TokenDataset

NOT_SHOWN = ("files", "job", "format_version")
SHOWN_TOKENS = 40
SHOWN_NUMBERS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectConfig(Run):
    """Show the manifest of a token dataset, a model or an embedding dataset, and a few of its documents."""

    input: Annotated[str, tyro.conf.Positional]
    """Directory or URI to show."""
    rows: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 3
    """Number of documents to show (a model has none)."""

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ConfigError("-n (--rows) must not be negative")


def run(config: InspectConfig) -> Manifest:
    """Print the manifest's figures and a few rows, and return the manifest."""
    folder = Folder(config.input)
    manifest = read_manifest(folder)
    figures = {name: value for name, value in manifest.to_json().items() if name not in NOT_SHOWN}
    print_summary(f"{manifest.job}, complete", figures | {"output": folder.uri})
    console = Console(highlight=False, markup=False)
    console.print(f"made with: {read_job(folder).command}\n", soft_wrap=True)
    if manifest.job == "tokenize":
        _show_tokens(console, TokenDataset(config.input), config.rows)
    elif manifest.job == "embed":
        _show_vectors(console, EmbeddingDataset(config.input), config.rows)
    else:
        console.print(json.dumps(folder.read_json("config.json")["model"], indent=2))
    return manifest


def _first_rows(dataset: TokenDataset | EmbeddingDataset, num_rows: int) -> list[dict[str, Any]]:
    """Return the first rows, out of as many shards as it takes."""
    rows: list[dict[str, Any]] = []
    for table in shard_tables(dataset):
        rows += table.slice(0, num_rows - len(rows)).to_pylist()
        if len(rows) == num_rows:
            break
    return rows


def _show_tokens(console: Console, dataset: TokenDataset, num_rows: int) -> None:
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    for row in _first_rows(dataset, num_rows):
        ids = row.pop("tokens")
        more = f" ... ({len(ids):,} tokens)" if len(ids) > SHOWN_TOKENS else ""
        console.print({name: value for name, value in row.items() if name not in FIELD_COLUMNS})
        console.print("    " + " ".join(itos[token_id] for token_id in ids[:SHOWN_TOKENS]) + more)


def _show_vectors(console: Console, dataset: EmbeddingDataset, num_rows: int) -> None:
    for row in _first_rows(dataset, num_rows):
        vector = row.pop("embedding")
        numbers = ", ".join(f"{value:.4f}" for value in vector[:SHOWN_NUMBERS])
        console.print(row)
        console.print(f"    [{numbers}, ...] ({len(vector)} numbers)")
