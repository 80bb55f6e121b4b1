"""What the recipes of jobs/configs reach, with the commands as they are typed, beside what others have published.

    python benchmarks/recipes.py human_numbers --data ../shared/data/human_numbers [--output FILE.json]
    python benchmarks/recipes.py wikitext2 --data ../shared/data/wikitext-2 [--output FILE.json]

human_numbers: next-word accuracy after the last epoch, five seeds, on the stream of the fastai book (both files joined,
split after 80 % of the tokens) and split by files. wikitext2: perplexity of the small recipe on the paper's tokens,
with 10 columns on the validation text and 1 on the test text, and the minutes of the training.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from reporting import report

from ulmfit_ray.storage.model_directory import ModelDirectory

CONFIGS = Path(__file__).parents[1] / "jobs" / "configs"
SEEDS = range(5)
PUBLISHED = {
    "human_numbers": "fastai book, chapter 12: 0.8241 after the last epoch, 0.8284 at best",
    "wikitext2": "Merity et al. 2017: 68.6 validation, 65.8 test, of a model twenty times as large after 750 epochs",
}


def ulmfit(*arguments: object) -> None:
    """Run one command of ours."""
    command = [sys.executable, "-m", "ulmfit_ray.cli", *map(str, arguments), "--ray.num-cpus", "2"]
    subprocess.run(command, check=True, stdout=sys.stderr)


def figures(model: Path) -> dict[str, Any]:
    """Return what a model's manifest says."""
    return dict(ModelDirectory(str(model)).manifest.figures)


def tokenized(recipe: str, files: list[Path], work: Path) -> list[Path]:
    """Tokenize files with a recipe's config, all with the vocabulary of the first."""
    outputs = [work / f"{file.name.split('.gz')[0]}.tokens" for file in files]
    for file, output in zip(files, outputs, strict=True):
        words = ("--min-freq", 1) if output == outputs[0] else ("--vocab", outputs[0])
        ulmfit("tokenize", CONFIGS / recipe / "tokenize.toml", "--input", file, "--output", output, *words)
    return outputs


def stream_of_the_book(data: Path, work: Path) -> list[Path]:
    """Write the lines of both files, joined by " . ", as two texts: the first 80 % of the tokens, and the others."""
    texts = [gzip.decompress((data / f"{name}.txt.gz").read_bytes()).decode() for name in ("train", "valid")]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    tokens = " . ".join(lines).split(" ")
    cut = int(len(tokens) * 0.8)
    paths = [work / "first.txt", work / "last.txt"]
    for path, part in zip(paths, (tokens[:cut], tokens[cut:]), strict=True):
        path.write_text(" ".join(part))
    return paths


def human_numbers(data: Path, work: Path) -> dict[str, Any]:
    """Train the recipe with five seeds on both splits."""
    splits = {
        "stream": stream_of_the_book(data, work),
        "files": [data / f"{name}.txt.gz" for name in ("train", "valid")],
    }
    result: dict[str, Any] = {}
    for name, files in splits.items():
        train, valid = tokenized("human_numbers", files, work)
        accuracies = []
        for seed in SEEDS:
            model = work / f"{name}-{seed}"
            config = CONFIGS / "human_numbers" / "pretrain.toml"
            ulmfit("pretrain", config, "--tokens", train, "--valid", valid, "--output", model, "--seed", seed)
            accuracies.append(round(figures(model)["accuracy"], 4))
        result[name] = {"accuracy": accuracies, "median": statistics.median(accuracies)}
    return result


def wikitext2(data: Path, work: Path) -> dict[str, Any]:
    """Train the small recipe and score it as the papers do."""
    files = [data / f"wiki.{part}.tokens.txt.gz" for part in ("train", "valid", "test")]
    train, valid, test = tokenized("wikitext2", files, work)
    model, config = work / "small", CONFIGS / "wikitext2" / "pretrain_small.toml"
    ulmfit("pretrain", config, "--tokens", train, "--valid", valid, "--output", model)
    rows = map(json.loads, (model / "training_log.jsonl").read_text().splitlines())
    result: dict[str, Any] = {"minutes": round(sum(row["seconds"] for row in rows) / 60, 1), **figures(model)}
    for name, tokens, columns in (("validation", valid, 10), ("test", test, 1)):
        scores = work / f"{name}.json"
        command = ["evaluate", "lm", "--model", model, "--tokens", tokens, "--columns", columns, "--output", scores]
        subprocess.run([sys.executable, "-m", "ulmfit_ray.cli", *map(str, command)], check=True, stdout=sys.stderr)
        result[name] = json.loads(scores.read_text())
    return result


def main() -> None:
    """Run a recipe, and print what it reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    recipes = {"human_numbers": human_numbers, "wikitext2": wikitext2}
    parser.add_argument("recipe", choices=recipes)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--work", type=Path, help="keep tokens and models here (default: nowhere)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        result = recipes[options.recipe](options.data, work)
    report({"recipe": options.recipe, "published": PUBLISHED[options.recipe]} | result, options.output)


if __name__ == "__main__":
    main()
