"""The whole `tokenize` command, Ray's start included, beside fastai's `tokenize_df` on the same reviews and one core.

    python benchmarks/tokenize_job.py --input ../shared/data/imdb/train.csv.gz ... --fastai .venv-fastai/bin/python

Ours is the command as it is typed, with --ray.num-cpus 1 and with 2: from csv.gz to finished shards, nothing in memory
at its start. The peer's seconds are those of the call alone, without its imports and without reading the file.
`make conformance` makes fastai's environment.
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
    """Measure by turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--fastai", required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    one, num_tokens, ends = ours(options.input, 1)
    theirs, their_tokens = fastai(options.fastai, options.input)
    two, _, _ = ours(options.input, 2)
    if num_tokens != their_tokens:
        raise SystemExit(f"ours has {num_tokens:,} tokens, fastai {their_tokens:,}")
    result = {
        "inputs": [Path(path).name for path in options.input],
        "tokens": num_tokens,
        "seconds": {"fastai tokenize_df": round(theirs, 1), "ours, 1 core": round(one, 1), "ours, 2": round(two, 1)},
        "phases of 1 core end at": ends,
        "times fastai, 1 core": round(theirs / one, 1),
        "2 cores against 1": round(one / two, 2),
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
