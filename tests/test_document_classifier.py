import json
from pathlib import Path

import numpy as np
import pytest
from classifiers import RATING, SENTIMENT, TOPICS, random_classifier, write_classifier

from ulmfit_ray import document_encoder
from ulmfit_ray.document_classifier import DocumentClassifier
from ulmfit_ray.document_encoder import HEAD, DocumentEncoder
from ulmfit_ray.encoding.classifier import DocumentScorer
from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.classifier import Classifier
from ulmfit_ray.model.description import ClassifierHead, Reading
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

WORDS = ["the", "a", "cat", "dog", "sat", "mat", "on", "."]
ITOS = [*SPECIAL_TOKENS, *WORDS]
OTHER_ITOS = [*SPECIAL_TOKENS, "dog", "The", "cat", "sat", "on"]
TEXTS = ["The cat sat on the mat.", "", "a dog", "A ZEBRA sat on the dog!!!"]
TOKENS = [
    "xxbos xxmaj the cat sat on the mat .",
    "xxbos",
    "xxbos a dog",
    "xxbos a xxup xxunk sat on the dog xxrep 3 !",
]
OTHER_TOKENS = ["xxbos The cat sat on the mat.", "xxbos", "xxbos a dog", "xxbos A ZEBRA sat on the dog!!!"]
SPACY, SPLIT = TokenizerSettings(), TokenizerSettings(kind="whitespace", rules=NONE)
HEADS = pytest.mark.parametrize("head", [SENTIMENT, TOPICS, RATING], ids=lambda head: head.objective)


def classifier(head: ClassifierHead, seed: int = 0, itos: list[str] = ITOS) -> Classifier:
    shape = Architecture(vocab_size=len(itos), embedding_dim=6, hidden_size=10, num_layers=2)
    return random_classifier(head, shape, seed)


def write(
    place: Path,
    head: ClassifierHead,
    seed: int = 0,
    *,
    direction: str = "forward",
    itos: list[str] = ITOS,
    settings: TokenizerSettings = SPACY,
) -> str:
    ones = np.ones(len(itos), np.int64)
    vocab, tokenizer = Vocab(itos, ones, ones, num_documents=9, num_tokens=99), make_tokenizer(settings).to_json()
    return write_classifier(place, classifier(head, seed, itos), vocab, tokenizer, direction=direction)


def ids_by_hand(lines: list[str] = TOKENS, itos: list[str] = ITOS) -> list[np.ndarray]:
    stoi = {token: number for number, token in enumerate(itos)}
    return [np.array([stoi.get(token, 0) for token in line.split()]) for line in lines]


def reversed_ids() -> list[np.ndarray]:
    return [ids[::-1].copy() for ids in ids_by_hand()]


def scores(model: Classifier, ids: list[np.ndarray]) -> np.ndarray:
    return DocumentScorer(model).score(ids).probabilities


def test_probabilities_of_texts_are_those_of_their_ids(tmp_path: Path) -> None:
    found = DocumentClassifier.load(write(tmp_path / "m", SENTIMENT), device="cpu").predict(TEXTS)
    expected = scores(classifier(SENTIMENT), ids_by_hand())
    assert found.probabilities.dtype == np.float32
    np.testing.assert_array_equal(found.probabilities, expected)
    assert found.labels == [SENTIMENT.labels[number] for number in expected.argmax(1)]
    assert len(np.unique(expected.round(4), axis=0)) == len(TEXTS)


def test_several_labels_are_those_that_reach_their_thresholds(tmp_path: Path) -> None:
    uris = [write(tmp_path / str(seed), TOPICS, seed) for seed in range(3)]
    models = [classifier(TOPICS, seed) for seed in range(3)]
    thresholds = np.mean([model.thresholds.numpy() for model in models], axis=0)
    found = DocumentClassifier.load(*uris, device="cpu").predict(TEXTS)
    expected = np.mean([scores(model, ids_by_hand()).astype(np.float64) for model in models], axis=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-7)
    assert found.labels == [
        [label for label, p, least in zip(TOPICS.labels, row, thresholds, strict=True) if p >= least]
        for row in found.probabilities
    ]
    assert all(0 < len(labels) < 4 for labels in found.labels)


def test_a_regression_predicts_the_mean_of_the_models_numbers_and_no_probabilities(tmp_path: Path) -> None:
    uris = [write(tmp_path / str(seed), RATING, seed) for seed in range(2)]
    classifiers = DocumentClassifier.load(*uris, device="cpu")
    found = classifiers.predict(TEXTS)
    first, second = (scores(classifier(RATING, seed), ids_by_hand())[:, 0] for seed in range(2))
    assert found.labels == ((first + second) / 2).tolist()
    assert all(type(number) is float for number in found.labels)
    assert (classifiers.labels, found.probabilities.shape) == ((), (4, 0))


