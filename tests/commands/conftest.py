"""A small road without Ray: 200 abstracts as tokens, a retriever with random weights, and its vectors.

Random word vectors under idf weights already find a document by its own words, which is all these tests need.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from classifiers import SENTIMENT, classifier_of
from untrained import untrained_model

from ulmfit_ray.corpus.columns import Columns
from ulmfit_ray.corpus.formats.options import ReadingOptions
from ulmfit_ray.corpus.units import CorpusFacts, Piece, Unit
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.pipelines.tokenize.census import corpus_census
from ulmfit_ray.pipelines.tokenize.token_shards import TokenizeJob, numericalize_shard, tokenize_shard
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.embedding_dataset import embedding_table
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.plan import write_plan
from ulmfit_ray.storage.prediction_dataset import prediction_table
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab, build_vocab

NUM_SHARDS = 4
MakePredictions = Callable[[ClassifierHead], str]


def write_job(folder: Folder, verb: str, **config: object) -> None:
    folder.publish_json({"job": JobRecord(verb, f"ulmfit-ray {verb} ...", config, {}).to_json()}, "config.json")


@pytest.fixture(scope="session")
def tokens(abstracts: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The abstracts as a token dataset of four shards."""
    place = tmp_path_factory.mktemp("tokens")
    folder, tokenizer = Folder(str(place / "tokens")), make_tokenizer(TokenizerSettings())
    columns = Columns(("title", "text"), "_id", ("title",), ("string",))
    options = ReadingOptions(columns=("title", "text", "_id"))
    facts = CorpusFacts(
        format="jsonl",
        options=options,
        columns=columns,
        num_files=NUM_SHARDS,
        num_bytes=0,
        text_bytes=0,
        unit_bytes=1 << 20,
    )
    shards = [f"part-{number:07d}" for number in range(NUM_SHARDS)]
    plan = write_plan(folder, pa.table({"shard": shards}), identity={})
    job = TokenizeJob(
        output=folder.uri,
        plan=plan.fingerprint,
        corpus=facts,
        settings=tokenizer.settings,
        tokenizer_fingerprint=tokenizer.fingerprint,
    )
    for number, shard in enumerate(shards):
        path = place / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in abstracts[number::NUM_SHARDS]))
        unit = Unit(number, (Piece(str(path), path.name, 0, path.stat().st_size),))
        tokenize_shard(job, unit, None, shard)
    vocab = _count_vocabulary(folder, shards)
    receipts = [numericalize_shard(job, vocab.fingerprint, shard) for shard in shards]
    write_job(folder, "tokenize", text_columns=["title", "text"])
    manifest = Manifest(
        job="tokenize",
        vocab=vocab.fingerprint,
        tokenizer=tokenizer.fingerprint,
        plan=plan.fingerprint,
        files={},
        figures={
            "vocab_size": len(vocab),
            "num_text_bytes": sum(receipt.num_text_bytes or 0 for receipt in receipts),
            "num_unknown_bytes": sum(receipt.num_unknown_bytes or 0 for receipt in receipts),
            **_types(vocab),
            **corpus_census(folder, receipts).figures(),
        },
    )
    folder.publish_json(tokenizer.to_json(), "tokenizer.json")
    write_dataset_manifest(folder, receipts, "arrow", manifest)
    folder.delete("work")
    return folder.uri


def _count_vocabulary(folder: Folder, shards: list[str]) -> Vocab:
    parts = pa.concat_tables(pq.read_table(folder.path(f"work/{shard}.types.parquet")) for shard in shards)
    sums = parts.group_by("token").aggregate([("count", "sum"), ("documents", "sum")])
    types = sums.rename_columns(["token", "count", "documents"])
    vocab = build_vocab(
        [types], max_vocab=60_000, min_freq=1, num_documents=200, num_tokens=sum(sums["count_sum"].to_pylist())
    )
    folder.publish_json(vocab.to_json(), "vocab.json")
    return vocab


