"""The tokens of many texts as arrays: distinct tokens, and a number for each occurrence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The tokens of some texts, joined: text i has the tokens `types[id]` for `ids[bounds[i]:bounds[i + 1]]`."""

    types: list[str]
    """The distinct tokens, in the order of their first occurrence."""
    ids: np.ndarray
    """uint32 (tokens,)"""
    bounds: np.ndarray
    """int64 (texts + 1,)"""


def one_by_one(tokenizer: Callable[[str], Sequence[str]], texts: Sequence[str]) -> Tokenized:
    """Return the tokens of texts that are tokenized one by one."""
    ids: dict[str, int] = {}
    numbers = [[ids.setdefault(token, len(ids)) for token in tokenizer(text)] for text in texts]
    bounds = np.cumsum([0, *map(len, numbers)])
    return Tokenized(list(ids), np.fromiter(chain.from_iterable(numbers), np.uint32, bounds[-1]), bounds)


def spelled_out(index: np.ndarray, bounds: np.ndarray, spellings: Sequence[Sequence[str]]) -> Tokenized:
    """Return texts in which `spellings[i]`, some tokens or none, stand wherever `index` is i.

    `index` and `bounds` are as in Tokenized: i is numbered by first occurrence, and so the tokens will be.
    """
    ids: dict[str, int] = {}
    flat = np.array([ids.setdefault(token, len(ids)) for tokens in spellings for token in tokens], np.uint32)
    lengths = np.array([len(tokens) for tokens in spellings], np.int64)
    starts = np.cumsum(lengths) - lengths
    ends = np.concatenate([[0], np.cumsum(lengths[index])])
    return Tokenized(list(ids), flat[ranges(starts[index], lengths[index])], ends[bounds])


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the indices of ranges, joined.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    places = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    places += np.arange(len(places))
    return places
