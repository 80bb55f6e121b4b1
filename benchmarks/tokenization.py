"""Tokens per second of one core, cleaning and spaCy included, beside the same work called the way fastai calls it.

    python benchmarks/tokenization.py [--documents 2000] [--output FILE.json]

The peer runs the same rules, then spaCy through `nlp.pipe` and the text of each token, which is what fastai's
SpacyTokenizer does. Both begin with a cold cache in each round and must give the same tokens. Runs without Ray.
"""

import argparse
import gzip
import json
import statistics
import time
from pathlib import Path

import spacy
from reporting import report
from spacy.symbols import ORTH

from ulmfit_ray.text.rules import SPECIAL_TOKENS, clean
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings
from ulmfit_ray.text.types import TypeTable

SAMPLE = Path(__file__).parents[1] / "jobs/sample/scifact/corpus.jsonl.gz"


def as_fastai_does(texts: list[str]) -> list[list[str]]:
    """Return the tokens of each text."""
    nlp = spacy.blank("en")
    for token in SPECIAL_TOKENS:
        nlp.tokenizer.add_special_case(token, [{ORTH: token}])
    cleaned = ("xxbos " + clean(text, "fastai-v2") for text in texts)
    return [
        [token.text.replace(" ", "\u2581") for token in document] for document in nlp.pipe(cleaned, batch_size=5000)
    ]


def as_the_job_does(texts: list[str]) -> tuple[list[list[int]], list[str]]:
    """Return the ids of each text in the texts' own dictionary, and the dictionary."""
    types = TypeTable(SpacyTokenizer(TokenizerSettings()))
    ids = [types.add([text])[0] for text in texts]
    return [row.tolist() for row in ids], types.to_table()["token"].to_pylist()


def main() -> None:
    """Measure, compare token by token, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with gzip.open(SAMPLE, "rt") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(options.documents), strict=False)]
    seconds: dict[str, list[float]] = {"as fastai does": [], "as the job does": []}
    for _ in range(options.rounds):
        began = time.perf_counter()
        expected = as_fastai_does(texts)
        seconds["as fastai does"].append(time.perf_counter() - began)
        began = time.perf_counter()
        ids, dictionary = as_the_job_does(texts)
        seconds["as the job does"].append(time.perf_counter() - began)
    assert [[dictionary[number] for number in row] for row in ids] == expected, "the tokens differ"
    num_tokens = sum(map(len, expected))
    rates = {name: num_tokens / statistics.median(times) for name, times in seconds.items()}
    result = {
        "documents": len(texts),
        "tokens": num_tokens,
        "tokens_per_second_and_core": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["as the job does"] / rates["as fastai does"], 2),
        "same_tokens": True,
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
