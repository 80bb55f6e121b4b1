"""Tokens that say nothing about what a text is about."""

import numpy as np

from ulmfit_ray.text.stop_words import silent_ids, stop_words
from ulmfit_ray.text.vocab import Vocab


def test_stop_words_punctuation_and_marks_say_nothing() -> None:
    tokens = ["xxunk", "xxmaj", "the", "cell", ",", "--", "2", "β", "'s", "ª"]
    counts = np.ones(len(tokens), np.int64)
    vocab = Vocab(itos=tokens, counts=counts, documents=counts, num_documents=1, num_tokens=len(tokens))
    silent = silent_ids(vocab, "en")
    assert [token for token, is_silent in zip(tokens, silent, strict=True) if not is_silent] == ["cell", "2", "β", "ª"]


def test_a_language_has_its_own_stop_words() -> None:
    assert "und" in stop_words("de")
    assert "und" not in stop_words("en")


def test_a_language_may_have_none() -> None:
    assert stop_words("xx") == frozenset()
