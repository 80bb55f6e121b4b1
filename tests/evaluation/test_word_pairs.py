"""The baseline against scikit-learn's own TF-IDF, and what it does at the edges."""

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from ulmfit_ray.evaluation import word_pairs
from ulmfit_ray.evaluation.word_pairs import INVERSE_PENALTIES, WordPairs, _count, _Words, require_scikit_learn


def random_documents(
    num_documents: int, num_classes: int, seed: int, vocab_size: int = 60
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return documents of 0 to 40 ids and their classes; some ids are likelier in one class than in the others."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, num_classes, num_documents)
    likely = np.where(np.arange(vocab_size) % (2 * num_classes) == targets[:, None], 4.0, 1.0)
    lengths = generator.integers(0, 41, num_documents)
    return [
        generator.choice(vocab_size, length, p=weights / weights.sum()).astype(np.uint16)
        for length, weights in zip(lengths, likely, strict=True)
    ], targets


def dense_rows(documents: Sequence[np.ndarray], train: Sequence[np.ndarray]) -> np.ndarray:
    """Return (1 + ln tf) ln(N / df) of scikit-learn's counts of words and pairs in two documents, of length 1."""
    texts, of_train = ([" ".join(map(str, ids)) for ids in each] for each in (documents, train))
    counter = CountVectorizer(ngram_range=(1, 2), min_df=2, token_pattern=r"\d+").fit(of_train)
    counts = counter.transform(texts).toarray()
    idf = np.log(len(train) / (counter.transform(of_train).toarray() > 0).sum(axis=0))
    rows = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_pairs, "SHARD", 7)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_are_those_of_scikit_learns_counts_and_regression(num_classes: int) -> None:
    train, targets = random_documents(60, num_classes, 0)
    test, _ = random_documents(30, num_classes, 1, vocab_size=80)
    baseline = WordPairs.fit(train, targets, objective="single-label", num_labels=num_classes, inverse_penalty=4.0)
    reference = LogisticRegression(C=4.0, solver="newton-cg").fit(dense_rows(train, train), targets)
    expected = reference.predict_proba(dense_rows(test, train))
    np.testing.assert_allclose(baseline.probabilities(test), expected, atol=1e-4)


def test_numbers_are_those_of_scikit_learns_counts_and_ridge_regression() -> None:
    train, targets = random_documents(60, 3, 0)
    test, _ = random_documents(30, 3, 1, vocab_size=80)
    baseline = WordPairs.fit(train, targets / 2, objective="regression", num_labels=1, inverse_penalty=4.0)
    reference = Ridge(alpha=0.25).fit(dense_rows(train, train), targets / 2)
    np.testing.assert_allclose(baseline.numbers(test), reference.predict(dense_rows(test, train)), atol=1e-3)


def test_each_of_several_labels_has_a_regression_of_its_own() -> None:
    train, classes = random_documents(60, 4, 0)
    test, _ = random_documents(30, 4, 1)
    targets = np.stack([classes == 1, classes >= 2], axis=1).astype(np.int64)
    several = WordPairs.fit(train, targets, objective="multi-label", num_labels=2, inverse_penalty=4.0)
    for label in range(2):
        alone = WordPairs.fit(train, targets[:, label], objective="single-label", num_labels=2, inverse_penalty=4.0)
        np.testing.assert_array_equal(several.probabilities(test)[:, label], alone.probabilities(test)[:, 1])


def test_order_within_a_document_counts() -> None:
    # The same words in both classes; only the pairs (1, 2) and (2, 1) tell them apart.
    first, second = [np.array([1, 2, 3, 1, 2])] * 8, [np.array([2, 1, 3, 2, 1])] * 8
    baseline = WordPairs.fit(
        first + second, np.repeat([0, 1], 8), objective="single-label", num_labels=2, inverse_penalty=64.0
    )
    assert baseline.probabilities([first[0], second[0]]).argmax(axis=1).tolist() == [0, 1]


def test_a_pair_is_never_taken_for_a_word_or_another_pair() -> None:
    large = 2**31 - 2
    count = _count([np.array([0, large, 0, 0]), np.array([large]), np.array([], np.int32)])
    # Of the first: words 0 and large; pairs (0, large), (large, 0), (0, 0).
    assert np.bincount(count.documents, minlength=3).tolist() == [5, 1, 0]
    assert dict(zip(count.keys[:5].tolist(), count.counts[:5].tolist(), strict=True)) == {
        0: 3,
        large: 1,
        (1 << 32) + large: 1,
        (large + 1) << 32: 1,
        1 << 32: 1,
    }


