"""Token dataset, or raw text -> embedding dataset, by one model or several side by side."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa

from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import HEAD
from ulmfit_ray.encoding.projection import Method
from ulmfit_ray.joint_encoder import JointEncoder, blocks_of, parts_of
from ulmfit_ray.model.description import ModelDescription, Reading
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.encode.job import run_encoding, token_input
from ulmfit_ray.pipelines.encode.projecting import Projecting
from ulmfit_ray.pipelines.encode.quality import quality_figures, quality_rows
from ulmfit_ray.pipelines.encode.verb import EncodingVerb
from ulmfit_ray.storage.embedding_dataset import PROJECTION_FILE, NumberFormat, embedding_table, finished_vectors
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.vocab import UNK_ID


def run(config: EmbedConfig) -> Manifest | None:
    """Encode the documents, or what is missing of them, and return the manifest (None after --dry-run)."""
    models = [ModelDirectory(uri) for uri in config.model]
    tokens = token_input(config, models)
    descriptions = [model.description for model in models]
    readings = [_reading(config, uri, own) for uri, own in zip(config.model, descriptions, strict=True)]
    parts = parts_of(descriptions, readings)
    method = config.method()
    if method is not None:
        _check_size(config, method, int(parts.max()), tokens)
    blocks = [] if method else blocks_of(descriptions, readings)
    names = [model.fingerprint for model in models]
    verb = EncodingVerb(
        name="embed",
        models=models,
        inputs={"weights" if len(names) == 1 else f"weights {n}": name for n, name in enumerate(names, 1)},
        load=partial(Embedding, config, readings),
        facts={"blocks": [asdict(block) for block in blocks]},
        pooling="+".join(reading.pooling for reading in readings),
        files=() if method is None else (PROJECTION_FILE,),
        second=None if method is None else Projecting(config, method, parts),
        measured=quality_figures,
        rows=lambda folder, manifest: quality_rows(manifest.figures, manifest.counts.num_documents),
    )
    return run_encoding(config, verb, tokens)


def _check_size(config: EmbedConfig, method: Method, width: int, tokens: TokenDataset | None) -> None:
    """Raise ConfigError if the vectors, or the documents as far as their number is known, are too few to project."""
    if (method.size or 0) > width:
        raise ConfigError(f"--project {config.project}: the vectors have {width:,} numbers only")
    needed = (method.size or 1) + 1
    if tokens is not None and tokens.manifest.counts.num_documents < needed:
        found = f"{tokens.folder.uri} has {tokens.manifest.counts.num_documents:,}"
        raise ConfigError(f"--project {config.project} needs at least {needed:,} documents, and {found}")


def _reading(config: EmbedConfig, uri: str, model: ModelDescription) -> Reading:
    """Return how a model reads the documents.

    Raises:
        ConfigError: it cannot read them so.
    """
    if config.layer == "head" and model.head is None:
        raise ConfigError(f"--layer head: model {uri} is of kind {model.kind}; only a classifier has a head")
    layer = None if isinstance(config.layer, str) else config.layer
    if layer is not None:
        if model.blocks or model.architecture is None:
            raise ConfigError(f"--layer {layer}: model {uri} is a retriever, which was trained on its last layer")
        if not 1 <= layer <= model.architecture.num_layers:
            raise ConfigError(f"--layer {layer}: model {uri} has the layers 1 to {model.architecture.num_layers}")
    if model.architecture is None:
        precision = None if config.precision == "float32" else config.precision
        asked = (("--pooling", config.pooling), ("--pool-last", config.pool_last), ("--precision", precision))
        for option, value in asked:
            if value is not None:
                raise ConfigError(f"{option} {value}: model {uri} is a retriever of words alone, and has no layers")
    if config.pooling and model.blocks:
        own = model.pooling
        print(f"--pooling {config.pooling} replaces the {own} of the context block; the words block stays as it is")
    pooling = HEAD if config.layer == "head" else config.pooling or model.pooling
    return Reading(pooling=pooling, last_tokens=config.pool_last, layer=layer, precision=config.precision)


class Embedding:
    """A shard's documents -> their vectors."""

    def __init__(self, config: EmbedConfig, readings: Sequence[Reading]) -> None:
        self._config = config
        self._encoder = JointEncoder.load(config.model, readings)
        first = self._encoder.first
        backbone = first.model.backbone
        is_read_by_words = bool(first.directory.description.word_dim)
        self._num_known = len(first.vocab)
        if backbone is not None and not is_read_by_words:
            self._num_known = backbone.architecture.vocab_size

    def __call__(self, tokens: pa.Table, num_tokens: np.ndarray, documents: Sequence[Sequence[np.ndarray]]) -> pa.Table:
        """Return the rows of an embedding shard; with --project of one that is to be projected.

        Raises:
            ValueError: a vector is zero, or has a number that is not finite.
        """
        config = self._config
        vectors = self._encoder.encode_tokens(documents)  # (N, D)
        num_unknown = np.array([self._count_unknown(ids) for ids in documents[0]], np.int64)
        dtype: NumberFormat = "float32" if config.project else config.dtype
        normalize = config.normalize and not config.project
        vectors = finished_vectors(vectors, tokens["doc_id"].to_pylist(), normalize=normalize)
        return embedding_table(
            tokens, num_tokens, vectors, num_unknown=num_unknown, dtype=dtype, keep_tokens=config.keep_tokens
        )

    def _count_unknown(self, ids: np.ndarray) -> int:
        return int(np.count_nonzero((ids == UNK_ID) | (ids >= self._num_known)))
