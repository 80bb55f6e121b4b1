"""Write what fastai makes of each text: a digest of its tokens, and the seconds it took.

    /path/to/fastai-environment/bin/python tests/conformance/with_fastai.py OUTPUT.json [CORPUS ...]

Runs in fastai's own environment (`make conformance` makes it). `TokenizeWithRules` is what fastai's `Tokenizer` cuts
every data set with, in one process.
"""

import json
import sys
import time
from pathlib import Path

from corpora import CORPORA, digest
from fastai.text.core import SpacyTokenizer, TokenizeWithRules


def main() -> None:
    """Tokenize the corpora that are named, or all."""
    output, *names = sys.argv[1:]
    found = {}
    for name in names or CORPORA:
        lang, texts = CORPORA[name]
        given = list(texts())
        began = time.perf_counter()
        tokens = [list(tokens) for tokens in TokenizeWithRules(tok=SpacyTokenizer(lang))(given)]
        seconds = time.perf_counter() - began
        # fastai's list begins with xxbos, ours gets it when fields are put together.
        found[name] = {
            "texts": digest(given),
            "digests": [digest(text[1:]) for text in tokens],
            "tokens": sum(map(len, tokens)) - len(tokens),
            "seconds": seconds,
        }
        print(f"{name}: {len(given):,} texts, {found[name]['tokens']:,} tokens, {seconds:.1f} s", flush=True)
    Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
