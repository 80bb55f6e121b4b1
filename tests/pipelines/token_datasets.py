"""What tests ask of token datasets that the tokenize job makes."""

from pathlib import Path

from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.folder import sha256_file
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.token_dataset import TokenDataset


def tokenized(config: TokenizeConfig) -> Manifest:
    """Run the job and return its manifest."""
    manifest = run(config)
    assert manifest is not None
    return manifest


def shard_hashes(output: str) -> dict[str, str]:
    """Return the SHA-256 of each shard by its name."""
    return {path.name: sha256_file(path) for path in sorted(Path(output, "shards").iterdir())}


def documents(output: str) -> dict[str, list[str]]:
    """Return each document's tokens by its id."""
    dataset = TokenDataset(output)
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    rows = (row for table in dataset.tables() for row in table.to_pylist())
    return {row["doc_id"]: [itos[token_id] for token_id in row["tokens"]] for row in rows}
