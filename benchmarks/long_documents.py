"""What the gradient of long documents costs: memory for each token, and processor time, beside a plain graph.

    python benchmarks/long_documents.py [--shape 200-400-2 --documents 4 --tokens 2000 8000 32000] [--output FILE.json]

One training step of a classifier's backbone, forward and backward, with dropout: by recomputed windows
(model.pooled_gradient) and by one graph over whole documents. Memory is the growth of a process's peak, each
measured in a process of its own; the gradient's difference is relative to the largest of each parameter. Rounds are
taken by turns. Runs without Ray.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from reporting import report
from torch import Tensor

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.dropout import draw_masks
from ulmfit_ray.model.pooled_gradient import GradientReach, pooled_with_activity

WAYS = ("plain", "recomputed")
WORDS = 10_000


class Step:
    """One step over documents of equally many tokens."""

    def __init__(self, shape: str, documents: int, tokens: int) -> None:
        torch.manual_seed(0)
        embedding_dim, hidden_size, num_layers = map(int, shape.split("-"))
        sizes = {"embedding_dim": embedding_dim, "hidden_size": hidden_size, "num_layers": num_layers}
        architecture = Architecture(vocab_size=WORDS, **sizes)
        self.backbone = AWDLSTM(architecture).train()
        rows = {"global_batch_size": documents, "rows": slice(0, documents)}
        self.masks = draw_masks(architecture, seed=1, device=torch.device("cpu"), **rows)
        self.ids = torch.randint(2, WORDS, (documents, tokens))
        self.lengths = torch.full((documents,), tokens)
        self.weights = torch.randn(documents, 3 * embedding_dim)

    def gradients(self, way: str) -> dict[str, Tensor]:
        """Return the gradient of the pooled vectors times random weights, by parameter."""
        self.backbone.zero_grad(set_to_none=True)
        vectors = self.recomputed() if way == "recomputed" else self.plain()
        (vectors * self.weights).sum().backward()
        return {name: parameter.grad for name, parameter in self.backbone.named_parameters()}

    def recomputed(self) -> Tensor:
        """Return vectors by windows of 72, none of which is kept."""
        reach = GradientReach(window=72, tokens_in_memory=72 * len(self.ids))
        return pooled_with_activity(self.backbone, self.ids, self.lengths, self.masks, reach)[0]

    def plain(self) -> Tensor:
        """Return vectors by one graph."""
        hidden = self.backbone.initial_hidden(len(self.ids))
        outputs, _ = self.backbone.run_layers(self.backbone.embed(self.ids, self.masks), hidden, self.masks)
        return torch.cat([outputs[:, -1], outputs.amax(1), outputs.mean(1)], 1)


def measured(way: str, shape: str, documents: int, tokens: int) -> dict[str, float]:
    """Take a step; return processor seconds, and the peak of this process's memory in bytes."""
    step = Step(shape, documents, tokens)
    began = time.process_time()
    step.gradients(way)
    seconds = time.process_time() - began
    return {"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def in_its_own_process(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def difference(shape: str, documents: int, tokens: int) -> float:
    """Return the largest difference of both gradients, relative to each parameter's largest."""
    step = Step(shape, documents, tokens)
    plain = {name: gradient.clone() for name, gradient in step.gradients("plain").items()}
    found = step.gradients("recomputed")
    return max(float((found[name] - value).abs().max() / value.abs().max()) for name, value in plain.items())


def compared(shape: str, documents: int, tokens: list[int], rounds: int) -> dict[str, Any]:
    """Return medians by length, and what a token more costs between the shortest and the longest."""
    taken: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for length in tokens:
            for way in WAYS:
                taken.setdefault((way, length), []).append(in_its_own_process(way, shape, documents, length))

    def median(way: str, length: int, name: str) -> float:
        return statistics.median(row[name] for row in taken[way, length])

    more = documents * (tokens[-1] - tokens[0])
    return {
        "processor_seconds": {way: {n: round(median(way, n, "seconds"), 2) for n in tokens} for way in WAYS},
        "times_plain": {
            n: round(median("recomputed", n, "seconds") / median("plain", n, "seconds"), 2) for n in tokens
        },
        "peak_mebibytes": {way: {n: round(median(way, n, "bytes") / 2**20) for n in tokens} for way in WAYS},
        "kilobytes_a_token": {
            way: round((median(way, tokens[-1], "bytes") - median(way, tokens[0], "bytes")) / more / 1000, 2)
            for way in WAYS
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="200-400-2")
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2000, 8000, 32000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=4, metavar=("WAY", "SHAPE", "DOCUMENTS", "TOKENS"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.measure:
        way, shape, documents, tokens = options.measure
        print(json.dumps(measured(way, shape, int(documents), int(tokens))))
        return
    result = {
        "shape": options.shape,
        "documents": options.documents,
        "threads": torch.get_num_threads(),
        "largest_difference_of_gradients": difference(options.shape, options.documents, options.tokens[0]),
        **compared(options.shape, options.documents, options.tokens, options.rounds),
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
