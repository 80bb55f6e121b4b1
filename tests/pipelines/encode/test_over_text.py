"""Raw text straight to predictions and vectors: the same bytes as over a token dataset, whatever happens on the way."""

import csv
import gzip
import io
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faults
import numpy as np
import pyarrow as pa
import pytest
import ray
from classifiers import SENTIMENT, classifier_of, random_classifier, write_classifier

from ulmfit_ray.commands import inspect, verify
from ulmfit_ray.commands.inspect import InspectConfig
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.lifecycle import Outcome, Tally
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.pipelines.encode import classify, embed, over_text, tokenizing
from ulmfit_ray.pipelines.encode.config import ClassifyConfig, EmbedConfig
from ulmfit_ray.pipelines.options import Actors
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.folder import sha256_file
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.prediction_dataset import PredictionDataset, numbers_of
from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
COLUMNS: dict[str, Any] = {"text_columns": ("title", "text"), "id_column": "_id", "keep_columns": ("title",)}
"""The corpus is read as the `tokens` were."""


@pytest.fixture(scope="module")
def forward(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return classifier_of(tokens, tmp_path_factory.mktemp("models") / "forward")


@pytest.fixture(scope="module")
def ensemble(forward: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two classifiers that see text alike."""
    backward = classifier_of(tokens, tmp_path_factory.mktemp("models") / "backward", direction="backward", seed=1)
    return forward, backward


@pytest.fixture(scope="module")
def split(abstracts: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier of the same labels that cuts text at blanks, and knows other words."""
    words = sorted({word for row in abstracts[::3] for word in row["text"].split()})
    itos = [*SPECIAL_TOKENS, *words]
    ones = np.ones(len(itos), np.int64)
    vocab = Vocab(itos, ones, ones, num_documents=9, num_tokens=99)
    shape = Architecture(vocab_size=len(itos), embedding_dim=8, hidden_size=12, num_layers=2).without_dropout()
    model = random_classifier(SENTIMENT, shape, seed=2)
    tokenizer = make_tokenizer(TokenizerSettings(kind="whitespace", rules=NONE))
    return write_classifier(tmp_path_factory.mktemp("models") / "split", model, vocab, tokenizer.to_json())


def classified(*models: str, **options: Any) -> Manifest:
    manifest = classify.run(ClassifyConfig(model=models, **options))
    assert manifest is not None
    return manifest


def hashes(output: str) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(Path(output, "shards").iterdir())}


def column(output: str, name: str) -> list[Any]:
    return [value for table in PredictionDataset(output).tables() for value in table[name].to_pylist()]


def all_numbers(output: str) -> np.ndarray:
    return np.concatenate([numbers_of(table) for table in PredictionDataset(output).tables()])


def texts_of(output: str, abstracts: list[dict[str, str]]) -> list[list[str]]:
    """Return the fields of the documents of an output, in its order."""
    by_id = {row["_id"]: [row["title"], row["text"]] for row in abstracts}
    return [by_id[doc_id] for doc_id in column(output, "doc_id")]


def noting_tokenizer(place: Path, texts: pa.Table, **known: Any) -> Iterator[pa.Table]:
    (place / f"tokenizer.{os.getpid()}").touch()
    yield from tokenizing.tokenize_texts(texts, **known)


def noting_actor(place: Path, models: tuple[str, ...]) -> classify.Classifying:
    (place / f"actor.{os.getpid()}").touch()
    return classify.Classifying(models)


def classified_and_noted(*models: str, output: str, **options: Any) -> Manifest:
    """Classify, and note beside the output which process does what."""
    place = Path(output).parent
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(over_text, "tokenize_texts", partial(noting_tokenizer, place))
        patch.setattr(classify, "Classifying", partial(noting_actor, place))
        return classified(*models, output=output, **options)


def assert_stages_are_apart(output: str) -> None:
    noted = Path(output).parent
    tokenizers, actors = ({path.suffix for path in noted.glob(f"{kind}.*")} for kind in ("tokenizer", "actor"))
    assert tokenizers
    assert actors
    assert not tokenizers & actors


@pytest.fixture(scope="module")
def predictions(ensemble: tuple[str, str], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("predictions") / "predictions")
    classified_and_noted(*ensemble, input=(str(corpus),), output=output, **COLUMNS)
    return output


def test_raw_text_gives_the_bytes_that_its_tokens_give_and_the_predictions_of_the_document_classifier(
    predictions: str, ensemble: tuple[str, str], tokens: str, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    over_tokens = str(tmp_path / "over tokens")
    manifest = classified(*ensemble, input=(tokens,), output=over_tokens)
    assert hashes(predictions) == hashes(over_tokens)
    found = DocumentClassifier.load(*ensemble, device="cpu").predict(texts_of(predictions, abstracts))
    np.testing.assert_array_equal(found.probabilities, all_numbers(predictions))
    assert found.labels == column(predictions, "prediction")
    own = PredictionDataset(predictions).manifest
    assert (own.counts, own.vocab, own.tokenizer) == (manifest.counts, manifest.vocab, manifest.tokenizer)
    assert verify.run(VerifyConfig(input=predictions))["num_documents"] == 200


def test_models_of_other_words_predict_together_and_their_actors_may_take_all_cores(
    forward: str, split: str, corpus: Path, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    classified_and_noted(forward, split, input=(str(corpus),), output=output, actors=Actors(min=2), **COLUMNS)
    found = DocumentClassifier.load(forward, split, device="cpu").predict(texts_of(output, abstracts))
    np.testing.assert_array_equal(found.probabilities, all_numbers(output))
    # The session has two cores: a tokenizer had to do without one.
    assert_stages_are_apart(output)


def test_tokenizers_are_no_processes_of_the_actors(predictions: str) -> None:
    assert_stages_are_apart(predictions)


def write_packed_csv(path: Path, abstracts: list[dict[str, str]]) -> None:
    """Write a file that is streamed in two shards; a row in each of them is broken."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["name", "text"])
    for number in range(7):
        writer.writerows([f"{number}-{row['_id']}", row["text"]] for row in abstracts)
        if number == 2:
            lines.write("broken,row,here\r\n")
    content = lines.getvalue().encode() + b"last,\xff\r\n"
    path.write_bytes(gzip.compress(content))


def test_a_packed_file_with_bad_rows_is_streamed_and_a_stop_in_it_costs_nothing(
    forward: str,
    abstracts: list[dict[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, output = tmp_path / "in.csv.gz", str(tmp_path / "out")
    write_packed_csv(source, abstracts)
    reading: dict[str, Any] = {"input": (str(source),), "id_column": "name"}
    tokenize.run(TokenizeConfig(output=str(tmp_path / "tokens"), vocab=forward, **reading))
    over_tokens = classified(forward, input=(str(tmp_path / "tokens"),), output=str(tmp_path / "over tokens"))
    with monkeypatch.context() as patch:
        patch.setattr(Tally, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            classified(forward, output=output, **reading)
    done = {name: path.stat().st_mtime_ns for name, path in receipts(output).items()}
    assert done
    capsys.readouterr()
    manifest = classified(forward, output=output, **reading)
    assert "2 of 1,402 documents cannot be read: see quarantine/" in capsys.readouterr().err
    assert hashes(output) == hashes(str(tmp_path / "over tokens"))
    assert list(receipts(output)) == [f"part-0000000-0000{number}.json" for number in range(2)]
    assert {name: receipts(output)[name].stat().st_mtime_ns for name in done} == done
    assert (manifest.counts.num_documents, manifest.counts.num_tokens) == (1400, over_tokens.counts.num_tokens)
    assert sum(manifest.counts.quarantined.values()) == 2
    bad = [path for place in (output, tmp_path / "tokens") for path in Path(place, "quarantine").iterdir()]
    assert len({path.name for path in bad}) == len({path.read_bytes() for path in bad}) == len(bad) // 2 == 2
    assert verify.run(VerifyConfig(input=output))["num_quarantined"] == 2
    inspect.run(InspectConfig(input=output))
    assert "invalid UTF-8" in capsys.readouterr().out
    Path(output, "manifest.json").unlink()
    source.write_bytes(gzip.compress(b"name,text\nanother,file\n"))
    with pytest.raises(ValueError, match=r"in\.csv\.gz has changed since the plan was made"):
        classified(forward, output=output, **reading)


def interrupted(tally: Tally, outcome: Outcome) -> None:
    """Stop the job at its first outcome, as Ctrl-C would."""
    raise KeyboardInterrupt


def receipts(output: str) -> dict[str, Path]:
    """Return the receipts that are there, by name."""
    # A worker of the run that was stopped may still be writing one, under a temporary name.
    return {path.name: path for path in sorted(Path(output, "done").glob("part-*.json"))}


def test_a_tokenizer_and_an_actor_that_die_change_nothing(
    predictions: str, ensemble: tuple[str, str], corpus: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    with (
        faults.fault("publish", "started/part-0000001-tokenizer.json", kill=True) as ended_tokenizers,
        faults.fault("publish", "shards/part-0000002.parquet", kill=True) as ended_actors,
    ):
        classified(*ensemble, input=(str(corpus),), output=output, **COLUMNS)
    assert (ended_tokenizers(), ended_actors()) == (1, 1)
    assert hashes(output) == hashes(predictions)
    assert not Path(output, "started").exists()


def test_vectors_of_raw_text_are_those_of_the_document_encoder(
    forward: str, corpus: Path, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    embed.run(EmbedConfig(model=(forward,), input=(f"{corpus}/0.jsonl", f"{corpus}/2.*"), output=output, **COLUMNS))
    tables = list(EmbeddingDataset(output).tables())
    by_id = {row["_id"]: [row["title"], row["text"]] for row in abstracts}
    texts = [by_id[doc_id] for table in tables for doc_id in table["doc_id"].to_pylist()]
    assert len(texts) == 100
    vectors = DocumentEncoder.load(forward, "cpu").encode(texts)
    np.testing.assert_array_equal(np.concatenate([vectors_of(table) for table in tables]), vectors)
    assert tables[0].schema.names == ["doc_id", "num_tokens", "num_unknown", "title", "embedding"]
    assert verify.run(VerifyConfig(input=output))["num_documents"] == 100


def test_models_of_other_words_make_vectors_of_the_same_text_side_by_side(
    forward: str, split: str, corpus: Path, abstracts: list[dict[str, str]], tmp_path: Path
) -> None:
    output, models = str(tmp_path / "out"), (split, forward)
    embed.run(EmbedConfig(model=models, input=(f"{corpus}/1.jsonl",), output=output, **COLUMNS))
    dataset = EmbeddingDataset(output)
    (table,) = dataset.tables()
    by_id = {row["_id"]: [row["title"], row["text"]] for row in abstracts}
    texts = [by_id[doc_id] for doc_id in table["doc_id"].to_pylist()]
    alone = [DocumentEncoder.load(model, "cpu").encode(texts) for model in models]
    np.testing.assert_array_equal(vectors_of(table), np.concatenate(alone, 1))
    # Counted in the first one's words.
    lengths = [len(ids) for ids in DocumentEncoder.load(split, "cpu").numericalize(texts)]
    assert table["num_tokens"].to_pylist() == lengths
    with pytest.raises(ConfigError, match="have several vocabularies"):
        verify.run(VerifyConfig(input=output, model=models))
