"""Embedding dataset -> an index that answers a query without a look at every vector, in one process."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ulmfit_ray.commands.scoring import check_documents, index_words
from ulmfit_ray.commands.shards import vector_blocks
from ulmfit_ray.config import ConfigError, OutputRun
from ulmfit_ray.lifecycle import claim_output, output_lease, print_dry_run, refuse_output_inside
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.retrieval.bm25 import BM25Options
from ulmfit_ray.retrieval.faiss_index import (
    LEAST_FOR_IVF_PQ,
    Kind,
    VectorIndex,
    kind_for,
    num_training_vectors,
    require_faiss,
)
from ulmfit_ray.retrieval.hybrid import MomentSums
from ulmfit_ray.retrieval.recall import NUM_HITS, choose_effort, milliseconds_per_query, without_own
from ulmfit_ray.retrieval.search import nearest
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Figure, Manifest
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.storage.search_index import MOMENTS_FILE, WORDS_FOLDER, publish_index
from ulmfit_ray.storage.token_dataset import TokenDataset

SEED = 0
"""Of what is drawn: the vectors that an index learns from, and the documents that judge it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig(OutputRun):
    """Make an index of an embedding dataset, for searches over many documents."""

    embeddings: str
    """Embedding dataset of the documents."""
    output: str
    """Directory of the index; a local one, if searches are to begin at once."""
    tokens: str | None = None
    """Token dataset of the documents: their words are indexed too, for `search --hybrid`."""
    kind: Literal["auto", "flat", "hnsw", "ivf-pq"] = "auto"
    """flat compares all vectors, exactly; hnsw goes from neighbour to neighbour in memory; ivf-pq is for more vectors
    than the memory holds. auto: flat up to 200 MB of vectors, hnsw up to 4 GB, else ivf-pq."""
    recall: float = 0.95
    """Part of the ten nearest documents that a search should find. The least effort that finds it is measured, and
    kept with the index."""
    sample: int = 500
    """Documents that are searched for, once exactly and then with the index, to measure the recall."""
    bm25: BM25Options = field(default_factory=BM25Options)

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise ConfigError("--recall must be over 0 and at most 1")
        if self.sample < 1:
            raise ConfigError("--sample must be at least 1")


def run(config: IndexConfig) -> Manifest | None:
    """Make the index, and return its manifest (None after --dry-run)."""
    require_faiss()
    embeddings = EmbeddingDataset(config.embeddings)
    tokens = None if config.tokens is None else TokenDataset(config.tokens)
    refuse_output_inside(config.output, [config.embeddings, *([config.tokens] if config.tokens else [])])
    kind = _chosen_kind(config, embeddings)
    inputs = {"embeddings": embeddings.fingerprint} | ({} if tokens is None else {"tokens": tokens.fingerprint})
    with output_lease("index", config):
        if tokens is not None:
            _check_tokens(embeddings, tokens)
        folder, manifest = claim_output("index", config, inputs=inputs)
        if manifest is not None:
            print_summary("complete, nothing to do", {**_shown(manifest), "output": folder.uri})
            return manifest
        if config.dry_run:
            num_documents = embeddings.manifest.counts.num_documents
            print_dry_run(config, f"{kind} index of {num_documents:,} vectors of {embeddings.dimension} numbers")
            return None
        manifest = _Build(config, kind, embeddings, tokens, folder).run()
    print_summary("index", {**_shown(manifest), "output": folder.uri})
    return manifest


def _chosen_kind(config: IndexConfig, embeddings: EmbeddingDataset) -> Kind:
    num_documents = embeddings.manifest.counts.num_documents
    if not num_documents:
        raise ConfigError(f"{embeddings.folder.uri} has no documents")
    if config.kind == "ivf-pq" and num_documents < LEAST_FOR_IVF_PQ:
        raise ConfigError(
            f"--kind ivf-pq learns from at least {LEAST_FOR_IVF_PQ:,} documents, and {embeddings.folder.uri} has"
            f" {num_documents:,}: flat is exact, and quick enough for them"
        )
    return kind_for(num_documents, embeddings.dimension) if config.kind == "auto" else config.kind


