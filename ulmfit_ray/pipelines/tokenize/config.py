"""Options of `tokenize`. Loads no Ray and no spaCy, so that --help is quick."""

from dataclasses import dataclass
from typing import Literal

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.pipelines.options import RayRun
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import Rules, TokenizerSettings


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
    rules: Rules = "fastai-v2"
    """Cleaning rules that run before the words are cut."""
    mark_fields: Literal["auto", "yes", "no"] = "auto"
    """Put `xxfld n` in front of each field (auto: when there are several text columns)."""
    vocab: str | None = None
    """Use the vocabulary of this token dataset or model instead of counting one."""
    max_vocab: int = 60_000
    """Size of the vocabulary, the nine special tokens included."""
    min_freq: int = 3
    """Keep tokens that occur at least this often."""
    limit: int = 0
    """Only the first so many documents, bad ones counted, for a trial; what lies behind them is not read (0: all)."""
    max_bad_fraction: float = operational(0.01)
    """Largest fraction of documents, 0 to 1, that may be unreadable; with more the job stops."""

    def __post_init__(self) -> None:
        if self.max_vocab <= len(SPECIAL_TOKENS):
            raise ConfigError(f"--max-vocab must be over {len(SPECIAL_TOKENS)}, the number of special tokens")
        if self.min_freq < 1:
            raise ConfigError(f"--min-freq must be at least 1, not {self.min_freq}")
        if self.limit < 0:
            raise ConfigError(f"--limit must not be negative (0 means all documents), not {self.limit}")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError("--max-bad-fraction must lie between 0 and 1")

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return what decides how texts are cut."""
        marks = len(self.text_columns) > 1 if self.mark_fields == "auto" else self.mark_fields == "yes"
        return TokenizerSettings(lang=self.lang, rules=self.rules, mark_fields=marks)
