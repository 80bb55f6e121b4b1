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


def bits_per_byte(loss: float, num_tokens: int, known_bytes: int) -> float:
    """Return the bits that a model needs for each byte of cleaned text, from its mean loss in nats per token.

    It compares models whose tokens differ, where perplexities cannot be compared. `known_bytes` are the bytes of the
    text without those of its unknown words. A model that reads xxunk has not said which word stands there: it pays for
    having said that one does, and is not credited with the word's bytes. Otherwise the model of fewest words would be
    best. Still, of two figures the one with more unknown words says less of the text: look at both rates.
    """
    return loss / math.log(2) * num_tokens / max(1, known_bytes)