def test_several_models_predict_by_the_mean_each_by_its_own_tokenizer_vocabulary_and_direction(tmp_path: Path) -> None:
    uris = [
        write(tmp_path / "forward", SENTIMENT, 0),
        write(tmp_path / "backward", SENTIMENT, 1, direction="backward"),
        write(tmp_path / "other words", SENTIMENT, 2, itos=OTHER_ITOS, settings=SPLIT),
    ]
    parts = [
        scores(classifier(SENTIMENT, 0), ids_by_hand()),
        scores(classifier(SENTIMENT, 1), reversed_ids()),
        scores(classifier(SENTIMENT, 2, OTHER_ITOS), ids_by_hand(OTHER_TOKENS, OTHER_ITOS)),
    ]
    found = DocumentClassifier.load(*uris, device="cpu").predict(TEXTS)
    expected = ((parts[0].astype(np.float64) + parts[1] + parts[2]) / 3).astype(np.float32)
    np.testing.assert_array_equal(found.probabilities, expected)
    assert found.labels == [SENTIMENT.labels[number] for number in expected.argmax(1)]


@HEADS
def test_ids_of_a_common_vocabulary_give_what_their_texts_give(tmp_path: Path, head: ClassifierHead) -> None:
    uris = [write(tmp_path / direction, head, direction=direction) for direction in ("forward", "backward")]
    classifiers = DocumentClassifier.load(*uris, device="cpu")
    numbers = classifiers.score_tokens(ids_by_hand())
    found = classifiers.predict(TEXTS)
    assert found.labels == classifiers.scheme.predictions(numbers).to_pylist()
    if head.labels:
        np.testing.assert_array_equal(found.probabilities, numbers)
    assert not np.allclose(numbers, scores(classifier(head), ids_by_hand()))


def test_one_text_is_a_list_of_one(tmp_path: Path) -> None:
    classifiers = DocumentClassifier.load(write(tmp_path / "m", SENTIMENT), device="cpu")
    one, many = classifiers.predict(TEXTS[0]), classifiers.predict(TEXTS)
    assert one.labels == many.labels[:1]
    np.testing.assert_array_equal(one.probabilities, many.probabilities[:1])


@HEADS
def test_no_texts_have_no_predictions(tmp_path: Path, head: ClassifierHead) -> None:
    found = DocumentClassifier.load(write(tmp_path / "m", head), device="cpu").predict(iter([]))
    assert (found.labels, found.probabilities.shape) == ([], (0, len(head.labels)))


def test_many_texts_are_read_a_block_at_a_time_and_get_the_same_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifiers = DocumentClassifier.load(write(tmp_path / "m", SENTIMENT), device="cpu")
    expected = classifiers.predict(TEXTS)
    sizes: list[int] = []
    numericalize = DocumentEncoder.numericalize

    def counting(self: DocumentEncoder, texts: list[str]) -> list[np.ndarray]:
        sizes.append(len(texts))
        return numericalize(self, texts)

    monkeypatch.setattr(document_encoder, "BLOCK", 3)
    monkeypatch.setattr(DocumentEncoder, "numericalize", counting)
    found = classifiers.predict(text for _ in range(2) for text in TEXTS)
    assert sizes == [3, 3, 2]
    assert found.labels == expected.labels * 2
    np.testing.assert_array_equal(found.probabilities, np.tile(expected.probabilities, (2, 1)))


def test_fields_are_tokenized_each_by_itself(tmp_path: Path) -> None:
    settings = TokenizerSettings(mark_fields=True)
    classifiers = DocumentClassifier.load(write(tmp_path / "m", SENTIMENT, settings=settings), device="cpu")
    ids = ids_by_hand(["xxbos xxfld 1 xxmaj the cat xxfld 2 a dog"])
    expected = scores(classifier(SENTIMENT), ids)
    np.testing.assert_array_equal(classifiers.predict([["The cat", "a dog"]]).probabilities, expected)


def test_models_of_other_labels_are_refused_before_their_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = [write(tmp_path / "sentiment", SENTIMENT), write(tmp_path / "topics", TOPICS)]
    monkeypatch.setattr(document_encoder, "load_model", None)
    with pytest.raises(ValueError, match=r"sentiment/model and .*topics/model cannot predict together: the first is"):
        DocumentClassifier.load(*uris)


def test_a_model_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    uri = write(tmp_path / "m", SENTIMENT)
    encoder = DocumentEncoder.load(uri, device="cpu")
    config = json.loads(Path(uri, "config.json").read_text())
    config["model"] |= {"kind": "lm", "head": None}
    Path(uri, "config.json").write_text(json.dumps(config))
    encoder.directory = ModelDirectory(uri)
    for refused in (lambda: DocumentClassifier.load(uri), lambda: encoder.encode(TEXTS, HEAD)):
        with pytest.raises(ValueError, match="is no classifier, but of kind lm"):
            refused()


def test_a_document_encoder_of_a_classifier_gives_its_pooled_vector_or_what_its_head_makes_of_it(
    tmp_path: Path,
) -> None:
    encoder = DocumentEncoder.load(write(tmp_path / "m", SENTIMENT), device="cpu")
    model = classifier(SENTIMENT)
    pooled = TokenEncoder(model, Reading(pooling="concat")).encode(ids_by_hand())
    np.testing.assert_array_equal(encoder.encode(TEXTS), pooled)
    features = DocumentScorer(model).encode(ids_by_hand())
    assert features.shape == (4, 7)
    np.testing.assert_array_equal(encoder.encode(TEXTS, HEAD), features)
    np.testing.assert_array_equal(encoder.encode(TEXTS[0], HEAD), features[0])
    assert encoder.encode([], HEAD).shape == (0, 7)
