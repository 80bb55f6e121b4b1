"""Tokens per second of the encoder, in float32 and bfloat16, beside its peers and the ceiling of the machine.

    python benchmarks/encode.py --input ../shared/data/imdb/train.csv.gz [--fastai .venv-fastai/bin/python]
                                [--embedding-dim 400 --hidden-size 1152 --num-layers 3] [--output FILE.json]

Weights and ids are random (speed does not depend on them); the lengths are those of the input's texts, words and marks
counted. The peers are a loop over single documents with torch.nn.LSTM, as one would without this project, and fastai's
SentenceEncoder over batches of 64, sorted by length and padded as fastai does it, in a Python of its own, which waits
while others run. The ceiling is a matrix product of the widest layer's recurrent weights with as many rows as a
micro-batch has, by the library that is fastest. All take turns, so that a busy machine slows all, and ratios are of
medians. The loop gets fewer documents, drawn evenly over the lengths. Runs without Ray, on a GPU if there is one.
"""

import argparse
import csv
import gzip
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from reporting import report

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.products import product_with

WITH_FASTAI = """
import sys, time
import numpy as np, torch
from fastai.text.data import pad_chunk
from fastai.text.models.core import SentenceEncoder
from fastai.text.models.awdlstm import AWD_LSTM
words, width, hidden, layers, threads, device, path = sys.argv[1:]
torch.set_num_threads(int(threads))
encoder = SentenceEncoder(72, AWD_LSTM(int(words), int(width), int(hidden), int(layers), pad_token=1), pad_idx=1)
encoder = encoder.eval().to(device)
with np.load(path) as content:
    documents = sorted((content[name] for name in content.files), key=len, reverse=True)
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(documents), 64):
            own = documents[start : start + 64]
            width = len(own[0])
            rows = [pad_chunk(torch.from_numpy(document), pad_idx=1, seq_len=72, pad_len=width) for document in own]
            outputs, mask = encoder(torch.stack(rows).to(device))
            assert (~mask).sum() == sum(map(len, own)), "a token was not read"
            outputs.float().mean(1).cpu()
            encoder.reset()
    print(time.perf_counter() - began, flush=True)
"""
WORDS = 60_000
CEILING_SECONDS = 1.0
Way = Callable[[], float]
"""Encodes, and returns the tokens per second."""


def lengths_of(path: Path, number: int) -> np.ndarray:
    """Return the numbers of words and marks of so many texts, drawn from a csv file with a column `text`."""
    csv.field_size_limit(1 << 30)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        found = [len(re.findall(r"\w+|[^\w\s]", row["text"])) for row in csv.DictReader(lines)]
    return np.random.default_rng(0).permutation(np.array(found))[:number]


def plain_loop(model: LanguageModel) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """Return a function that encodes one document after another with torch's own LSTMs and takes the mean."""
    device = model.decoder_bias.device
    layers = []
    for ours in model.backbone.layers:
        layer = torch.nn.LSTM(ours.weight_ih_l0.shape[1], ours.hidden_size, batch_first=True, device=device)
        layer.load_state_dict(ours.state_dict())
        layers.append(layer)

    @torch.inference_mode()
    def encode(documents: Sequence[np.ndarray]) -> np.ndarray:
        vectors = []
        for document in documents:
            x = model.backbone.embedding(torch.from_numpy(document)[None].to(device))
            for layer in layers:
                x, _ = layer(x)
            vectors.append(x.mean(1)[0].cpu().numpy())
        return np.stack(vectors)

    return encode


def timed(encode: Callable[[Sequence[np.ndarray]], np.ndarray], documents: Sequence[np.ndarray]) -> float:
    """Return the tokens per second."""
    began = time.perf_counter()
    encode(documents)
    return sum(map(len, documents)) / (time.perf_counter() - began)


