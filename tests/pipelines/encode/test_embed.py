"""The promise of embedding, on real abstracts and real actors."""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from classifiers import classifier_of

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import HEAD, DocumentEncoder
from ulmfit_ray.model.description import Block
from ulmfit_ray.pipelines.encode import embed
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.options import Actors
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.manifest import IncompleteDatasetError
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def all_vectors(output: str) -> np.ndarray:
    return np.concatenate([vectors_of(table) for table in EmbeddingDataset(output).tables()])


def token_arrays(tokens: str) -> list[np.ndarray]:
    documents: list[np.ndarray] = []
    for table in TokenDataset(tokens).tables():
        values, offsets = flat_tokens(table["tokens"])
        documents += np.split(values, offsets[1:-1])
    return documents


@pytest.fixture(scope="session")
def embeddings(retriever: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("embeddings") / "embeddings")
    embed.run(EmbedConfig(model=(retriever,), input=(tokens,), output=output, actors=Actors(min=2)))
    return output


def test_a_vector_is_the_same_alone_in_any_batch_and_from_any_number_of_actors(
    language_model: str, tokens: str, tmp_path: Path
) -> None:
    # Last, max and mean side by side.
    pooling = "concat"
    encoder = DocumentEncoder.load(language_model, "cpu").token_encoder(pooling)
    documents = token_arrays(tokens)
    assert len(documents) == 200
    alone = np.concatenate([encoder.encode([document]) for document in documents])
    batches = np.concatenate([encoder.encode(documents[start : start + 32]) for start in range(0, 200, 32)])
    backwards = encoder.encode(documents[::-1])[::-1]
    order = np.random.default_rng(0).permutation(200)
    shuffled = np.empty_like(alone)
    shuffled[order] = encoder.encode([documents[number] for number in order])
    ways = {"batches": batches, "backwards": backwards, "shuffled": shuffled}
    for actors in (1, 2):
        output = str(tmp_path / f"{actors}")
        pool = Actors(min=actors, max=actors)
        embed.run(EmbedConfig(model=(language_model,), input=(tokens,), output=output, pooling=pooling, actors=pool))
        ways[f"{actors} actors"] = all_vectors(output)
    for way, vectors in ways.items():
        assert np.abs(vectors - alone).max() <= 1e-5, way


def test_vectors_equal_the_plain_recurrence(language_model: str, tokens: str) -> None:
    model = DocumentEncoder.load(language_model, "cpu")
    documents = token_arrays(tokens)[::10]
    with torch.inference_mode():
        outputs = []
        for document in documents:
            ids = torch.from_numpy(document.astype(np.int64))[None]
            outputs.append(model.model.backbone(ids, model.model.backbone.initial_hidden(1))[0][0].numpy())
    expected = np.stack([np.concatenate([out[-1], out.max(0), out.mean(0)]) for out in outputs])
    assert np.abs(model.token_encoder("concat").encode(documents) - expected).max() <= 1e-5


def test_raw_text_through_the_document_encoder_gives_the_jobs_vectors_to_the_last_bit(
    retriever: str, embeddings: str, abstracts: list[dict[str, str]]
) -> None:
    by_id = {row["_id"]: [row["title"], row["text"]] for row in abstracts}
    doc_ids = [doc_id for table in EmbeddingDataset(embeddings).tables() for doc_id in table["doc_id"].to_pylist()]
    vectors = DocumentEncoder.load(retriever, "cpu").encode([by_id[doc_id] for doc_id in doc_ids])
    np.testing.assert_array_equal(vectors, all_vectors(embeddings))


