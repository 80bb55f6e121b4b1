"""What the jobs of the tests of several nodes work on."""

from collections.abc import Callable
from pathlib import Path

from ray_nodes import Job

SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_ABSTRACTS = 2_000
FILES = 12
"""Of the corpus, and units and shards."""
Start = Callable[..., Job]


def small(hidden_size: int = 64) -> list[str]:
    """Return the options of a language model that is trained in seconds, in some 120 steps."""
    return [
        *("--architecture.vocab-size", "2000", "--architecture.embedding-dim", "32", "--architecture.num-layers", "2"),
        *("--architecture.hidden-size", str(hidden_size), "--precision", "float32", "--valid-fraction", "0.1"),
        *("--training.global-batch-size", "64", "--training.bptt", "64", "--training.num-epochs", "1"),
        *("--training.checkpoint-every-steps", "10", "--training.report-every-steps", "5"),
    ]
