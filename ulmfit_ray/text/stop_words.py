"""Words that say nothing of what a text is about: spaCy's lists, by language; and punctuation, and marks of our own."""

import numpy as np

from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.vocab import Vocab


def stop_words(lang: str) -> frozenset[str]:
    """Return those of a language, in small letters; `lang` is spaCy's code."""
    from ulmfit_ray.text.tokenizers.light_spacy import spacy

    return frozenset(spacy.util.get_lang_class(lang).Defaults.stop_words)


def silent_ids(vocab: Vocab, lang: str) -> np.ndarray:
    """Return which ids are stop words, punctuation or marks, bool (V,)."""
    silent = stop_words(lang) | set(SPECIAL_TOKENS)
    return np.array([token in silent or not any(map(str.isalnum, token)) for token in vocab.itos])
