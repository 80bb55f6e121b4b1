"""What `embed` can make of outputs, on real actors: held against the same made by hand in this process."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.commands import search, verify
from ulmfit_ray.commands.search import SearchConfig
from ulmfit_ray.commands.shards import DamagedError
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.encoding.projection import Method, Projection
from ulmfit_ray.joint_encoder import JointEncoder
from ulmfit_ray.lifecycle import Tally
from ulmfit_ray.model.description import Block, Reading
from ulmfit_ray.pipelines.encode import embed, projecting, quality
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
WIDTH = 32
"""Of the language model's outputs; its other layers' are 48 wide."""


def all_vectors(output: str) -> np.ndarray:
    return np.concatenate([vectors_of(table) for table in EmbeddingDataset(output).tables()])


def documents_of(tokens: str) -> list[np.ndarray]:
    documents: list[np.ndarray] = []
    for table in TokenDataset(tokens).tables():
        values, offsets = flat_tokens(table["tokens"])
        documents += np.split(values, offsets[1:-1])
    return documents


def by_hand(model: str, tokens: str, reading: Reading) -> np.ndarray:
    return DocumentEncoder.load(model, "cpu").token_encoder(reading).encode(documents_of(tokens))


def embedded(tmp_path: Path, tokens: str, *models: str, **options: Any) -> str:
    output = str(tmp_path / "embeddings")
    embed.run(EmbedConfig(model=models, input=(tokens,), output=output, **options))
    return output


@pytest.mark.parametrize(
    ("options", "reading"),
    [
        ({"pool_last": 20, "pooling": "max"}, Reading(pooling="max", last_tokens=20)),
        ({"layer": 1, "precision": "bfloat16"}, Reading(pooling="mean", layer=1, precision="bfloat16")),
    ],
)
def test_documents_are_read_as_asked_and_queries_too(
    language_model: str, tokens: str, tmp_path: Path, options: dict[str, Any], reading: Reading
) -> None:
    output = embedded(tmp_path, tokens, language_model, **options)
    np.testing.assert_array_equal(all_vectors(output), by_hand(language_model, tokens, reading))
    dataset = EmbeddingDataset(output)
    assert dataset.readings == [reading]
    queries = JointEncoder.of_embeddings(dataset, [language_model]).encode_queries(["fat", "insulin"])
    np.testing.assert_array_equal(
        queries, DocumentEncoder.load(language_model, "cpu").encode(["fat", "insulin"], reading)
    )
    assert verify.run(VerifyConfig(input=output, model=(language_model,)))["documents encoded again"] == "200"


def test_vectors_of_several_models_stand_side_by_side_in_their_order(
    language_model: str, retriever: str, tokens: str, tmp_path: Path
) -> None:
    output = embedded(tmp_path, tokens, retriever, language_model, pooling="max", keep_tokens=True)
    found, dataset = all_vectors(output), EmbeddingDataset(output)
    parts = [by_hand(model, tokens, Reading(pooling="max")) for model in (retriever, language_model)]
    np.testing.assert_array_equal(found, np.concatenate(parts, 1))
    middle = parts[0].shape[1]
    assert dataset.blocks == [Block("model 1", 0, middle), Block("model 2", middle, middle + WIDTH)]
    kept = [ids for table in dataset.tables() for ids in table["tokens"].to_pylist()]
    assert kept == [ids.tolist() for ids in documents_of(tokens)]
    title = next(dataset.tables())["title"][5].as_py()
    models = (retriever, language_model)
    (row,) = search.run(SearchConfig(embeddings=output, model=models, query=(title,), k=1))
    assert set(row) == {"query_id", "query", "rank", "score", "doc_id", "title"}
    assert verify.run(VerifyConfig(input=output, model=models, sample=20))["num_documents"] == 200
    with pytest.raises(ValueError, match="by these models in another order"):
        search.run(SearchConfig(embeddings=output, model=models[::-1], query=(title,)))


def test_a_search_over_whole_numbers_finds_what_one_over_float32_finds(
    retriever: str, tokens: str, tmp_path: Path
) -> None:
    found = []
    for dtype in ("float32", "int8"):
        output = embedded(tmp_path / dtype, tokens, retriever, dtype=dtype)
        titles = tuple(next(EmbeddingDataset(output).tables())["title"].to_pylist()[:10])
        found.append(search.run(SearchConfig(embeddings=output, model=(retriever,), query=titles, k=1)))
    exact, whole = ([row["doc_id"] for row in rows] for rows in found)
    assert exact == whole
    np.testing.assert_allclose([row["score"] for row in found[1]], [row["score"] for row in found[0]], atol=5e-3)


def test_one_model_named_twice_is_refused(language_model: str, tokens: str) -> None:
    with pytest.raises(ConfigError, match="names a directory twice: its vector would stand there twice"):
        EmbedConfig(model=(language_model, language_model), input=(tokens,), output="out")


def test_vectors_are_projected_as_by_hand_and_queries_too(language_model: str, tokens: str, tmp_path: Path) -> None:
    project = "whiten:7"
    output = embedded(tmp_path, tokens, language_model, pooling="concat", project=project, normalize=True)
    plain = by_hand(language_model, tokens, Reading(pooling="concat"))
    parts = np.array([[0, WIDTH], [WIDTH, 2 * WIDTH], [2 * WIDTH, 3 * WIDTH]])
    projection = Projection.fit(Method.parse(project), parts, plain)
    expected = projection.apply(plain)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(all_vectors(output), expected, atol=1e-6)
    assert not Path(output, "work").exists()
    manifest = EmbeddingDataset(output).manifest
    assert manifest.figures["mean_cosine"] < manifest.figures["mean_cosine_before"]
    assert verify.run(VerifyConfig(input=output, model=(language_model,), sample=30))["num_documents"] == 200
    encoder = JointEncoder.of_embeddings(EmbeddingDataset(output), [language_model])
    own = DocumentEncoder.load(language_model, "cpu").encode(["insulin"], "concat")
    np.testing.assert_allclose(encoder.encode_queries(["insulin"]), projection.apply(own), atol=1e-6)


def test_the_projection_is_learned_from_a_sample_that_depends_on_the_ids_alone(
    language_model: str, tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "SAMPLE", 50)
    output = embedded(tmp_path, tokens, language_model, project="center")
    tables = {row.shard: TokenDataset(tokens).read(row.shard) for row in TokenDataset(tokens).shards}
    hashes = [
        projecting._hash(f"{shard} {number} {doc_id}")
        for shard, table in tables.items()
        for number, doc_id in enumerate(table["doc_id"].to_pylist())
    ]
    is_in = np.array(hashes, np.float64) < 2**64 / 4
    assert 20 < is_in.sum() < 80
    plain = by_hand(language_model, tokens, Reading(pooling="mean"))
    expected = Projection.fit(Method.parse("center"), np.array([[0, WIDTH]]), plain[is_in])
    np.testing.assert_allclose(all_vectors(output), expected.apply(plain), atol=1e-6)


def test_a_projection_goes_on_where_it_was_stopped(
    language_model: str, tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(tmp_path / "whole", tokens, language_model, project="whiten:5", dtype="int8")
    stopped = tmp_path / "stopped"

    def killed(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(projecting, "run_phase", killed)
        with pytest.raises(KeyboardInterrupt):
            embedded(stopped, tokens, language_model, project="whiten:5", dtype="int8")
    work = Path(stopped, "embeddings/work")
    made = {path: path.stat().st_mtime_ns for path in work.glob("*.parquet")}
    assert len(made) == len(list((work / "done").iterdir())) == 4
    seen = {}

    def sampled(*args: Any) -> np.ndarray:
        seen.update({path: path.stat().st_mtime_ns for path in work.glob("*.parquet")})
        return quality.sampled(*args)

    monkeypatch.setattr(projecting, "sampled", sampled)
    again = embedded(stopped, tokens, language_model, project="whiten:5", dtype="int8")
    # What the models made is not made again.
    assert seen == made
    for name in ("projection.npz", *(f"shards/part-000000{number}.parquet" for number in range(4))):
        assert Path(again, name).read_bytes() == Path(whole, name).read_bytes(), name


def test_another_projection_over_an_old_one_leaves_nothing_of_it(
    language_model: str, tokens: str, tmp_path: Path
) -> None:
    output = embedded(tmp_path, tokens, language_model, project="pca:5")
    plain = by_hand(language_model, tokens, Reading(pooling="max"))
    embedded(tmp_path, tokens, language_model, project="center", pooling="max", overwrite=True)
    expected = Projection.fit(Method.parse("center"), np.array([[0, WIDTH]]), plain)
    np.testing.assert_allclose(all_vectors(output), expected.apply(plain), atol=1e-6)
    embedded(tmp_path, tokens, language_model, pooling="max", overwrite=True)
    assert not Path(output, "projection.npz").exists()
    assert EmbeddingDataset(output).projection_file is None
    np.testing.assert_array_equal(all_vectors(output), plain)


def test_a_projection_of_streamed_text_by_two_models_in_a_stop_of_its_second_half(
    retriever: str,
    language_model: str,
    abstracts: list[dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, models = tmp_path / "in.jsonl.gz", (retriever, language_model)
    lines = [json.dumps(row | {"_id": "the same"}) + "\n" for row in abstracts * 8]
    source.write_bytes(gzip.compress("".join(lines).encode()))
    columns = {"text_columns": ("title", "text"), "id_column": "_id"}
    options = {"project": "whiten:6", "pooling": "concat", **columns}
    whole = embedded(tmp_path / "whole", str(source), *models, **options)
    assert EmbeddingDataset(whole).manifest.counts.num_shards > 1
    texts = [[row["title"], row["text"]] for row in abstracts]
    parts = [DocumentEncoder.load(model, "cpu").encode(texts, "concat") for model in models]
    plain = np.concatenate([np.concatenate(parts, 1)] * 8)
    # A retriever's context in three parts and its words, then the language model in three.
    ends = np.cumsum([WIDTH] * 3 + [WIDTH] + [WIDTH] * 3)
    assert ends[-1] == plain.shape[1]
    expected = Projection.fit(Method.parse("whiten:6"), np.stack([ends - WIDTH, ends], 1), plain).apply(plain)
    np.testing.assert_allclose(all_vectors(whole), expected, atol=2e-5)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        add = Tally.add
        patch.setattr(Tally, "add", lambda tally, outcome: _stop_at_final(stopped) or add(tally, outcome))
        with pytest.raises(KeyboardInterrupt):
            embedded(stopped, str(source), *models, **options)
    assert Path(stopped, "embeddings/projection.npz").exists()
    again = embedded(stopped, str(source), *models, **options)
    for path in sorted(Path(whole, "shards").iterdir()):
        assert Path(again, "shards", path.name).read_bytes() == path.read_bytes(), path.name


def _stop_at_final(place: Path) -> None:
    """Stop the job, as Ctrl-C would, once a final shard is there."""
    if list(Path(place, "embeddings/done").glob("part-*")):
        raise KeyboardInterrupt


def test_a_projection_needs_more_documents_than_dimensions(
    language_model: str, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps(row) + "\n" for row in abstracts[:5]))
    columns = {"text_columns": ("title", "text"), "id_column": "_id"}
    with pytest.raises(ConfigError, match=r"--project pca:5: 5 dimensions are asked for; 5 documents .*--overwrite"):
        embedded(tmp_path, str(few), language_model, project="pca:5", **columns)


def test_a_damaged_token_shard_is_not_encoded(language_model: str, tokens: str, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(tokens, tmp_path / "tokens"))
    path = damaged / "shards/part-0000002.arrow"
    content = bytearray(path.read_bytes())
    ids = flat_tokens(TokenDataset(tokens).read("part-0000002")["tokens"])[0].tobytes()
    # A word becomes another: the file opens as if nothing were wrong.
    content[content.index(ids) + 10] ^= 1
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"part-0000002 .*is not the file that was written"):
        embedded(tmp_path, str(damaged), language_model)
    assert not Path(tmp_path, "embeddings/shards/part-0000002.parquet").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"layer": 4}, "--layer 4: model .* has the layers 1 to"),
        ({"layer": 0}, "--layer 0: model .* has the layers 1 to"),
        ({"project": "pca:33"}, "--project pca:33: the vectors have 32 numbers only"),
    ],
)
def test_what_the_model_has_not_is_refused_before_any_work(
    language_model: str, tokens: str, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        embedded(tmp_path, tokens, language_model, **options)
    assert not (tmp_path / "embeddings").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"pool_last": 0}, "--pool-last must be at least 1, not 0"),
        ({"project": "zca"}, "--project: 'zca' is none of center"),
        ({"layer": "head", "pool_last": 3}, "leave out --pool-last 3"),
        ({"layer": "head", "precision": "bfloat16"}, "leave out --precision bfloat16"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        EmbedConfig(model=("m",), input=("tokens",), output="out", **options)


def test_a_retrievers_earlier_layers_are_not_to_be_had(retriever: str, tokens: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--layer 1: model .* is a retriever, which was trained on"):
        embedded(tmp_path, tokens, retriever, layer=1)


def test_the_manifest_says_what_the_vectors_are_like(language_model: str, tokens: str, tmp_path: Path) -> None:
    output = embedded(tmp_path, tokens, language_model)
    vectors, figures = all_vectors(output), EmbeddingDataset(output).manifest.figures
    lengths = np.percentile(np.linalg.norm(vectors, axis=1), [1, 50, 99])
    np.testing.assert_allclose(figures["lengths"], lengths, rtol=1e-3)
    # The language model knows the first words of the vocabulary only.
    known = DocumentEncoder.load(language_model, "cpu").model.architecture.vocab_size
    expected = [int(((ids == 0) | (ids >= known)).sum()) for ids in documents_of(tokens)]
    unknown = [value for table in EmbeddingDataset(output).tables() for value in table["num_unknown"].to_pylist()]
    assert unknown == expected
    assert figures["num_unknown"] == sum(expected) > 0
    assert figures["num_repeated"] == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_verify_finds_a_vector_that_is_another_documents(
    language_model: str, tokens: str, tmp_path: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = embedded(tmp_path, tokens, language_model, dtype=dtype)
    found = verify.run(VerifyConfig(input=output, model=(language_model,)))
    assert float(found["largest difference, in company"]) == 0
    # Two documents change places, and all hashes are made to fit.
    path = Path(output, "shards/part-0000001.parquet")
    table = pq.read_table(path)
    order = [1, 0, *range(2, table.num_rows)]
    names = [name for name in table.schema.names if name.startswith("embedding")]
    for name in names:
        place = table.schema.names.index(name)
        table = table.set_column(place, name, table[name].take(order))
    pq.write_table(table, path)
    _sign(Path(output), path)
    verify.run(VerifyConfig(input=output))
    with pytest.raises(DamagedError, match=r"stored, differs by .* from that of the document encoded alone"):
        verify.run(VerifyConfig(input=output, model=(language_model,)))


def _sign(output: Path, path: Path) -> None:
    """Write a changed shard's hash wherever it stands."""
    from ulmfit_ray.storage.folder import sha256_file

    name, digest = f"shards/{path.name}", sha256_file(path)
    receipt = output / "done" / f"{path.stem}.json"
    content = json.loads(receipt.read_text())
    content["files"][name] = digest
    receipt.write_text(json.dumps(content))
    rows = pq.read_table(output / "shards.parquet").to_pylist()
    for row in rows:
        if row["file"] == name:
            row["sha256"] = digest
    schema = pq.read_schema(output / "shards.parquet")
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(rows, schema=schema), output / "shards.parquet")
    manifest = json.loads((output / "manifest.json").read_text())
    manifest["files"]["shards.parquet"] = sha256_file(output / "shards.parquet")
    (output / "manifest.json").write_text(json.dumps(manifest))


def test_verify_says_where_tokens_come_from_when_there_are_none(
    language_model: str, corpus: Path, tokens: str, tmp_path: Path
) -> None:
    columns = {"text_columns": ("title", "text"), "id_column": "_id", "keep_columns": ("title",)}
    output = embedded(tmp_path, str(corpus), language_model, **columns)
    with pytest.raises(ConfigError, match="was made from raw text: name --tokens DIR"):
        verify.run(VerifyConfig(input=output, model=(language_model,)))
    found = verify.run(VerifyConfig(input=output, model=(language_model,), tokens=tokens, sample=20))
    assert found["documents encoded again"] == "20"
    kept = shutil.copytree(output, tmp_path / "other")
    assert verify.run(VerifyConfig(input=str(kept)))["num_documents"] == 200
