"""The whole `tokenize` command, Ray's start included, beside the same work without Ray and fastai's `tokenize_df`.

    python benchmarks/tokenize_job.py --input ../shared/data/imdb/train.csv.gz ... --fastai .venv-fastai/bin/python

Ours is the command as it is typed, with --ray.num-cpus 1 and with 2: from csv.gz to finished shards, nothing in memory
at its start. Without Ray the same functions do all shards in one process, one after another, and then all of it again,
when every word has been seen. fastai's seconds are those of the call alone, without its imports and without reading the
file; `make conformance` makes its environment.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reporting import report

WITH_FASTAI = """
import sys, time
import pandas as pd
from fastai.text.core import tokenize_df
frame = pd.concat([pd.read_csv(path) for path in sys.argv[1:]])
began = time.perf_counter()
tokens, counts = tokenize_df(frame, "text", n_workers=1, mark_fields=False)
print(time.perf_counter() - began, sum(counts.values()))
"""

WITHOUT_RAY = """
import json, sys, time
began = time.perf_counter()
from ulmfit_ray.corpus.reading import stream_shards
from ulmfit_ray.corpus.units import units_of
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.planning import claimed_plan, look_at_input
from ulmfit_ray.pipelines.tokenize.token_shards import TokenizeJob, numericalize_shard, tokenize_shard
from ulmfit_ray.pipelines.tokenize.vocabulary import count_types
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.plan import shard_stem
from ulmfit_ray.text.tokenizers.kinds import make_tokenizer

def tokenize(output):
    config = TokenizeConfig(input=tuple(sys.argv[2:]), output=output, id_column="id")
    folder, corpus = Folder(config.output), look_at_input(config)
    tokenizer = make_tokenizer(config.tokenizer_settings())
    plan, facts = claimed_plan(config, folder, corpus), corpus.facts
    job = TokenizeJob(
        output=folder.uri, plan=plan.fingerprint, corpus=facts, settings=tokenizer.settings,
        tokenizer_fingerprint=tokenizer.fingerprint,
    )
    receipts, ends = [], {"start": time.perf_counter() - began}
    for unit in units_of(plan.table):
        parts = [None]
        if unit.is_streamed:
            parts = stream_shards(unit.pieces[0], facts.file_format(), facts.columns, facts.unit_bytes)
        for text in parts:
            shard = unit.stem if text is None else shard_stem(unit.stem, text.part)
            receipts.append(tokenize_shard(job, unit, text, shard))
    ends["1 tokenize"] = time.perf_counter() - began
    vocab = count_types(folder, receipts, max_vocab=config.max_vocab, min_freq=config.min_freq).vocab
    folder.publish_json(vocab.to_json(), "vocab.json")
    ends["2 vocabulary"] = time.perf_counter() - began
    for receipt in receipts:
        numericalize_shard(job, vocab.fingerprint, receipt.shard)
    return ends | {"3 numericalize": time.perf_counter() - began}

cold = tokenize(sys.argv[1])
began = time.perf_counter()
print(json.dumps([cold, tokenize(sys.argv[1] + "-again")]))
"""


def without_ray(paths: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return when each phase of the same work ends in a process without Ray, cold; and when it does all again."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-c", WITHOUT_RAY, f"{folder}/tokens", *paths], capture_output=True, text=True, check=True
        )
    cold, again = (
        {name: round(end, 1) for name, end in ends.items()} for ends in json.loads(ran.stdout.splitlines()[-1])
    )
    return cold, again


def fastai(python: str, paths: list[str]) -> tuple[float, int]:
    """Return the seconds of tokenize_df and the number of its tokens."""
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", WITH_FASTAI, *paths], capture_output=True, text=True, check=True
    )
    seconds, num_tokens = ran.stdout.split()[-2:]
    return float(seconds), int(num_tokens)


def ours(paths: list[str], num_cpus: int) -> tuple[float, int, dict[str, float]]:
    """Return the seconds of the whole command, the number of tokens, and when each phase was first seen and last."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ulmfit_ray.cli", "tokenize", "--input", *paths, "--id-column", "id"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--ray.num-cpus", str(num_cpus), "--output", f"{folder}/tokens"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        ends: dict[str, float] = {}
        for line in process.stdout:
            if line[:2] in ("1 ", "2 ", "3 "):
                ends[line.partition(":")[0]] = round(time.perf_counter() - began, 1)
        assert process.wait() == 0
        seconds = time.perf_counter() - began
        manifest = json.loads(Path(folder, "tokens/manifest.json").read_text())
    return seconds, int(manifest["num_tokens"]), ends


def main() -> None:
    """Measure one after another and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--fastai", help="the python of its environment; without it fastai is left out")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    one, num_tokens, ends = ours(options.input, 1)
    cold, again = without_ray(options.input)
    two, _, _ = ours(options.input, 2)
    loop = cold["3 numericalize"]
    seconds = {
        "ours, 1 core": one,
        "ours, 2 cores": two,
        "ours without Ray": loop,
        "ours without Ray, again": again["3 numericalize"],
    }
    ratios = {"Ray's part of 1 core": 1 - loop / one, "2 cores against 1": one / two}
    if options.fastai:
        theirs, their_tokens = fastai(options.fastai, options.input)
        if num_tokens != their_tokens:
            raise SystemExit(f"ours has {num_tokens:,} tokens, fastai {their_tokens:,}")
        seconds["fastai tokenize_df"] = theirs
        ratios |= {f"{name}, times fastai": theirs / seconds[name] for name in list(seconds)[:4]}
    result = {
        "inputs": [Path(path).name for path in options.input],
        "tokens": num_tokens,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "phases of 1 core end at": ends,
        "phases without Ray end at": cold,
        "phases end at, again": again,
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
