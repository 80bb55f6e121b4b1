"""What a language model's perplexity must be compared with."""

import math

import numpy as np


def word_frequency_perplexity(train_counts: np.ndarray, valid_counts: np.ndarray) -> float:
    """Return the perplexity of word frequencies alone; both arguments are counts of each word, (V,).

    A word's probability is its count in training plus one, over their sum. A model must be below this figure to
    have learned anything from context.
    """
    smoothed = train_counts + 1
    log_probabilities = np.log(smoothed / smoothed.sum())
    return math.exp(-float(valid_counts @ log_probabilities) / valid_counts.sum())
