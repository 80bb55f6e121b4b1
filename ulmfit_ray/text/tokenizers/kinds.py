"""The kinds of tokenizers behind one protocol. Each is one file beside this one; the table at the end lists them.

A kind's module is imported when it is asked for: spaCy takes a second, and a config needs none of it.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np

Rules = Literal["fastai-v2", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSettings:
    """What decides how a text is cut into tokens, and nothing else."""

    lang: str = "en"
    """spaCy's code of the language."""
    rules: Rules = "fastai-v2"
    """Cleaning rules that run before the words are cut."""
    mark_fields: bool = False
    """Put `xxfld n` in front of the n-th text column."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The tokens of some texts, joined: text i has the tokens `types[id]` for `ids[bounds[i]:bounds[i + 1]]`."""

    types: list[str]
    """The distinct tokens, in the order of their first occurrence."""
    ids: np.ndarray
    """uint32 (tokens,)"""
    bounds: np.ndarray
    """int64 (texts + 1,)"""


class Tokenizer(Protocol):
    """Raw text -> tokens."""

    settings: TokenizerSettings
    fingerprint: str
    """The same wherever every text is cut alike: covers settings and rules. The version of a package stands in it only
    where that package's dictionary cuts the words."""

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field: no xxbos, no field mark."""

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of many fields, the same as one by one, but faster."""

    def forget(self) -> None:
        """Give back the memory of what was seen so far, if it has become much. Called between shards."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json: kind, settings, fingerprint, versions."""


KINDS = {"spacy": "ulmfit_ray.text.tokenizers.spacy_words:SpacyTokenizer"}
"""Kind -> the module and class that make it."""


def tokenized(tokenizer: Callable[[str], Sequence[str]], texts: Sequence[str]) -> Tokenized:
    """Return the tokens of texts that are tokenized one by one."""
    ids: dict[str, int] = {}
    numbers = [[ids.setdefault(token, len(ids)) for token in tokenizer(text)] for text in texts]
    bounds = np.cumsum([0, *map(len, numbers)])
    return Tokenized(list(ids), np.fromiter(chain.from_iterable(numbers), np.uint32, bounds[-1]), bounds)


def make_tokenizer(settings: TokenizerSettings, kind: str = "spacy") -> Tokenizer:
    """Return a new tokenizer.

    Raises:
        ImportError: the language is not known, or needs a package that is not installed; the message names it.
        ValueError: the kind is not known to this version.
    """
    if kind not in KINDS:
        raise ValueError(f"tokenizer kind {kind!r} is not known to this version of ulmfit-ray ({', '.join(KINDS)})")
    module, name = KINDS[kind].split(":")
    tokenizer: Tokenizer = getattr(importlib.import_module(module), name)(settings)
    return tokenizer


def load_tokenizer(description: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer that tokenizer.json describes.

    Raises:
        ValueError: this machine's tokenizer would cut texts otherwise than the one that was recorded.
    """
    settings = TokenizerSettings(**{name: description[name] for name in TokenizerSettings.__dataclass_fields__})
    tokenizer = make_tokenizer(settings, description["kind"])
    if tokenizer.fingerprint != description["fingerprint"]:
        ours, theirs = _versions(tokenizer.to_json()), _versions(description)
        remedy = f"install {theirs}" if ours != theirs else "use the version of ulmfit-ray that recorded it"
        raise ValueError(
            f"this machine's tokenizer ({tokenizer.fingerprint[:12]}, {ours}) cuts text otherwise than the recorded"
            f" one ({description['fingerprint'][:12]}, {theirs}): {remedy}"
        )
    return tokenizer


def _versions(description: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in description["versions"].items())
