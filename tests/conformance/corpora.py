"""The texts on which our tokens are compared with fastai's. Runs in both environments, with the standard library only.

The data sets lie in a folder that is not part of the repository; those that are missing are named.
"""

import csv
import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from trap_texts import trap_texts  # noqa: E402

DATA = TESTS.parents[1] / "shared/data"
csv.field_size_limit(sys.maxsize)


def _csv_column(column: str, *names: str) -> Iterator[str]:
    for name in names:
        with gzip.open(DATA / name, "rt", encoding="utf-8", newline="") as lines:
            yield from (row[column] for row in csv.DictReader(lines))


def _json_columns(name: str, *columns: str) -> Iterator[str]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        yield from (row[column] for row in map(json.loads, lines) for column in columns if row.get(column))


def _lines(*names: str) -> Iterator[str]:
    for name in names:
        with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
            yield from lines


def _articles(*names: str) -> Iterator[str]:
    """Yield WikiText's articles: each begins with a line "= Title ="."""
    article: list[str] = []
    for line in _lines(*names):
        if line.startswith(" = ") and not line.startswith(" = =") and article:
            yield "".join(article)
            article = []
        article.append(line)
    yield "".join(article)


WIKITEXT = tuple(f"wikitext-2/wiki.{part}.tokens.txt.gz" for part in ("train", "valid", "test"))
STSB = tuple(f"stsb/sts-{part}.csv.gz" for part in ("train", "dev", "test"))
GERMEVAL = tuple(f"de_germeval2018/{part}.csv.gz" for part in ("train", "test"))
CORPORA: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
    "traps": ("en", lambda: trap_texts(200_000, seed=2026)),
    "traps (de)": ("de", lambda: trap_texts(20_000, seed=2027)),
    "SciFact": ("en", lambda: _json_columns("scifact/corpus.jsonl.gz", "title", "text")),
    "Cranfield": ("en", lambda: _json_columns("cranfield/corpus.jsonl.gz", "title", "text")),
    "STS-B": ("en", lambda: _lines(*STSB)),
    "GermEval": ("de", lambda: _lines(*GERMEVAL)),
    "WikiText-2, lines": ("en", lambda: _lines(*WIKITEXT)),
    "WikiText-2, articles": ("en", lambda: _articles(*WIKITEXT)),
    "IMDb": ("en", lambda: _csv_column("text", *(f"imdb/{part}.csv.gz" for part in ("train", "test", "unsup")))),
}
"""Name -> language and texts."""


def digest(strings: Iterable[str]) -> str:
    """Return a short hash of strings in their order, such as a text's tokens."""
    return hashlib.blake2b(json.dumps(list(strings)).encode(), digest_size=8).hexdigest()
