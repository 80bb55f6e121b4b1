"""Options of `tokenize`. Loads no Ray and no spaCy, so that --help is quick."""

from dataclasses import dataclass, field
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.pipelines.options import RayRun
from ulmfit_ray.text.presets import FASTAI_07, FASTAI_V2, NONE, rule_names
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import Eos, Kind, TokenizerSettings

AUTO = ("auto",)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerOptions:
    """What cuts the text into tokens."""

    kind: Kind = "spacy"
    """spacy: words as spaCy cuts them; whitespace: text that is tokenized already; characters: one by one."""
    eos: Eos = "none"
    """Put xxeos behind each document, or behind each line; with line, no xxbos stands in front of documents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig(RayRun):
    """Turn raw text into a token dataset: cleaned, tokenized, counted and numericalized."""

    input: tuple[str, ...]
    """Files, globs, folders, or URIs of a file system (s3://, gs://, hdfs://); compressed files too."""
    output: str = operational()
    """Directory or URI of the token dataset."""
    format: Literal["auto", "txt", "lines", "csv", "jsonl"] = "auto"
    """auto: by extension; txt: a document per file; lines, jsonl: a document per line; csv: a document per row."""
    text_columns: tuple[str, ...] = ("text",)
    """Columns with text (csv, jsonl), each cleaned and tokenized by itself, joined in this order."""
    id_column: str | None = None
    """Column with the document's id (default: <file name>#<byte offset>)."""
    keep_columns: tuple[str, ...] = ()
    """Columns to copy into the output unchanged."""
    lang: str = "en"
    """spaCy's code of the language, such as en or de; ja, ko, th and vi need the extra of that name."""
    rules: tuple[str, ...] = AUTO
    """Cleaning rules: fastai-v2, fastai-v1, fastai-0.7, none, or rules by name, in the order in which they run.
    auto: fastai-v2 with spacy, none with whitespace and characters."""
    tokenizer: TokenizerOptions = field(default_factory=TokenizerOptions)
    mark_fields: Literal["auto", "yes", "no"] = "auto"
    """Put `xxfld n` in front of each field (auto: with several text columns, and with the rules of fastai-0.7)."""
    vocab: str | None = None
    """Use the vocabulary of this token dataset or model instead of counting one."""
    max_vocab: int = 60_000
    """Size of the vocabulary, the nine special tokens included."""
    min_freq: int = 3
    """Keep tokens that occur at least this often."""
    max_bad_fraction: float = operational(0.01)
    """Largest fraction of documents, 0 to 1, that may be unreadable; with more the job stops."""

    def __post_init__(self) -> None:
        if self.max_vocab <= len(SPECIAL_TOKENS):
            raise ConfigError(f"--max-vocab must be over {len(SPECIAL_TOKENS)}, the number of special tokens")
        if self.min_freq < 1:
            raise ConfigError(f"--min-freq must be at least 1, not {self.min_freq}")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError("--max-bad-fraction must lie between 0 and 1")

        try:
            rule_names(self._rules())
        except ValueError as error:
            raise ConfigError(f"--rules: {error}") from error

    def _rules(self) -> tuple[str, ...]:
        if self.rules != AUTO:
            return self.rules
        return FASTAI_V2 if self.tokenizer.kind == "spacy" else NONE

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return what decides how texts are cut."""
        marks = self.mark_fields == "yes"
        if self.mark_fields == "auto":
            marks = len(self.text_columns) > 1 or self.rules == FASTAI_07
        tokenizer = self.tokenizer
        return TokenizerSettings(
            kind=tokenizer.kind, lang=self.lang, rules=self._rules(), mark_fields=marks, eos=tokenizer.eos
        )
