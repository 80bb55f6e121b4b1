"""The abstracts with labels, in two parts, and classifiers of random weights that say they were trained on the first.

Labels are made of the text, so that word pairs have something to learn. Each column has nulls.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from classifiers import RATING, SENTIMENT, TOPICS, classifier_of

from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.storage.commit import commit_shard
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, write_dataset_manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.parquet_dataset import write_parquet
from ulmfit_ray.storage.prediction_dataset import prediction_table
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens, write_arrow

HEADS = {"label": SENTIMENT, "topics": TOPICS, "rating": RATING}
"""A classifier's head for each column of labels."""
LABEL_TYPES = {"label": pa.string(), "topics": pa.list_(pa.string()), "rating": pa.float64()}
MakeClassifier = Callable[..., str]
MakePredictions = Callable[..., str]
WriteTokens = Callable[..., str]


def labels_of(text: str, number: int) -> dict[str, Any]:
    """Return the values of the columns of labels; `number` is the document's place."""
    words = text.lower().split()
    common = sum(words.count(word) for word in ("cells", "cell", "expression"))
    labels = {
        "label": "pos" if common > 2 else "neutral" if "patients" in words else "neg",
        "topics": [name for name in TOPICS.labels if name in words],
        "rating": common / 4 + 0.1,
    }
    return dict.fromkeys(labels) if number % 17 == 3 else labels


@pytest.fixture(scope="session")
def write_tokens(tokens: str) -> WriteTokens:
    """Return a function that writes a token dataset of some shards, given as tables; `vocab` is its fingerprint."""
    source = TokenDataset(tokens)

    def write(place: Path, shards: list[pa.Table], vocab: str = source.manifest.vocab) -> str:
        folder, receipts = Folder(str(place / "tokens")), []
        for name in ("vocab.json", "tokenizer.json"):
            folder.publish_bytes(source.folder.read_bytes(name), name)
        config = {"text_columns": ["title", "text"]}
        job = JobRecord("tokenize", "ulmfit-ray tokenize ...", config, {})
        folder.publish_json({"job": job.to_json()}, "config.json")
        for number, table in enumerate(shards):
            num_tokens = int(np.diff(flat_tokens(table["tokens"])[1]).sum())
            stem = f"part-{number:07d}"
            receipt = Receipt(plan="p", shard=stem, num_documents=table.num_rows, num_tokens=num_tokens)
            files = {f"shards/{stem}.arrow": partial(write_arrow, table)}
            receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
        manifest = Manifest(job="tokenize", vocab=vocab, tokenizer=source.manifest.tokenizer, plan="p", files={})
        write_dataset_manifest(folder, receipts, "arrow", manifest)
        return folder.uri

    return write


@pytest.fixture(scope="session")
def labelled_tables(tokens: str, abstracts: list[dict[str, str]]) -> list[pa.Table]:
    """The four shards of the abstracts with columns of labels, and without the title that they kept."""
    texts = {row["_id"]: f"{row['title']} {row['text']}" for row in abstracts}
    tables = []
    for shard in TokenDataset(tokens).tables():
        rows = [labels_of(texts[doc_id], number) for number, doc_id in enumerate(shard["doc_id"].to_pylist())]
        table = shard.drop_columns(["title"])
        for name, kind in LABEL_TYPES.items():
            table = table.append_column(name, pa.array([row[name] for row in rows], kind))
        tables.append(table)
    return tables


@pytest.fixture(scope="session")
def train_tokens(
    labelled_tables: list[pa.Table], write_tokens: WriteTokens, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """150 labelled abstracts in three shards."""
    return write_tokens(tmp_path_factory.mktemp("train"), labelled_tables[:3])


@pytest.fixture(scope="session")
def test_tables(labelled_tables: list[pa.Table]) -> list[pa.Table]:
    """The other 50 abstracts in three shards; in one nothing has a label."""
    table = labelled_tables[3]
    parts = [range(3), (3, 20), (*range(4, 20), *range(21, 50))]
    return [table.take(pa.array(part)) for part in parts]


@pytest.fixture(scope="session")
def test_tokens(
    test_tables: list[pa.Table], write_tokens: WriteTokens, tmp_path_factory: pytest.TempPathFactory
) -> str:
    return write_tokens(tmp_path_factory.mktemp("test"), test_tables)


@pytest.fixture(scope="session")
def make_classifier(train_tokens: str, tmp_path_factory: pytest.TempPathFactory) -> MakeClassifier:
    """Return a function that makes a classifier for a column; `options` are those of its training, `weights` a seed.

    Without `trained` the model is one whose training is not known, as if it came from elsewhere.
    """

    def make(
        column: str,
        *,
        name: str = "model",
        head: ClassifierHead | None = None,
        direction: str = "forward",
        weights: int = 0,
        trained: bool = True,
        **options: Any,
    ) -> str:
        place = tmp_path_factory.mktemp("classifier")
        uri = classifier_of(train_tokens, place / "made", head or HEADS[column], direction=direction, seed=weights)
        folder = Folder(uri)
        if trained:
            known = {"tokens": train_tokens, "label": column, "label_separator": "", "labelled_documents": 0}
            config = known | {"valid": None, "valid_fraction": 0.0, "seed": 0} | options
            inputs = {"tokens": TokenDataset(train_tokens).fingerprint}
            job = JobRecord("train-classifier", "ulmfit-ray train-classifier ...", config, inputs)
        else:
            job = JobRecord("import-fastai", "ulmfit-ray import-fastai ...", {}, {})
        folder.publish_json(folder.read_json("config.json") | {"job": job.to_json()}, "config.json")
        return str(Path(uri).rename(place / name))

    return make


@pytest.fixture(scope="session")
def make_test_predictions(test_tokens: str, tmp_path_factory: pytest.TempPathFactory) -> MakePredictions:
    """Return a function that predicts for the test documents by classifiers, as `classify` does."""

    def make(*models: str) -> str:
        classifier, dataset = DocumentClassifier.load(*models, device="cpu"), TokenDataset(test_tokens)
        folder = Folder(str(tmp_path_factory.mktemp("predicted") / "predictions"))
        config = {"input": [test_tokens], "model": list(models)}
        config |= {"objective": classifier.scheme.objective, "labels": list(classifier.labels)}
        inputs = {f"weights {number}": ModelDirectory(uri).fingerprint for number, uri in enumerate(models, 1)}
        inputs["tokens"] = dataset.fingerprint
        job = JobRecord("classify", "ulmfit-ray classify ...", config, inputs)
        folder.publish_json({"job": job.to_json()}, "config.json")
        receipts = []
        for row, table in zip(dataset.shards, dataset.tables(), strict=True):
            values, offsets = flat_tokens(table["tokens"])
            documents = [values[start:stop] for start, stop in pairwise(offsets)]
            rows = prediction_table(table, np.diff(offsets), classifier.score_tokens(documents), classifier.scheme)
            receipt = Receipt(plan="p", shard=row.shard, num_documents=len(rows), num_tokens=row.num_tokens)
            files = {f"shards/{row.shard}.parquet": partial(write_parquet, rows)}
            receipts.append(commit_shard(folder, receipt, files, began=time.monotonic()))
        known = {"vocab": dataset.manifest.vocab, "tokenizer": dataset.manifest.tokenizer, "plan": "p"}
        write_dataset_manifest(folder, receipts, "parquet", Manifest(job="classify", model="m", **known, files={}))
        return folder.uri

    return make