def _check_tokens(embeddings: EmbeddingDataset, tokens: TokenDataset) -> None:
    """Raise ConfigError if the tokens are not those of the documents, in the words of the model that embedded them."""
    if tokens.manifest.vocab != embeddings.manifest.vocab:
        raise ConfigError(
            f"{tokens.folder.uri} has another vocabulary than the model that made {embeddings.folder.uri}"
        )
    check_documents(embeddings, tokens)


def _shown(manifest: Manifest) -> dict[str, Figure]:
    """Return the figures for a person: recall is too near to 1 to be rounded to two places."""
    return manifest.figures | {"recall_at_10": f"{manifest.figures['recall_at_10']:.3f}"}


@dataclass(frozen=True, slots=True)
class _Build:
    """Everything that one index is made of."""

    config: IndexConfig
    kind: Kind
    embeddings: EmbeddingDataset
    tokens: TokenDataset | None
    folder: Folder

    @property
    def num_documents(self) -> int:
        return self.embeddings.manifest.counts.num_documents

    def run(self) -> Manifest:
        """Make the index in a scratch folder, measure it, and publish it."""
        began = time.monotonic()
        with scratch_directory() as place:
            index = VectorIndex.make(self.kind, self.embeddings.dimension, self.num_documents, self._training(), place)
            sums = MomentSums(self.embeddings.dimension)
            for vectors in self._blocks("adding"):
                index.add(vectors)
                if self.tokens is not None:
                    sums.add(vectors)
            index.save(place)
            figures = self._measured(VectorIndex.load(place, self.kind, 1))
            if self.tokens is not None:
                print("indexing the words", flush=True)
                index_words(self.tokens, self.config.bm25).save(place / WORDS_FOLDER)
                np.save(place / MOMENTS_FILE, sums.moments().to_array())
            num_bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            figures |= {"num_bytes": num_bytes, "bytes_per_document": round(num_bytes / self.num_documents, 1)}
            return publish_index(self.folder, place, self._manifest(figures, time.monotonic() - began))

    def _blocks(self, stage: str) -> Iterator[np.ndarray]:
        with Bar(stage, self.num_documents, "documents") as bar:
            for vectors in vector_blocks(self.embeddings):
                yield vectors
                bar.advance(len(vectors))

    def _training(self) -> np.ndarray:
        """Return the vectors that the index learns from, drawn at random (none for most kinds)."""
        size = num_training_vectors(self.kind, self.num_documents)
        if not size:
            return np.empty((0, self.embeddings.dimension), np.float32)
        wanted, parts, first = self._drawn(size), [], 0
        for vectors in self._blocks("drawing"):
            parts.append(vectors[wanted[(wanted >= first) & (wanted < first + len(vectors))] - first])
            first += len(vectors)
        return np.concatenate(parts)

    def _drawn(self, size: int) -> np.ndarray:
        """Return row numbers, rising. They depend on nothing but how many documents there are."""
        draw = np.random.default_rng(SEED)
        return np.sort(draw.choice(self.num_documents, min(size, self.num_documents), replace=False))

    def _measured(self, index: VectorIndex) -> dict[str, Figure]:
        """Choose the index's effort by documents that are searched for; say so where no effort is enough."""
        own = self._drawn(self.config.sample)
        queries = index.vectors(own)
        exact = without_own(nearest(queries, self._blocks("exact search"), NUM_HITS + 1), own, NUM_HITS)
        reached = choose_effort(index, queries, own, exact, self.config.recall)
        if reached < self.config.recall:
            found = f"recall@10 is {reached:.3f} at the largest effort"
            print(f"warning: {found}, less than --recall {self.config.recall}", file=sys.stderr)
        return {
            "kind": self.kind,
            "num_documents": self.num_documents,
            "dimension": self.embeddings.dimension,
            "recall_at_10": round(reached, 4),
            "effort": index.effort,
            "milliseconds_per_query": round(milliseconds_per_query(index, queries), 3),
            "has_words": self.tokens is not None,
        }

    def _manifest(self, figures: dict[str, Figure], seconds: float) -> Manifest:
        source = self.embeddings.manifest
        return Manifest(
            job="index",
            vocab=source.vocab,
            tokenizer=source.tokenizer,
            files={},
            model=source.model,
            pooling=source.pooling,
            figures=figures | {"seconds": round(seconds, 1)},
        )
