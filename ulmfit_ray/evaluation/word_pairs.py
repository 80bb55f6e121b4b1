"""The baseline beside every classifier: TF-IDF of words and of pairs of neighbouring words, and a linear model on it.

It reads the same token ids. A document is (1 + ln tf) ln(N / df) of its words and pairs, scaled to length 1; words and
pairs of a single training document are left out. The linear model is a logistic regression, for several labels one for
each of them, for numbers a ridge regression.

N documents, C labels, F words and pairs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ulmfit_ray.evaluation.classification import best_thresholds, binary_log_loss, log_loss

INVERSE_PENALTIES = (1.0, 4.0, 16.0, 64.0)
"""Candidates of scikit-learn's C, one over the penalty of large weights."""
MOST_WEIGHTS = 2**24
"""F x C: 128 MiB for each of the solver's vectors. With more labels fewer words and pairs are kept."""
SHARD = 1000
"""Documents that are counted and made rows of at once; it bounds the arrays in between."""

Predict = Callable[[Any], np.ndarray]
"""From a sparse matrix (N, F) to probabilities (N, C), or to numbers (N,)."""


def require_scikit_learn() -> None:
    """Raise ValueError where scikit-learn is missing; to be asked before work that ends with the baseline."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ValueError("the baseline needs scikit-learn: pip install 'ulmfit-ray[evaluate]'") from error


class WordPairs:
    """A trained baseline: documents, each an array of token ids, to probabilities or numbers."""

    def __init__(self, words: "_Words", predict: Predict, inverse_penalty: float, thresholds: np.ndarray) -> None:
        """Take over the parts that `fit` has made.

        `thresholds` (C,) are those of several labels, chosen as a classifier's are; .5 where nothing was held out.
        """
        self._words = words
        self._predict = predict
        self.inverse_penalty = inverse_penalty
        self.thresholds = thresholds

    @classmethod
    def fit(
        cls,
        documents: Sequence[np.ndarray],
        targets: np.ndarray,
        *,
        objective: str,
        num_labels: int,
        seed: int = 0,
        inverse_penalty: float | None = None,
    ) -> "WordPairs":
        """Train on documents and their targets: class numbers (N,), 0/1 (N, C), or numbers (N,) for a regression.

        The penalty is the one whose log loss (regression: squared error) is least on a tenth of the documents, drawn by
        `seed`, after training on the others; then all are trained on. The same arguments give the same baseline.
        """
        require_scikit_learn()
        shards = [_count(shard) for shard in _shards(documents)]
        words = _Words.of(shards, MOST_WEIGHTS // max(1, num_labels))
        matrix, targets = words.matrix(shards), np.asarray(targets)
        task = _Task(objective, num_labels)
        thresholds = np.full(num_labels, 0.5)
        order = np.random.default_rng(seed).permutation(len(documents))
        held, others = np.split(order, [len(order) // 10])
        if inverse_penalty is None and len(held) > 0:
            tried = {c: task.fit(matrix[others], targets[others], c)(matrix[held]) for c in INVERSE_PENALTIES}
            losses = {c: task.loss(targets[held], predicted) for c, predicted in tried.items()}
            inverse_penalty = min(losses, key=losses.__getitem__)
            if objective == "multi-label":
                thresholds = best_thresholds(targets[held], tried[inverse_penalty])
        # Fewer than ten documents hold none out.
        inverse_penalty = inverse_penalty or INVERSE_PENALTIES[-1]
        return cls(words, task.fit(matrix, targets, inverse_penalty), inverse_penalty, thresholds)

    def probabilities(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probability of each label, (N, C) float64; 0 for a label that no training document has."""
        return self._predict(self._words.matrix(_count(shard) for shard in _shards(documents)))

    def numbers(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return a regression's numbers, (N,) float64."""
        return self._predict(self._words.matrix(_count(shard) for shard in _shards(documents)))


class _Count(NamedTuple):
    """Words and pairs of some documents, each once for a document: its number, the key, how often it is there."""

    num_documents: int
    documents: np.ndarray
    keys: np.ndarray
    counts: np.ndarray


def _shards(documents: Sequence[np.ndarray]) -> Iterator[Sequence[np.ndarray]]:
    for first in range(0, len(documents), SHARD):
        yield documents[first : first + SHARD]


def _count(documents: Sequence[np.ndarray]) -> _Count:
    """Count the keys of each document: a word's is its id, a pair's (left + 1) * 2**32 + right, so that none are equal.

    There is one np.unique for each document: what it sorts is small.
    """
    pairs = []
    for ids in documents:
        words = ids.astype(np.int64)
        pairs.append(np.unique(np.concatenate([words, (words[:-1] + 1 << 32) | words[1:]]), return_counts=True))
    numbers = np.repeat(np.arange(len(pairs)), [len(keys) for keys, _ in pairs])
    keys, counts = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return _Count(len(pairs), numbers, keys, counts)


class _Words(NamedTuple):
    """The words and pairs that are columns of the matrix: their keys, ascending, and ln(N / df); (F,) both."""

    keys: np.ndarray
    idf: np.ndarray

    @classmethod
    def of(cls, shards: Sequence[_Count], most: int) -> "_Words":
        """Take what at least two documents have; of more than `most` those that the most documents have."""
        num_documents = sum(shard.num_documents for shard in shards)
        keys, frequency = np.unique(np.concatenate([shard.keys for shard in shards]), return_counts=True)
        kept = np.flatnonzero(frequency >= 2)
        kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:most]])
        if len(kept) == 0:
            raise ValueError(f"the baseline found no word that two of the {num_documents} training documents have")
        return cls(keys[kept], np.log(num_documents / frequency[kept]))

    def matrix(self, shards: Iterable[_Count]) -> Any:
        """Return the documents' rows of length 1, sparse (N, F) float64; words and pairs unknown here count nothing."""
        from scipy import sparse

        return sparse.vstack([self._rows(shard) for shard in shards], format="csr")

    def _rows(self, shard: _Count) -> Any:
        from scipy import sparse

        columns = np.minimum(np.searchsorted(self.keys, shard.keys), len(self.keys) - 1).astype(np.int32)
        is_known = self.keys[columns] == shard.keys
        columns, rows = columns[is_known], shard.documents[is_known].astype(np.int32)
        weights = (1 + np.log(shard.counts[is_known])) * self.idf[columns]
        lengths = np.sqrt(np.bincount(rows, weights**2, minlength=shard.num_documents))
        # What every training document has weighs 0: of nothing else there is no length to divide by.
        weights /= np.where(lengths > 0, lengths, 1.0)[rows]
        return sparse.csr_array((weights, (rows, columns)), shape=(shard.num_documents, len(self.keys)))


