"""Tokens per second of `classify` beside `embed`, the same classifier over the same tokens, as jobs on Ray.

    python benchmarks/classify.py --model CLASSIFIER --tokens TOKENS [--rounds 3] [--output FILE.json]

embed writes the classifier's pooled vectors, which are what its head reads. Both take turns; the rates are those of
their manifests, from the first shard's start to the last one's end, and the median of the rounds' ratios counts.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from reporting import report

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import read_manifest

VERBS = ("embed", "classify")


def rate(verb: str, model: str, tokens: str, output: Path) -> float:
    """Run a verb over the tokens and return its tokens per second."""
    command = [sys.executable, "-m", "ulmfit_ray.cli", verb, "--model", model, "--input", tokens]
    command += ["--output", str(output), "--actors.max", "1", "--actors.num-cpus", "2", "--ray.num-cpus", "2"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return float(read_manifest(Folder(str(output))).figures["tokens_per_second"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rounds = [
            {verb: rate(verb, options.model, options.tokens, Path(work, f"{verb}-{number}")) for verb in VERBS}
            for number in range(options.rounds)
        ]
    result = {
        "tokens_per_second": {verb: round(statistics.median(row[verb] for row in rounds)) for verb in VERBS},
        "ratio": round(statistics.median(row["classify"] / row["embed"] for row in rounds), 3),
        "rounds": options.rounds,
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
