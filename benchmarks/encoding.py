"""Tokens per second of the encoder beside a plain loop, on one document length distribution.

    python benchmarks/encoding.py [--embedding-dim 400 --hidden-size 1152 --num-layers 3] [--output FILE.json]

Weights are random (speed does not depend on them); documents have the lengths of the sample's abstracts. The loop
encodes one document at a time with torch.nn.LSTM, as one would without this project. Both run in turns, in this
process, with the same threads; the ratio of the medians is what counts on a shared machine. Runs without Ray.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from reporting import report

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel

WORDS = 14_542


def plain_loop(model: LanguageModel) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Return a function that encodes one document after another with torch's own LSTMs and takes the mean."""
    layers = []
    for ours in model.backbone.layers:
        layer = torch.nn.LSTM(ours.weight_ih_l0.shape[1], ours.hidden_size, batch_first=True)
        layer.load_state_dict(ours.state_dict())
        layers.append(layer)

    @torch.inference_mode()
    def encode(documents: list[np.ndarray]) -> np.ndarray:
        vectors = []
        for document in documents:
            x = model.backbone.embedding(torch.from_numpy(document)[None])
            for layer in layers:
                x, _ = layer(x)
            vectors.append(x.mean(1)[0].numpy())
        return np.stack(vectors)

    return encode


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedding-dim", type=int, default=128)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-layers", type=int, default=2)
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    # Abstracts: median 255 tokens, a tenth over 410.
    lengths = np.clip(random.lognormal(5.54, 0.4, options.documents), 20, 1900).astype(int)
    documents = [random.integers(9, WORDS, length) for length in lengths]
    shape = {name: getattr(options, name) for name in ("embedding_dim", "hidden_size", "num_layers")}
    model = LanguageModel(Architecture(vocab_size=WORDS, **shape)).eval()
    ways = {"loop": plain_loop(model), "encoder": TokenEncoder(model, pooling="mean").encode}
    vectors = {name: encode(documents) for name, encode in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, encode in ways.items():
            began = time.perf_counter()
            encode(documents)
            seconds[name].append(time.perf_counter() - began)
    rates = {name: int(lengths.sum()) / statistics.median(times) for name, times in seconds.items()}
    result = {
        **shape,
        "tokens": int(lengths.sum()),
        "threads": torch.get_num_threads(),
        "tokens_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["encoder"] / rates["loop"], 2),
        "largest_difference": float(np.abs(vectors["encoder"] - vectors["loop"]).max()),
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
