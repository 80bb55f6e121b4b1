"""The kinds of tokenizers behind one protocol. Each is one file beside this one; the table at the end lists them.

A kind's module is imported when it is asked for: spaCy takes a second, and a config needs none of it.
"""

import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from ulmfit_ray.text.presets import FASTAI_V2, PRESETS, rules_fingerprint
from ulmfit_ray.text.tokenizers.tokenized import Tokenized

Kind = Literal["spacy", "whitespace", "characters", "sentencepiece"]
ModelType = Literal["unigram", "bpe"]
Eos = Literal["none", "line", "document"]
Refusal = tuple[str, str]
"""A reason (one of a few) and a detail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSettings:
    """What decides how a text is cut into tokens, and nothing else."""

    kind: Kind = "spacy"
    """What cuts the words."""
    lang: str = "en"
    """spaCy's code of the language."""
    rules: tuple[str, ...] = FASTAI_V2
    """Cleaning rules: the name of a preset, or names of rules in the order in which they run; see presets.py."""
    mark_fields: bool = False
    """Put `xxfld n` in front of the n-th text column."""
    eos: Eos = "none"
    """Where xxeos stands: nowhere, behind each line, or behind each document."""

    def to_json(self) -> dict[str, Any]:
        """Return what tokenizer.json says of them; a preset is a name there, not a list."""
        is_preset = len(self.rules) == 1 and self.rules[0] in PRESETS
        return asdict(self) | {"rules": self.rules[0] if is_preset else list(self.rules)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TokenizerSettings":
        """Rebuild settings; what is not there has its default."""
        own = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        rules = own["rules"]
        return cls(**own | {"rules": (rules,) if isinstance(rules, str) else tuple(rules)})

    def fingerprint(self, **facts: str) -> str:
        """SHA-256 over the settings, what the rules look for, and `facts` about what cuts the words.

        `eos` is part of it where it changes tokens, which "none" does not.
        """
        parts = self.to_json() | {"rules_fingerprint": rules_fingerprint(self.rules)} | facts
        if self.eos == "none":
            del parts["eos"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Tokenizer(Protocol):
    """Raw text -> tokens. What stands in front of a document and behind its lines is put there by types.py."""

    settings: TokenizerSettings
    fingerprint: str
    """The same wherever every text is cut alike: covers settings and rules. The version of a package stands in it only
    where that package's dictionary cuts the words."""

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of one field, or of one line of it: no xxbos, no xxeos, no field mark."""

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of many fields, the same as one by one, but faster.

        Raises:
            UnicodeEncodeError: a text holds half a surrogate pair.
        """

    def refusal(self, text: str) -> Refusal | None:
        """Return why a field's document is put aside: to cut it would take time with the square of its length."""

    def forget(self) -> None:
        """Give back the memory of what was seen so far, if it has become much. Called between shards."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json; see `description`."""


KINDS = {
    "spacy": "ulmfit_ray.text.tokenizers.spacy_words:SpacyTokenizer",
    "whitespace": "ulmfit_ray.text.tokenizers.whitespace:WhitespaceTokenizer",
    "characters": "ulmfit_ray.text.tokenizers.characters:CharacterTokenizer",
    "sentencepiece": "ulmfit_ray.text.tokenizers.subwords:SentencePieceTokenizer",
}
"""Kind -> the module and class that make it."""
WITH_MODEL = ("sentencepiece",)
"""Kinds that cut by a trained model, the file tokenizer.model beside tokenizer.json."""


def description(tokenizer: Tokenizer, *packages: str) -> dict[str, Any]:
    """Return the content of tokenizer.json: settings, fingerprint, and the versions of the packages that cut words."""
    versions = {name: importlib.metadata.version(name) for name in packages or ("ulmfit-ray",)}
    facts = {"fingerprint": tokenizer.fingerprint, "versions": versions}
    return {"format_version": 1, **tokenizer.settings.to_json(), **facts}


def make_tokenizer(settings: TokenizerSettings, model: bytes | None = None) -> Tokenizer:
    """Return a new tokenizer; `model` is the content of tokenizer.model, for kinds WITH_MODEL.

    Raises:
        ImportError: the language is not known, or needs a package that is not installed; the message names it.
        ValueError: the kind is not known to this version, or the model is not there or does not suit the rules.
    """
    if settings.kind not in KINDS:
        known = ", ".join(KINDS)
        raise ValueError(f"tokenizer kind {settings.kind!r} is not known to this version of ulmfit-ray ({known})")
    module, name = KINDS[settings.kind].split(":")
    if settings.kind in WITH_MODEL and model is None:
        raise ValueError(f"a tokenizer of kind {settings.kind} needs its tokenizer.model, which is missing")
    parts = (settings, model) if settings.kind in WITH_MODEL else (settings,)
    tokenizer: Tokenizer = getattr(importlib.import_module(module), name)(*parts)
    return tokenizer


def load_tokenizer(description: Mapping[str, Any], model: bytes | None = None) -> Tokenizer:
    """Return the tokenizer that tokenizer.json describes, with the tokenizer.model beside it if there is one.

    Raises:
        ValueError: this machine's tokenizer would cut texts otherwise than the one that was recorded.
    """
    tokenizer = make_tokenizer(TokenizerSettings.from_json(description), model)
    if tokenizer.fingerprint != description["fingerprint"]:
        ours, theirs = _versions(tokenizer.to_json()), _versions(description)
        remedy = f"install {theirs}" if ours != theirs else "use the version of ulmfit-ray that recorded it"
        raise ValueError(
            f"this machine's tokenizer ({tokenizer.fingerprint[:12]}, {ours}) cuts text otherwise than the recorded"
            f" one ({description['fingerprint'][:12]}, {theirs}): {remedy}"
        )
    return tokenizer


def _versions(description: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in description["versions"].items())
