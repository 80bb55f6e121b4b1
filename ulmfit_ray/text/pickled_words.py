"""The word lists that fastai pickles (itos_wt103.pkl), read without running what a pickle can run."""

import io
import json
import pickle
from typing import Any


class _ListsOnly(pickle.Unpickler):
    """Builds lists, tuples, dictionaries, strings and numbers; everything else needs a class or a function by name."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and plain lists of words need nothing")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside of it")


def read_words(content: bytes) -> list[str]:
    """Return the list of words in a pickle, or in a JSON file.

    Raises:
        ValueError: it holds something else, or asks for a class or a function.
    """
    try:
        words = json.loads(content) if content.lstrip()[:1] == b"[" else _ListsOnly(io.BytesIO(content)).load()
    except Exception as error:
        # A pickle that is damaged on purpose can raise anything.
        raise ValueError(f"it cannot be read as a list of words: {error}") from error
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(
            "it holds no list of words: write list(learn.dls.vocab) with pickle or json, of a classifier"
            " list(learn.dls.vocab[0])"
        )
    return words
