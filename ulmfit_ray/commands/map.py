"""Embedding dataset -> a map: a picture for papers, a page to look around in, and a table of places and clusters.

In one process. What is held in memory: the vectors of the sample, two numbers for each document, the column that
colours the map, and the texts of the documents on the page.
"""

import time
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.commands.map_files import PAGE, PICTURE, TABLE, MapColumns, write_files
from ulmfit_ray.commands.map_layout import lay_out, shuffled
from ulmfit_ray.commands.map_words import names_by_titles, names_by_tokens
from ulmfit_ray.config import ConfigError, OutputRun, operational
from ulmfit_ray.lifecycle import claim_output, output_lease, print_dry_run
from ulmfit_ray.reporting.map_colors import COLORS, Groups
from ulmfit_ray.reporting.tables import print_clusters, print_summary
from ulmfit_ray.retrieval.map import require_open_tsne
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.manifest import Figure, Manifest, write_manifest
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.token_dataset import TokenDataset

VERB = "map"
LEAST_SAMPLE = 100
MOST_ON_PAGE = 100_000
"""A browser moves so many points smoothly; of more documents the page shows so many, the sample first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapConfig(OutputRun):
    """Draw the documents of an embedding dataset so that similar ones lie close together."""

    embeddings: str
    """Embedding dataset of the documents."""
    output: str = operational()
    """Directory or URI of the map."""
    tokens: str | None = None
    """Token dataset of the same documents: clusters are named by its words, without it by words of the titles."""
    color: str | None = None
    """Kept column that colours the map, or num_tokens (default: the clusters)."""
    title: str | None = None
    """Kept column that names a document on the page (default: title where it was kept, else the documents' ids)."""
    clusters: int = 12
    """Number of clusters, 1 to 20, by k-means over the vectors."""
    sample: int = 50_000
    """The map is made of at most so many documents, drawn by a hash of their ids; the others are placed into it."""
    perplexity: float = 30.0
    """Neighbours that t-SNE counts for a document: few show small groups, many the large ones."""
    seed: int = 0
    """What chance depends on: the sample, the clusters, where t-SNE begins."""

    def __post_init__(self) -> None:
        if not 1 <= self.clusters <= len(COLORS):
            raise ConfigError(f"--clusters must lie between 1 and {len(COLORS)}, which colours can tell apart")
        if self.sample < LEAST_SAMPLE:
            raise ConfigError(f"--sample must be at least {LEAST_SAMPLE}")
        if not self.perplexity >= 1:
            raise ConfigError("--perplexity must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ConfigError("--seed must lie between 0 and 4294967295")


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a map is made from."""

    embeddings: EmbeddingDataset
    tokens: TokenDataset | None
    columns: MapColumns

    @classmethod
    def of(cls, config: MapConfig) -> "_Inputs":
        """Open what the options name.

        Raises:
            ConfigError: there are no documents, or a column is not there.
        """
        embeddings = EmbeddingDataset(config.embeddings)
        tokens = None if config.tokens is None else TokenDataset(config.tokens)
        if not embeddings.manifest.counts.num_documents:
            raise ConfigError(f"{embeddings.folder.uri} has no documents: there is nothing to draw")
        return cls(embeddings, tokens, MapColumns.chosen(embeddings, title=config.title, color=config.color))

    def fingerprints(self) -> dict[str, str]:
        """Return what the output is refused by when it is made from something else."""
        own = {} if self.tokens is None else {"tokens": self.tokens.fingerprint}
        return {"embeddings": self.embeddings.fingerprint} | own


def run(config: MapConfig) -> Manifest | None:
    """Make the map, print what it shows, and return the manifest (None after --dry-run)."""
    require_open_tsne()
    inputs = _Inputs.of(config)
    is_finished = Folder(config.output).exists("manifest.json") and not config.overwrite
    # Before the output is claimed: tokens of other documents leave nothing there.
    order = None if is_finished else shuffled(inputs.embeddings, inputs.tokens, config.seed)
    with output_lease(VERB, config):
        folder, manifest = claim_output(VERB, config, inputs=inputs.fingerprints())
        if manifest is not None:
            _print("complete, nothing to do", manifest, folder)
            return manifest
        assert order is not None
        if config.dry_run:
            num_sampled = min(config.sample, len(order))
            print_dry_run(config, f"{len(order):,} documents, {num_sampled:,} of them in the sample")
            return None
        manifest = _make(config, inputs, order, folder)
    _print(VERB, manifest, folder)
    return manifest


def _make(config: MapConfig, inputs: _Inputs, order: np.ndarray, folder: Folder) -> Manifest:
    """Make the files of the map, publish them, and return the manifest; `order` has all documents, the sample first."""
    began = time.monotonic()
    embeddings, columns = inputs.embeddings, inputs.columns
    sample = order[: config.sample]
    layout = lay_out(embeddings, sample, num_clusters=config.clusters, perplexity=config.perplexity, seed=config.seed)
    if inputs.tokens is None:
        names = names_by_titles(embeddings, columns.title, layout.clusters)
    else:
        names = names_by_tokens(inputs.tokens, layout.clusters)
    clusters = Groups("cluster", tuple(names), layout.clusters.astype(np.uint8))
    with scratch_directory() as scratch:
        on_page = np.sort(order[:MOST_ON_PAGE])
        write_files(scratch, embeddings, columns, layout.positions, clusters, on_page)
        files = {name: sha256_file(scratch / name) for name in (TABLE, PICTURE, PAGE)}
        for name in files:
            folder.publish(scratch / name, name)
    figures: dict[str, Figure] = {
        "num_documents": len(order),
        "num_sampled": len(sample),
        **layout.figures(),
        "clusters": dict(zip(names, clusters.sizes.tolist(), strict=False)),
        "seconds": time.monotonic() - began,
    }
    made_from = embeddings.manifest
    manifest = Manifest(
        job=VERB,
        vocab=made_from.vocab,
        tokenizer=made_from.tokenizer,
        model=made_from.model,
        pooling=made_from.pooling,
        files=files,
        figures=figures,
    )
    return write_manifest(folder, manifest)


def _print(title: str, manifest: Manifest, folder: Folder) -> None:
    figures = dict(manifest.figures)
    print_clusters(figures.pop("clusters"))
    print_summary(title, figures | {"output": folder.uri})