def test_of_too_many_words_those_of_the_most_documents_are_kept() -> None:
    documents = [np.array([1, 5]), np.array([5, 9]), np.array([9, 5]), np.array([9])]
    shards = [_count(documents)]
    assert _Words.of(shards, 10).keys.tolist() == [5, 9]
    assert _Words.of([_count([*documents, np.array([9])])], 1).keys.tolist() == [9]
    np.testing.assert_allclose(_Words.of(shards, 10).idf, np.log([4 / 3, 4 / 3]))


def test_the_penalty_is_chosen_on_documents_that_were_held_out() -> None:
    train, targets = random_documents(400, 2, 0)
    # Labels that the words say nothing of want the strongest penalty, labels that one word decides the weakest.
    noise = np.random.default_rng(5).integers(0, 2, 400)
    marked = [np.append(ids, 100 + label) for ids, label in zip(train, targets, strict=True)]
    assert WordPairs.fit(train, noise, objective="single-label", num_labels=2).inverse_penalty == INVERSE_PENALTIES[0]
    assert WordPairs.fit(marked, targets, objective="single-label", num_labels=2).inverse_penalty == 64


def test_the_same_seed_gives_the_same_baseline() -> None:
    train, targets = random_documents(100, 3, 0)
    one, two = (WordPairs.fit(train, targets, objective="single-label", num_labels=3, seed=3) for _ in range(2))
    assert one.inverse_penalty == two.inverse_penalty
    np.testing.assert_array_equal(one.probabilities(train), two.probabilities(train))


def test_thresholds_of_several_labels_are_lower_for_a_rare_label() -> None:
    train, classes = random_documents(400, 6, 0)
    targets = np.stack([classes == 0, classes != 1], axis=1)
    baseline = WordPairs.fit(train, targets, objective="multi-label", num_labels=2)
    assert baseline.thresholds[0] < 0.5
    given = WordPairs.fit(train, targets, objective="multi-label", num_labels=2, inverse_penalty=1.0)
    assert given.thresholds.tolist() == [0.5, 0.5]


def test_a_class_missing_in_training_keeps_its_column_and_has_probability_zero() -> None:
    train, targets = random_documents(60, 2, 0)
    baseline = WordPairs.fit(train, targets * 2 + 1, objective="single-label", num_labels=5)
    probabilities = baseline.probabilities(train)
    assert probabilities.shape == (60, 5)
    assert not probabilities[:, [0, 2, 4]].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_label_that_no_document_or_every_document_has_is_certain() -> None:
    train, classes = random_documents(60, 2, 0)
    targets = np.stack([np.zeros(60), np.ones(60), classes], axis=1)
    probabilities = WordPairs.fit(train, targets, objective="multi-label", num_labels=3).probabilities(train)
    assert not probabilities[:, 0].any()
    assert (probabilities[:, 1] == 1).all()
    assert 0 < probabilities[:, 2].min() <= probabilities[:, 2].max() < 1


def test_documents_of_unknown_words_or_none_have_the_intercepts_probabilities() -> None:
    train, targets = random_documents(60, 2, 0)
    baseline = WordPairs.fit(train, targets, objective="single-label", num_labels=2)
    probabilities = baseline.probabilities([np.array([5000, 6000]), np.array([], np.int32)])
    assert np.isfinite(probabilities).all()
    np.testing.assert_array_equal(probabilities[0], probabilities[1])


def test_fewer_than_ten_documents_are_enough() -> None:
    train = [np.array([1, 2]), np.array([1, 2]), np.array([3, 4]), np.array([3, 4])]
    baseline = WordPairs.fit(train, np.array([0, 0, 1, 1]), objective="single-label", num_labels=2)
    assert baseline.probabilities(train).argmax(axis=1).tolist() == [0, 0, 1, 1]


def test_documents_without_a_common_word_are_refused() -> None:
    with pytest.raises(ValueError, match="no word that two of the 3 training documents have"):
        WordPairs.fit(
            [np.array([1]), np.array([2]), np.array([3])], np.array([0, 1, 0]), objective="single-label", num_labels=2
        )


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match=r"needs scikit-learn: pip install 'ulmfit-ray\[evaluate\]'"):
        require_scikit_learn()
    with pytest.raises(ValueError, match="scikit-learn"):
        WordPairs.fit([np.array([1])], np.array([0]), objective="single-label", num_labels=2)
