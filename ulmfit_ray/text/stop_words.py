"""Tokens that say nothing about what a text is about: stop words, punctuation, and marks of our own."""

import importlib

import numpy as np

from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.vocab import Vocab


def stop_words(lang: str) -> frozenset[str]:
    """Return spaCy's stop words of a language, by its code.

    Raises:
        ValueError: spaCy has none for it.
    """
    try:
        module = importlib.import_module(f"spacy.lang.{lang}.stop_words")
    except ModuleNotFoundError as error:
        raise ValueError(f"there are no stop words for language {lang!r}") from error
    return frozenset(module.STOP_WORDS)


def silent_ids(vocab: Vocab, lang: str) -> np.ndarray:
    """Return which ids say nothing, bool (V,).

    Raises:
        ValueError: see `stop_words`.
    """
    silent = stop_words(lang) | set(SPECIAL_TOKENS)
    return np.array([token in silent or not any(map(str.isalnum, token)) for token in vocab.itos])
