"""The whole `embed` command beside the encoder alone, actors beside threads, and the memory of an actor.

    python benchmarks/encode_job.py --model MODEL --tokens TOKENS [--memory-of TOKENS ...] [--input CORPUS ...]
                                    [--output FILE.json]

By turns: the encoder in this process over documents drawn evenly from the tokens; `embed` with one actor of all
cores; `embed` with an actor of one thread for each core. The command's rate is that of its manifest: from the first
shard's start to the last one's end, reading, writing and committing included. With --memory-of, token datasets with
fewer, more or longer documents, the actor's largest memory over each of them is measured, too; with --input, `embed`
of the raw text of the same documents, tokenized as it streams. Needs Ray and the model's directory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from encode_precision import some_documents
from reporting import report

from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

PAGE = os.sysconf("SC_PAGE_SIZE")


def encoder_alone(model: str, documents: list[np.ndarray]) -> float:
    """Return the tokens per second of the encoder in this process."""
    encoder = DocumentEncoder.load(model).token_encoder()
    began = time.perf_counter()
    encoder.encode(documents)
    return sum(map(len, documents)) / (time.perf_counter() - began)


def embed(model: str, inputs: list[str], *options: str) -> tuple[float, int]:
    """Run the command; return its tokens per second and the largest memory of an actor in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ulmfit_ray.cli", "embed", "--model", model, "--input", *inputs]
        process = subprocess.Popen([*command, "--output", f"{folder}/embeddings", *options], stdout=subprocess.DEVNULL)
        peak = [0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        assert process.wait() == 0
        watcher.join()
        figures = json.loads(Path(folder, "embeddings/manifest.json").read_text())
    return figures["tokens_per_second"], peak[0]


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    """Keep the largest memory that an actor has had; Ray names an actor's process after its class."""
    while process.poll() is None:
        for place in Path("/proc").iterdir():
            try:
                if place.name.isdigit() and b"MapWorker" in (place / "cmdline").read_bytes():
                    own = int((place / "statm").read_text().split()[1]) - int((place / "statm").read_text().split()[2])
                    peak[0] = max(peak[0], own * PAGE)
            except (FileNotFoundError, ProcessLookupError):
                continue
        time.sleep(0.2)


def _size(tokens: str) -> str:
    """Say how many documents a token dataset has, and how long the longest is."""
    dataset = TokenDataset(tokens)
    longest = max(int(np.diff(flat_tokens(table["tokens"])[1]).max()) for table in dataset.tables())
    return f"{dataset.manifest.counts.num_documents:,} documents, the longest of {longest:,} tokens"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--memory-of", nargs="+", default=[])
    parser.add_argument("--input", nargs="+")
    parser.add_argument("--documents", type=int, default=10_000, help="that the encoder alone gets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    documents = some_documents(TokenDataset(options.tokens), options.documents)
    one = ("--actors.max", "1", "--actors.num-cpus", str(cores))
    each = ("--actors.min", str(cores), "--actors.max", str(cores), "--actors.num-cpus", "1")
    rates: dict[str, list[float]] = {}
    memory = 0
    for _ in range(options.rounds):
        rates.setdefault("the encoder alone", []).append(encoder_alone(options.model, documents))
        rate, peak = embed(options.model, [options.tokens], *one)
        memory = max(memory, peak)
        rates.setdefault("one actor", []).append(rate)
        rates.setdefault("an actor for each core", []).append(embed(options.model, [options.tokens], *each)[0])
        if options.input:
            text = ("--text-columns", "text", "--actors.max", "1", "--actors.num-cpus", str(max(1, cores - 1)))
            rate, _ = embed(options.model, options.input, *text)
            rates.setdefault("from raw text, beside a tokenizer", []).append(rate)
    medians = {name: statistics.median(own) for name, own in rates.items()}
    result = {
        "documents": TokenDataset(options.tokens).manifest.counts.num_documents,
        "tokens": TokenDataset(options.tokens).manifest.counts.num_tokens,
        "threads": torch.get_num_threads(),
        "tokens_per_second": {name: round(rate) for name, rate in medians.items()},
        "one actor to the encoder alone": round(medians["one actor"] / medians["the encoder alone"], 3),
        "actors to one actor": round(medians["an actor for each core"] / medians["one actor"], 3),
        "peak_megabytes_of_an_actor": {_size(options.tokens): memory >> 20},
    }
    for tokens in options.memory_of:
        result["peak_megabytes_of_an_actor"][_size(tokens)] = embed(options.model, [tokens], *one)[1] >> 20
    report(result, options.output)


if __name__ == "__main__":
    main()
