"""The promise of predicting, on real abstracts, one very long document, and real actors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from classifiers import RATING, SENTIMENT, TOPICS, classifier_of

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.pipelines.encode import classify
from ulmfit_ray.pipelines.encode.config import ClassifyConfig
from ulmfit_ray.pipelines.options import Actors
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.prediction_dataset import PredictionDataset, PredictionScheme, numbers_of
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
LONG = 100_000
MakeClassifier = Callable[..., str]


@pytest.fixture(scope="module")
def make_classifier(tokens: str, tmp_path_factory: pytest.TempPathFactory) -> MakeClassifier:
    """Return a function that writes a classifier of random weights; see classifiers.classifier_of."""

    def make(head: ClassifierHead = SENTIMENT, direction: str = "forward", seed: int = 0) -> str:
        return classifier_of(tokens, tmp_path_factory.mktemp("models") / "m", head, direction=direction, seed=seed)

    return make


@pytest.fixture(scope="module")
def ensemble(make_classifier: MakeClassifier) -> tuple[str, str]:
    return make_classifier(direction="forward"), make_classifier(direction="backward", seed=1)


@pytest.fixture(scope="module")
def predictions(ensemble: tuple[str, str], tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("predictions") / "predictions")
    classify.run(ClassifyConfig(model=ensemble, input=(tokens,), output=output, actors=Actors(min=2)))
    return output


def all_numbers(output: str) -> np.ndarray:
    return np.concatenate([numbers_of(table) for table in PredictionDataset(output).tables()])


def column(output: str, name: str) -> list[object]:
    return [value for table in PredictionDataset(output).tables() for value in table[name].to_pylist()]


def token_arrays(tokens: str) -> list[np.ndarray]:
    documents: list[np.ndarray] = []
    for table in TokenDataset(tokens).tables():
        values, offsets = flat_tokens(table["tokens"])
        documents += np.split(values, offsets[1:-1])
    return documents


@pytest.fixture(scope="module")
def with_a_long_one(
    corpus: Path, tokens: str, abstracts: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The abstracts, and a document of more than 100,000 tokens, with the abstracts' vocabulary."""
    place = tmp_path_factory.mktemp("long")
    shutil.copytree(corpus, place / "corpus")
    words = " ".join(row["text"] for row in abstracts).split()
    text = " ".join((words * (LONG // len(words) + 1))[:LONG])
    (place / "corpus/long.jsonl").write_text(json.dumps({"_id": "long", "title": "", "text": text}) + "\n")
    output = str(place / "tokens")
    columns = {"text_columns": ("title", "text"), "id_column": "_id", "keep_columns": ("title",)}
    tokenize.run(TokenizeConfig(input=(str(place / "corpus"),), output=output, vocab=tokens, **columns))
    return output


@pytest.mark.slow
def test_probabilities_are_the_same_to_the_last_bit_alone_in_any_batch_and_from_any_number_of_actors(
    ensemble: tuple[str, str], with_a_long_one: str, tmp_path: Path
) -> None:
    classifier = DocumentClassifier.load(*ensemble, device="cpu")
    documents = token_arrays(with_a_long_one)
    size = len(documents)
    assert size == 201
    assert max(map(len, documents)) > LONG
    alone = np.concatenate([classifier.score_tokens([document]) for document in documents])
    batches = [classifier.score_tokens(documents[start : start + 32]) for start in range(0, size, 32)]
    order = np.random.default_rng(0).permutation(size)
    shuffled = np.empty_like(alone)
    shuffled[order] = classifier.score_tokens([documents[number] for number in order])
    ways = {
        "batches": np.concatenate(batches),
        "backwards": classifier.score_tokens(documents[::-1])[::-1],
        "shuffled": shuffled,
    }
    for actors in (1, 2):
        output = str(tmp_path / f"{actors}")
        pool = Actors(min=actors, max=actors)
        classify.run(ClassifyConfig(model=ensemble, input=(with_a_long_one,), output=output, actors=pool))
        ways[f"{actors} actors"] = all_numbers(output)
    for way, numbers in ways.items():
        assert np.array_equal(numbers, alone), way
    assert len(np.unique(alone, axis=0)) > 190


def test_raw_text_through_the_document_classifier_gives_the_jobs_predictions_to_the_last_bit(
    ensemble: tuple[str, str], predictions: str, abstracts: list[dict[str, str]]
) -> None:
    by_id = {row["_id"]: [row["title"], row["text"]] for row in abstracts}
    texts = [by_id[str(doc_id)] for doc_id in column(predictions, "doc_id")]
    found = DocumentClassifier.load(*ensemble, device="cpu").predict(texts)
    np.testing.assert_array_equal(found.probabilities, all_numbers(predictions))
    assert found.labels == column(predictions, "prediction")


def test_the_prediction_dataset_opens_as_plain_parquet_and_verifies(predictions: str) -> None:
    table = pq.read_table(Path(predictions, "shards"))
    assert table.schema.names == ["doc_id", "num_tokens", "title", "prediction", "probabilities"]
    assert str(table.schema.field("probabilities").type) == "fixed_size_list<element: float>[3]"
    for path in Path(predictions, "shards").iterdir():
        scheme = PredictionScheme.of_schema(pq.read_schema(path))
        assert scheme == PredictionScheme(objective="single-label", labels=("neg", "neutral", "pos"))
    assert verify.run(VerifyConfig(input=predictions))["num_documents"] == 200


@pytest.mark.parametrize("head", [TOPICS, RATING], ids=lambda head: head.objective)
def test_several_labels_and_numbers_are_predicted_and_verify(
    make_classifier: MakeClassifier, tokens: str, tmp_path: Path, head: ClassifierHead
) -> None:
    model, output = make_classifier(head), str(tmp_path / "predictions")
    classify.run(ClassifyConfig(model=(model,), input=(tokens,), output=output))
    classifier = DocumentClassifier.load(model, device="cpu")
    np.testing.assert_array_equal(all_numbers(output), classifier.score_tokens(token_arrays(tokens)))
    table = pq.read_table(Path(output, "shards/part-0000000.parquet"))
    kinds = {"multi-label": pa.list_(pa.string()), "regression": pa.float64()}
    assert table.schema.field("prediction").type == kinds[head.objective]
    assert ("probabilities" in table.schema.names) == (head.objective == "multi-label")
    assert PredictionScheme.of_schema(table.schema) == classifier.scheme
    assert verify.run(VerifyConfig(input=output))["num_documents"] == 200


def test_a_finished_output_is_said_to_be_finished_and_not_read_again(
    predictions: str, ensemble: tuple[str, str], tokens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    classify.run(ClassifyConfig(model=ensemble, input=(tokens,), output=predictions))
    shown = capsys.readouterr().out
    assert "complete, nothing to do" in shown
    assert "predicted" not in shown


def test_of_many_labels_the_summary_has_the_most_frequent_ones(
    make_classifier: MakeClassifier, tokens: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ClassifierHead(objective="multi-label", labels=tuple(f"topic-{number}" for number in range(30)))
    output = str(tmp_path / "predictions")
    classify.run(ClassifyConfig(model=(make_classifier(many),), input=(tokens,), output=output))
    shown = capsys.readouterr().out
    counts = PredictionDataset(output).documents_per_label()
    assert sum(counts.values()) > 1000
    often = sorted(counts.values())[-10:]
    assert shown.count("predicted topic-") == 10
    assert " ".join(shown.replace("│", " ").split()).count(f"other labels {sum(counts.values()) - sum(often):,} ") == 1


def test_the_manifest_names_all_models(predictions: str, ensemble: tuple[str, str]) -> None:
    manifest, inputs = PredictionDataset(predictions).manifest, PredictionDataset(predictions).job.inputs
    hashes = [ModelDirectory(uri).fingerprint for uri in ensemble]
    assert manifest.model == "+".join(hashes)
    assert [inputs["weights 1"], inputs["weights 2"]] == hashes


def test_an_output_of_other_models_is_refused(predictions: str, ensemble: tuple[str, str], tokens: str) -> None:
    with pytest.raises(ConfigError, match=r"belongs to another config \(.*model: "):
        classify.run(ClassifyConfig(model=ensemble[:1], input=(tokens,), output=predictions))


def refused(tmp_path: Path, tokens: str, *models: str) -> str:
    """Return what is said when these models are to predict; nothing is begun."""
    output = tmp_path / "predictions"
    with pytest.raises((ValueError, ConfigError)) as error:
        classify.run(ClassifyConfig(model=models, input=(tokens,), output=str(output)))
    assert not output.exists()
    assert len(str(error.value).splitlines()) <= 2
    return str(error.value)


def test_a_model_that_is_no_classifier_is_refused(
    ensemble: tuple[str, str], language_model: str, tokens: str, tmp_path: Path
) -> None:
    told = refused(tmp_path, tokens, ensemble[0], language_model)
    assert told.startswith(f"model {language_model} is no classifier, but of kind lm")


def test_classifiers_of_other_labels_are_refused(make_classifier: MakeClassifier, tokens: str, tmp_path: Path) -> None:
    first, other = make_classifier(), make_classifier(ClassifierHead(objective="single-label", labels=("neg", "pos")))
    told = refused(tmp_path, tokens, first, other)
    assert told.startswith(f"models {first} and {other} cannot predict together")
    assert told.endswith("label 1 is 'neutral' in the first and 'pos' in the second")


def test_tokens_of_another_vocabulary_are_refused(ensemble: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("some words of another corpus")
    tokens = str(tmp_path / "tokens")
    tokenize.run(TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=tokens, min_freq=1))
    assert "does not fit model" in refused(tmp_path, tokens, *ensemble)


def test_a_kept_column_of_a_name_that_is_predicted_is_refused(
    ensemble: tuple[str, str], tokens: str, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(tokens, tmp_path / "tokens"))
    config = json.loads((copied / "config.json").read_text())
    config["job"]["keep_columns"] = ["title", "prediction"]
    (copied / "config.json").write_text(json.dumps(config))
    assert "has a kept column prediction" in refused(tmp_path, str(copied), *ensemble)


def test_at_least_one_model_is_needed(tokens: str) -> None:
    with pytest.raises(ConfigError, match="--model needs at least one model directory"):
        ClassifyConfig(model=(), input=(tokens,), output="out")
