"""Compare our tokens with those that fastai gave (with_fastai.py), text by text; exit with 1 if any differs.

python tests/conformance/compare.py FASTAI.json [--output benchmarks/results/conformance.json]
"""

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from corpora import CORPORA, digest

from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer

BLOCK = 3_000
SHOWN = 5


def our_digests(lang: str, texts: list[str]) -> tuple[list[str], float]:
    """Return a digest of each text's tokens, and the seconds that tokenizing took."""
    began = time.perf_counter()
    tokenizer = make_tokenizer(TokenizerSettings(lang=lang))
    blocks = [tokenizer.tokenize(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
    seconds = time.perf_counter() - began
    return [
        digest(block.types[number] for number in block.ids[start:end])
        for block in blocks
        for start, end in pairwise(block.bounds)
    ], seconds


def main() -> int:
    """Print a line for each corpus, and the first texts that differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fastai", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result = {}
    for name, theirs in json.loads(options.fastai.read_text()).items():
        lang, texts = CORPORA[name]
        given = list(texts())
        if digest(given) != theirs["texts"]:
            raise SystemExit(f"{name}: fastai was given other texts; run with_fastai.py again")
        ours, seconds = our_digests(lang, given)
        pairs = zip(given, ours, theirs["digests"], strict=True)
        differing = [text for text, own, other in pairs if own != other]
        for text in differing[:SHOWN]:
            print(f"{name} differs: {text[:300]!r}")
        result[name] = {
            "texts": len(given),
            "tokens": theirs["tokens"],
            "texts that differ": len(differing),
            "seconds": round(seconds, 1),
            "seconds of fastai": round(theirs["seconds"], 1),
        }
        print_summary(name, result[name])
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(row["texts that differ"] for row in result.values()))


if __name__ == "__main__":
    sys.exit(main())
