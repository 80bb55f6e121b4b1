"""Tokens per second of one core, cleaning and spaCy included, beside the same work called the way fastai calls it.

    python benchmarks/tokenization.py [--input imdb/train.csv.gz] [--documents 2000] [--output FILE.json]

The peer runs the same rules, then spaCy through `nlp.pipe` and the text of each token, which is what fastai's
SpacyTokenizer does. Both begin with nothing in memory in each round; "again" is a second pass of the same tokenizer,
which has seen every word: the speed towards which a long job goes. Both must give the same tokens. Runs without Ray.
"""

import argparse
import csv
import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

import spacy
from reporting import report
from spacy.symbols import ORTH

from ulmfit_ray.text.presets import FASTAI_V2, clean
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings
from ulmfit_ray.text.types import TypeTable

Result = TypeVar("Result")
BLOCK = 3_000
SAMPLE = Path(__file__).parents[1] / "jobs/sample/scifact/corpus.jsonl.gz"


def as_fastai_does(texts: list[str]) -> list[list[str]]:
    """Return the tokens of each text."""
    nlp = spacy.blank("en")
    for token in SPECIAL_TOKENS:
        nlp.tokenizer.add_special_case(token, [{ORTH: token}])
    cleaned = ("xxbos " + clean(text, FASTAI_V2) for text in texts)
    return [
        [token.text.replace(" ", "\u2581") for token in document] for document in nlp.pipe(cleaned, batch_size=5000)
    ]


def batched(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the texts in lists of `size`."""
    source = iter(texts)
    while block := list(islice(source, size)):
        yield block


def as_the_job_does(texts: list[str], tokenizer: SpacyTokenizer) -> tuple[list[list[int]], list[str]]:
    """Return the ids of each text in the texts' own dictionary, and the dictionary."""
    types = TypeTable(tokenizer)
    ids: list[list[int]] = []
    for block in batched(texts, BLOCK):
        found = types.add([[text] for text in block])
        ids += [found.ids[start:end] for start, end in pairwise(found.bounds)]
    return ids, types.to_table()["token"].to_pylist()


def read(path: Path, documents: int) -> list[str]:
    """Return the first texts of a compressed csv or jsonl file with a column "text"."""
    csv.field_size_limit(sys.maxsize)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines) if ".csv" in path.suffixes else map(json.loads, lines)
        return [row["text"] for row in islice(rows, documents)]


def timed(seconds: list[float], work: Callable[[], Result]) -> Result:
    """Do some work and note how long it took."""
    began = time.perf_counter()
    result = work()
    seconds.append(time.perf_counter() - began)
    return result


def main() -> None:
    """Measure, compare token by token, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=SAMPLE)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    texts = read(options.input, options.documents)
    seconds: dict[str, list[float]] = {"as fastai does": [], "ours": [], "ours, again": []}
    for _ in range(options.rounds):
        expected = timed(seconds["as fastai does"], partial(as_fastai_does, texts))
        tokenizer = timed([], partial(SpacyTokenizer, TokenizerSettings()))
        ids, dictionary = timed(seconds["ours"], partial(as_the_job_does, texts, tokenizer))
        timed(seconds["ours, again"], partial(as_the_job_does, texts, tokenizer))
    assert [[dictionary[number] for number in row] for row in ids] == expected, "the tokens differ"
    num_tokens = sum(map(len, expected))
    rates = {name: num_tokens / statistics.median(times) for name, times in seconds.items()}
    result = {
        "input": options.input.name,
        "documents": len(texts),
        "tokens": num_tokens,
        "tokens_per_second_and_core": {name: round(rate) for name, rate in rates.items()},
        "ratios": {name: round(rates[name] / rates["as fastai does"], 1) for name in ("ours", "ours, again")},
        "same_tokens": True,
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
