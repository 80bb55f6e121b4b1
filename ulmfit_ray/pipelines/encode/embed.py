"""Token dataset, or raw text -> embedding dataset."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa

from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import HEAD, DocumentEncoder
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.encode.job import run_encoding, token_input
from ulmfit_ray.pipelines.encode.verb import EncodingVerb
from ulmfit_ray.storage.embedding_dataset import embedding_table
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory


def run(config: EmbedConfig) -> Manifest | None:
    """Encode the documents, or what is missing of them, and return the manifest (None after --dry-run)."""
    model = ModelDirectory(config.model)
    tokens = token_input(config, [model])
    description = model.description
    if config.layer == "head" and description.head is None:
        raise ConfigError(
            f"--layer head: model {config.model} is of kind {description.kind}; only a classifier has a head"
        )
    if config.pooling and description.blocks:
        own = description.pooling
        print(f"--pooling {config.pooling} replaces the {own} of the context block; the words block stays as it is")
    pooling = HEAD if config.layer == "head" else config.pooling or description.pooling
    verb = EncodingVerb(
        name="embed",
        models=[model],
        inputs={"weights": model.fingerprint},
        load=partial(Embedding, config, pooling),
        facts={"blocks": [asdict(block) for block in description.vector_blocks(pooling)]},
        pooling=pooling,
    )
    return run_encoding(config, verb, tokens)


class Embedding:
    """A shard's documents -> their vectors."""

    def __init__(self, config: EmbedConfig, pooling: str) -> None:
        self._config = config
        self._documents = DocumentEncoder.load(config.model)
        self._encoder = self._documents.vector_encoder(pooling)

    def __call__(self, tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[Sequence[np.ndarray]]) -> pa.Table:
        """Return the rows of an embedding shard."""
        (own,) = documents
        vectors = self._encoder.encode([self._documents.directed(ids) for ids in own])  # (N, D)
        if self._config.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return embedding_table(tokens, num_tokens, vectors.astype(self._config.dtype))
