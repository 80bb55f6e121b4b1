"""Vectors of an embedding dataset made once more, each document alone and all in another order: they must agree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from ulmfit_ray.config import ConfigError
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, NumberFormat, finished_vectors, vectors_of
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

TOLERANCE: dict[NumberFormat, float] = {"float32": 1e-4, "float16": 1e-3, "int8": 0.05}
"""How long the difference of two vectors of a document may be, in lengths of the vector."""
BFLOAT16_TOLERANCE = 0.05
"""Other processors add in another order, and round what they add."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some documents of an embedding dataset."""

    doc_ids: list[str]
    tokens: list[np.ndarray]
    vectors: np.ndarray
    """As they are stored, float32 (N, D)."""


class WrongVectorError(ValueError):
    """A vector that is not its document's."""


def check_sample(embeddings: EmbeddingDataset, models: Sequence[str], size: int, tokens: str | None) -> dict[str, str]:
    """Encode a sample again and return what was found, as a summary shows it.

    Raises:
        ConfigError: the documents' tokens are not to be had.
        ValueError: the vectors were made with other models.
        WrongVectorError: a vector is another than its document's.
    """
    # torch comes with it, which --help can do without.
    from ulmfit_ray.joint_encoder import JointEncoder

    encoder = JointEncoder.of_embeddings(embeddings, models)
    if len({own.directory.manifest.vocab for own in encoder.encoders}) > 1:
        raise ConfigError(
            "--model: these models have several vocabularies, and a sample's tokens are of one. Embed with each model"
            " alone to verify its vectors"
        )
    sample = _drawn(embeddings, size, partial(_token_dataset, embeddings, encoder.first.directory, tokens))
    finish = partial(finished_vectors, doc_ids=sample.doc_ids, normalize=bool(embeddings.job.config.get("normalize")))
    alone = finish(np.concatenate([encoder.encode_tokens([[ids]]) for ids in sample.tokens]))
    order = np.random.default_rng(1).permutation(len(alone))
    together = np.empty_like(alone)
    together[order] = encoder.encode_tokens([[sample.tokens[number] for number in order]])
    differences = {"stored": sample.vectors - alone, "in company": finish(together) - alone}
    config = embeddings.job.config
    for name, found in differences.items():
        limit = TOLERANCE[config.get("dtype", "float32") if name == "stored" else "float32"]
        if config.get("precision") == "bfloat16":
            limit = max(limit, BFLOAT16_TOLERANCE)
        lengths = np.linalg.norm(found, axis=1) / np.linalg.norm(alone, axis=1)
        if lengths.max() > limit:
            number = int(lengths.argmax())
            raise WrongVectorError(
                f"the vector of document {sample.doc_ids[number]!r}, {name}, differs by {lengths[number]:.2g} of its"
                " length from that of the document encoded alone"
            )
    rows = {"documents encoded again": f"{len(alone):,}"}
    rows |= {f"largest difference, {name}": f"{np.abs(found).max():.2g}" for name, found in differences.items()}
    if len(alone) > 1:
        # What a wrong vector would differ by.
        rows["largest difference of two documents"] = f"{np.abs(alone[1:] - alone[:-1]).max():.2g}"
    return rows


def _drawn(embeddings: EmbeddingDataset, size: int, open_tokens: Callable[[], TokenDataset]) -> Sample:
    """Return documents drawn at random; the same each time."""
    total = embeddings.manifest.counts.num_documents
    wanted = np.sort(np.random.default_rng(0).choice(total, min(size, total), replace=False))
    parts = list(_of_shards(embeddings, wanted, open_tokens))
    return Sample(
        [doc_id for part in parts for doc_id in part.doc_ids],
        [ids for part in parts for ids in part.tokens],
        np.concatenate([part.vectors for part in parts]),
    )


def _of_shards(
    embeddings: EmbeddingDataset, wanted: np.ndarray, open_tokens: Callable[[], TokenDataset]
) -> Iterator[Sample]:
    dataset, first = None, 0
    for row in embeddings.shards:
        own = wanted[(wanted >= first) & (wanted < first + row.num_documents)] - first
        first += row.num_documents
        if not len(own):
            continue
        has_tokens = "tokens" in embeddings.columns(row)
        columns = ["doc_id", *embeddings.vector_columns, *(["tokens"] if has_tokens else [])]
        table = embeddings.read(row, columns)
        source = table
        if not has_tokens:
            dataset = dataset or open_tokens()
            source = _same_shard(dataset, row.shard, table["doc_id"])
        values, offsets = flat_tokens(source["tokens"])
        yield Sample(
            table["doc_id"].take(own).to_pylist(),
            [values[offsets[number] : offsets[number + 1]] for number in own],
            vectors_of(table)[own],
        )


def _same_shard(tokens: TokenDataset, shard: str, doc_ids: pa.ChunkedArray) -> pa.Table:
    """Return a token shard, if it has the documents of the vectors' shard of that name.

    Raises:
        ConfigError: it has others, or there is none.
    """
    if shard in {row.shard for row in tokens.shards}:
        table = tokens.read_checked(shard)
        if table["doc_id"].equals(doc_ids):
            return table
    raise ConfigError(
        f"{tokens.folder.uri} has other documents in shard {shard} than the embeddings: name --tokens DIR, made of the"
        " same input with the same options"
    )


def _token_dataset(embeddings: EmbeddingDataset, model: ModelDirectory, given: str | None) -> TokenDataset:
    """Return the token dataset that embeddings were made from, or the one that is named instead.

    Raises:
        ConfigError: the embeddings were made from raw text, or the tokens have changed since.
        ValueError: it is of another vocabulary.
    """
    source = embeddings.job.config["input"]
    first: str = source if isinstance(source, str) else source[0]
    recorded = embeddings.job.inputs.get("tokens")
    if given is None and recorded is None:
        raise ConfigError(
            f"{embeddings.folder.uri} was made from raw text: name --tokens DIR, a token dataset of the same text with"
            " the model's vocabulary (`tokenize --vocab MODEL`); or embed with --keep-tokens"
        )
    tokens = TokenDataset(given or first)
    model.check_tokens(tokens.manifest.vocab, tokens.folder.uri)
    if given is None and tokens.fingerprint != recorded:
        raise ConfigError(f"{tokens.folder.uri} has changed since the embeddings were made: embed its tokens again")
    return tokens