def test_the_embedding_dataset_opens_as_plain_parquet_and_verifies(embeddings: str) -> None:
    table = pq.read_table(Path(embeddings, "shards"))
    assert table.schema.names == ["doc_id", "num_tokens", "num_unknown", "title", "embedding"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[64]"
    np.testing.assert_allclose(np.linalg.norm(all_vectors(embeddings), axis=1), 1.0, atol=1e-5)
    assert verify.run(VerifyConfig(input=embeddings))["num_documents"] == 200


def test_lost_embedding_shards_are_made_again_with_the_same_bytes(
    embeddings: str, retriever: str, tokens: str, tmp_path: Path
) -> None:
    output = str(tmp_path / "embeddings")
    shutil.copytree(embeddings, output)
    lost = Path(output, "shards/part-0000002.parquet")
    before, kept = lost.read_bytes(), Path(output, "shards/part-0000000.parquet").stat().st_mtime_ns
    for name in ("manifest.json", "done/part-0000002.json", "shards/part-0000002.parquet"):
        Path(output, name).unlink()
    with pytest.raises(IncompleteDatasetError, match="3 of 4 units done, 1 missing"):
        EmbeddingDataset(output)
    embed.run(EmbedConfig(model=(retriever,), input=(tokens,), output=output))
    assert lost.read_bytes() == before
    assert Path(output, "shards/part-0000000.parquet").stat().st_mtime_ns == kept


def test_half_precision_and_normalized_vectors(language_model: str, tokens: str, tmp_path: Path) -> None:
    output = str(tmp_path / "embeddings")
    embed.run(EmbedConfig(model=(language_model,), input=(tokens,), output=output, dtype="float16", normalize=True))
    table = pq.read_table(Path(output, "shards"))
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: halffloat>[32]"
    np.testing.assert_allclose(np.linalg.norm(all_vectors(output), axis=1), 1.0, atol=2e-3)


def test_tokens_of_another_vocabulary_are_refused(language_model: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("some words of another corpus")
    tokens = str(tmp_path / "tokens")
    tokenize.run(TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=tokens, min_freq=1))
    with pytest.raises(ValueError, match=r"vocabulary of .* does not fit model .*\n.*--vocab"):
        embed.run(EmbedConfig(model=(language_model,), input=(tokens,), output=str(tmp_path / "embeddings")))
    assert not (tmp_path / "embeddings").exists()


def test_concat_pooling_widens_the_context_block_and_says_so(retriever: str, tokens: str, tmp_path: Path) -> None:
    output = str(tmp_path / "embeddings")
    embed.run(EmbedConfig(model=(retriever,), input=(tokens,), output=output, pooling="concat"))
    assert EmbeddingDataset(output).blocks == [
        Block("context", 0, 96),
        Block("words", 96, 128),
    ]
    assert all_vectors(output).shape == (200, 128)


@pytest.fixture(scope="module")
def classifier(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return classifier_of(tokens, tmp_path_factory.mktemp("models") / "classifier", direction="backward")


@pytest.mark.parametrize(("layer", "width"), [("pooled", 96), ("head", 7)])
def test_a_classifier_gives_its_pooled_vectors_or_what_its_head_makes_of_them(
    classifier: str,
    tokens: str,
    abstracts: list[dict[str, str]],
    tmp_path: Path,
    layer: Literal["pooled", "head"],
    width: int,
) -> None:
    output = str(tmp_path / "embeddings")
    embed.run(EmbedConfig(model=(classifier,), input=(tokens,), output=output, layer=layer))
    dataset, vectors = EmbeddingDataset(output), all_vectors(output)
    assert (dataset.blocks, vectors.shape) == ([], (200, width))
    assert dataset.pooling == {"pooled": "concat", "head": HEAD}[layer]
    by_id = {row["_id"]: [row["title"], row["text"]] for row in abstracts}
    texts = [by_id[doc_id] for table in dataset.tables() for doc_id in table["doc_id"].to_pylist()]
    encoded = DocumentEncoder.load(classifier, "cpu").encode(texts, dataset.pooling)
    np.testing.assert_array_equal(encoded, vectors)
    assert verify.run(VerifyConfig(input=output))["num_documents"] == 200


def test_the_head_of_a_model_without_one_is_refused(language_model: str, tokens: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--layer head: model .* is of kind lm; only a classifier has a head"):
        embed.run(EmbedConfig(model=(language_model,), input=(tokens,), output=str(tmp_path / "out"), layer="head"))
    assert not (tmp_path / "out").exists()


def test_a_pooling_is_refused_where_the_head_says_it(classifier: str, tokens: str) -> None:
    with pytest.raises(ConfigError, match="leave out --pooling mean"):
        EmbedConfig(model=(classifier,), input=(tokens,), output="out", layer="head", pooling="mean")
