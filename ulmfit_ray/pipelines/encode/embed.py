"""Token dataset -> embedding dataset."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa

from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import HEAD, DocumentEncoder
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.encode.over_tokens import OverTokensVerb, run_over_tokens
from ulmfit_ray.storage.embedding_dataset import embedding_table
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset


def run(config: EmbedConfig) -> Manifest | None:
    """Encode the documents, or what is missing of them, and return the manifest (None after --dry-run)."""
    model, tokens = ModelDirectory(config.model), TokenDataset(config.input)
    model.check_tokens(tokens.manifest.vocab, config.input)
    description = model.description
    if config.layer == "head" and description.head is None:
        raise ConfigError(
            f"--layer head: model {config.model} is of kind {description.kind}; only a classifier has a head"
        )
    if config.pooling and description.blocks:
        own = description.pooling
        print(f"--pooling {config.pooling} replaces the {own} of the context block; the words block stays as it is")
    pooling = HEAD if config.layer == "head" else config.pooling or description.pooling
    verb = OverTokensVerb(
        name="embed",
        inputs={"weights": model.fingerprint},
        load=partial(Embedding, config, pooling),
        facts={"blocks": [asdict(block) for block in description.vector_blocks(pooling)]},
        pooling=pooling,
    )
    return run_over_tokens(config, verb, tokens)


class Embedding:
    """A token shard's documents -> their vectors."""

    def __init__(self, config: EmbedConfig, pooling: str) -> None:
        self._config = config
        self._documents = DocumentEncoder.load(config.model)
        self._encoder = self._documents.vector_encoder(pooling)

    def __call__(self, tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[np.ndarray]) -> pa.Table:
        """Return the rows of an embedding shard."""
        vectors = self._encoder.encode([self._documents.directed(ids) for ids in documents])  # (N, D)
        if self._config.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return embedding_table(tokens, num_tokens, vectors.astype(self._config.dtype))