class _Task(NamedTuple):
    """What is learned: how a linear model is trained for it, and how wrong its predictions are."""

    objective: str
    num_labels: int

    def fit(self, matrix: Any, targets: np.ndarray, inverse_penalty: float) -> Predict:
        if self.objective == "regression":
            return _fit_numbers(matrix, targets, inverse_penalty)
        if self.objective == "single-label":
            return _fit_classes(matrix, targets, self.num_labels, inverse_penalty)
        each = [_fit_classes(matrix, column, 2, inverse_penalty) for column in (targets > 0).astype(np.int64).T]
        return lambda matrix: np.column_stack([predict(matrix)[:, 1] for predict in each])

    def loss(self, targets: np.ndarray, predicted: np.ndarray) -> float:
        if self.objective == "regression":
            return float(np.mean((targets - predicted) ** 2))
        return (log_loss if self.objective == "single-label" else binary_log_loss)(targets, predicted)


def _fit_classes(matrix: Any, targets: np.ndarray, num_classes: int, inverse_penalty: float) -> Predict:
    """Train a logistic regression over the classes that occur; the others have probability 0."""
    from sklearn.linear_model import LogisticRegression

    occurring = np.unique(targets)
    # newton-cg: at its own tolerance lbfgs stops early on such rows, and it keeps twenty vectors of all weights.
    model = LogisticRegression(C=inverse_penalty, solver="newton-cg")
    if len(occurring) > 1:
        model.fit(matrix, targets)

    def predict(matrix: Any) -> np.ndarray:
        probabilities = np.zeros((matrix.shape[0], num_classes))
        probabilities[:, occurring] = model.predict_proba(matrix) if len(occurring) > 1 else 1.0
        return probabilities

    return predict


def _fit_numbers(matrix: Any, targets: np.ndarray, inverse_penalty: float) -> Predict:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1 / inverse_penalty).fit(matrix, targets).predict