@contextmanager
def fastai(python: str, documents: Sequence[np.ndarray], sizes: Sequence[int], device: torch.device) -> Iterator[Way]:
    """Start fastai's Python, and give what makes it encode the documents once."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/documents.npz"
        np.savez(path, *documents)
        command = [python, "-W", "ignore", "-c", WITH_FASTAI, *map(str, (WORDS, *sizes, torch.get_num_threads()))]
        process = subprocess.Popen(
            [*command, str(device), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"

        def once() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return sum(map(len, documents)) / float(process.stdout.readline())

        yield once
        process.stdin.close()
        process.wait()


@torch.inference_mode()
def ceiling(dtype: torch.dtype, device: torch.device, rows: int, width: int, flop_per_token: float) -> float:
    """Return the tokens per second that matrix products alone would allow."""
    size = (8192, 8192, 8192) if device.type == "cuda" else (rows, width, 4 * width)
    x = torch.randn(size[0], size[1], device=device).to(dtype)
    weight = torch.randn(size[2], size[1], device=device).to(dtype)
    ways: list[Callable[[torch.Tensor], torch.Tensor]] = [partial(torch.nn.functional.linear, weight=weight)]
    if device.type == "cpu":
        ways.append(product_with(weight, rows))
    best = 0.0
    for way in ways:
        way(x)
        _wait(device)
        began, number = time.perf_counter(), 0
        while time.perf_counter() - began < CEILING_SECONDS:
            for _ in range(8):
                way(x)
            _wait(device)
            number += 8
        best = max(best, 2 * size[0] * size[1] * size[2] * number / (time.perf_counter() - began))
    return best / flop_per_token


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def spread(documents: Sequence[np.ndarray], number: int) -> list[np.ndarray]:
    """Return documents drawn evenly over the lengths."""
    ordered = sorted(documents, key=len)
    places = np.linspace(0, len(ordered) - 1, min(number, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--embedding-dim", type=int, default=400)
    parser.add_argument("--hidden-size", type=int, default=1152)
    parser.add_argument("--num-layers", type=int, default=3)
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--loop-documents", type=int, default=24)
    parser.add_argument("--fastai")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    documents = [random.integers(9, WORDS, length) for length in lengths_of(options.input, options.documents)]
    sizes = (options.embedding_dim, options.hidden_size, options.num_layers)
    shape = dict(zip(("embedding_dim", "hidden_size", "num_layers"), sizes, strict=True))
    model = LanguageModel(Architecture(vocab_size=WORDS, **shape)).eval().to(device)
    flop_per_token = 2 * sum(layer.weight_ih_l0.numel() + layer.weight_hh_l0.numel() for layer in model.backbone.layers)
    encoders = {name: TokenEncoder(model, Reading(pooling="mean", precision=name)) for name in ("float32", "bfloat16")}
    loop, few = plain_loop(model), spread(documents, options.loop_documents)
    ways: dict[str, Way] = {"loop": partial(timed, loop, few)}
    ways |= {name: partial(timed, own.encode, documents) for name, own in encoders.items()}
    for name, own in encoders.items():
        dtype, rows = getattr(torch, name), own.max_rows
        ways[f"ceiling {name}"] = partial(ceiling, dtype, device, rows, options.hidden_size, flop_per_token)
    exact, found = loop(few), {name: own.encode(few) for name, own in encoders.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with fastai(options.fastai, documents, sizes, device) if options.fastai else (_nothing()) as peer:
        if peer is not None:
            ways["fastai"] = peer
            rates["fastai"] = []
        for _ in range(options.rounds):
            for name, way in ways.items():
                rates[name].append(way())
                print(f"{name}: {rates[name][-1]:,.0f} tokens per second", flush=True)
    medians = {name: statistics.median(own) for name, own in rates.items()}
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        **shape,
        "documents": len(documents),
        "tokens": sum(map(len, documents)),
        "threads": torch.get_num_threads(),
        "flop_per_token": flop_per_token,
        "tokens_per_second": {name: round(rate) for name, rate in medians.items()},
        "ratios": {
            name: {
                f"to {other}": round(medians[name] / medians[other], 2)
                for other in ("loop", "fastai", f"ceiling {name}")
                if other in medians
            }
            for name in encoders
        },
        "largest_difference_from_the_loop": {name: float(np.abs(own - exact).max()) for name, own in found.items()},
        "rounds": options.rounds,
    }
    report(result, options.output)


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


if __name__ == "__main__":
    main()