def _types(vocab: Vocab) -> dict[str, object]:
    """What the manifest says of the types, of a vocabulary that has all of them."""
    counts = dict(zip(vocab.itos, vocab.counts.tolist(), strict=True))
    frequent = sorted(counts, key=lambda token: (-counts[token], token))[:20]
    return {
        "num_types": sum(count > 0 for count in counts.values()),
        "most_frequent_tokens": {token: counts[token] for token in frequent},
    }


@pytest.fixture(scope="session")
def language_model(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A language model with random weights."""
    return untrained_model(tmp_path_factory.mktemp("models"), tokens, "lm")


@pytest.fixture(scope="session")
def backward_language_model(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A language model with random weights that reads documents from their end."""
    return untrained_model(tmp_path_factory.mktemp("models"), tokens, "lm", "backward")


@pytest.fixture(scope="session")
def retriever(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A retriever with random weights, nearly all of whose vector is the words block."""
    return untrained_model(tmp_path_factory.mktemp("models"), tokens, "retriever")


@pytest.fixture(scope="session")
def embeddings(retriever: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The abstracts' vectors by the retriever."""
    folder = Folder(str(tmp_path_factory.mktemp("embeddings") / "embeddings"))
    directory, encoder = ModelDirectory(retriever), DocumentEncoder.load(retriever, "cpu").token_encoder()
    blocks = [{"name": b.name, "start": b.start, "stop": b.stop} for b in directory.description.blocks]
    write_job(folder, "embed", blocks=blocks)

    def rows(table: pa.Table, num_tokens: np.ndarray, documents: list[np.ndarray]) -> pa.Table:
        return embedding_table(table, num_tokens, encoder.encode(documents), num_unknown=np.zeros(len(documents)))

    _write_shards(folder, tokens, rows, job="embed", model=directory.fingerprint, pooling="idf-mean")
    return folder.uri


def _write_shards(folder: Folder, tokens: str, make_rows: Callable[..., pa.Table], **facts: Any) -> None:
    """Write a finished data set of a shard for each token shard; `facts` are those of its manifest."""
    dataset, receipts = TokenDataset(tokens), []
    plan = write_plan(folder, pa.table({"shard": [row.shard for row in dataset.shards]}), identity={})
    for row in dataset.shards:
        table = dataset.read(row.shard)
        values, offsets = flat_tokens(table["tokens"])
        rows = make_rows(table, np.diff(offsets), [values[start:stop] for start, stop in pairwise(offsets)])
        receipt = Receipt(plan=plan.fingerprint, shard=row.shard, num_documents=len(rows), num_tokens=len(values))
        files = {f"shards/{row.shard}.parquet": partial(write_parquet, rows)}
        receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
    known = {"vocab": dataset.manifest.vocab, "tokenizer": dataset.manifest.tokenizer, "plan": plan.fingerprint}
    write_dataset_manifest(folder, receipts, "parquet", Manifest(**known, **facts, files={}))


@pytest.fixture(scope="session")
def make_predictions(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> MakePredictions:
    """Return a function that predicts for the abstracts by a classifier of random weights with such a head."""

    def make(head: ClassifierHead) -> str:
        place = tmp_path_factory.mktemp("predictions")
        folder = Folder(str(place / "predictions"))
        classifier = DocumentClassifier.load(classifier_of(tokens, place / "classifier", head), device="cpu")
        write_job(folder, "classify", objective=head.objective, labels=list(head.labels))

        def rows(table: pa.Table, num_tokens: np.ndarray, documents: list[np.ndarray]) -> pa.Table:
            return prediction_table(table, num_tokens, classifier.score_tokens(documents), classifier.scheme)

        _write_shards(folder, tokens, rows, job="classify", model="m")
        return folder.uri

    return make


@pytest.fixture(scope="session")
def predictions(make_predictions: MakePredictions) -> str:
    """The abstracts' sentiment."""
    return make_predictions(SENTIMENT)
