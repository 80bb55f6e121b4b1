"""Write fastai_pieces.json: the SentencePiece model that fastai 2.8.12 trains, and the pieces it cuts texts into.

    pip download --no-deps fastai==2.8.12
    python tests/golden/make_fastai_pieces.py fastai-2.8.12-py3-none-any.whl

fastai's `SentencePieceTokenizer` is run as it is, in our environment: it needs nothing of fastai but two small
functions. The rules are ours, which other tests compare with fastai's, with the xxbos that fastai's last rule sets.
"""

import ast
import gzip
import json
import os
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from ulmfit_ray.text.presets import FASTAI_V2, clean
from ulmfit_ray.text.rules import SPECIAL_TOKENS

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_ABSTRACTS = 40
MAX_CHARACTERS = 3_000
"""fastai leaves out lines over 4,192 bytes; ours are read."""
LANGS = {"eu_langs": ["en", "de"], "defaults": type("Defaults", (), {"text_spec_tok": list(SPECIAL_TOKENS)})}
HELPERS = {
    "ifnone": lambda a, b: b if a is None else a,
    "progress_bar": lambda items, **_: items,
    "maps": map,
}


def main() -> None:
    """Train both kinds of model on real abstracts; cut real and hard texts."""
    source = zipfile.ZipFile(sys.argv[1]).read("fastai/text/core.py").decode()
    names: dict[str, Any] = {"Path": Path, "os": os, "Counter": Counter, **LANGS, **HELPERS}
    definition = next(node for node in ast.parse(source).body if getattr(node, "name", "") == "SentencePieceTokenizer")
    exec(compile(ast.Module([definition], []), "core.py", "exec"), names)
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        first = [json.loads(line)["text"] for _, line in zip(range(NUM_ABSTRACTS), lines, strict=False)]
    abstracts = [text[:MAX_CHARACTERS] for text in first]
    texts = [row["text"] for row in json.loads((HERE / "fastai_tokens.json").read_text())]
    content = {}
    for model_type in ("unigram", "bpe"):
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = names["SentencePieceTokenizer"](cache_dir=folder, model_type=model_type)
            tokenizer.setup(abstracts, [lambda text: f"xxbos {clean(text, FASTAI_V2)}"])
            model = tokenizer.tok
            pieces = [[model.id_to_piece(number), model.get_score(number)] for number in range(len(model))]
            tokens = list(tokenizer([f"xxbos {clean(text, FASTAI_V2)}" for text in texts]))
        rows = [{"text": text, "tokens": found} for text, found in zip(texts, tokens, strict=True)]
        content[model_type] = {"pieces": pieces, "rows": rows}
    (HERE / "fastai_pieces.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
