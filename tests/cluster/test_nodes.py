"""Nodes that die or come in the middle: the job ends well and complete, the same to the byte, in one command."""

import gzip
import json
import shutil
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from ulmfit_ray.corpus.units import MIN_UNIT_BYTES
from ulmfit_ray.storage.folder import sha256_file

SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_ABSTRACTS = 5_183
SMALL = [
    *("--architecture.vocab-size", "2000", "--architecture.embedding-dim", "32", "--architecture.hidden-size", "64"),
    *("--architecture.num-layers", "2", "--training.global-batch-size", "64", "--training.bptt", "64"),
    *("--training.checkpoint-every-steps", "40", "--training.report-every-steps", "5", "--precision", "float32"),
    *("--training.num-epochs", "1"),
]

pytestmark = pytest.mark.cluster


def corpus(path: Path, times: int, files: int) -> Path:
    """Write the sample's abstracts `times` over, into some uncompressed files, none smaller than a unit."""
    with gzip.open(SAMPLE, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    path.mkdir()
    for number in range(files):
        with open(path / f"{number:02d}.jsonl", "w", encoding="utf-8") as file:
            for repeat in range(times):
                file.writelines(
                    json.dumps({"id": f"{repeat}-{row['_id']}", "text": row["text"]}) + "\n"
                    for row in rows[number::files]
                )
            file.write(" " * (MIN_UNIT_BYTES - 1 - file.tell()) + "\n")
    return path


def tokenize(path: Path) -> list[str]:
    return ["tokenize", "--input", str(path), "--id-column", "id"]


def hashes(output: Path, pattern: str) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(output.glob(pattern))}


def test_embedding_survives_a_node_that_is_killed_with_shards_in_its_queue(
    start_nodes: Callable, start_job: Callable, tmp_path: Path
) -> None:
    tokens = start_job("tokens", *tokenize(corpus(tmp_path / "corpus", 1, 11)))
    tokens.finish()
    lm = start_job("lm", "pretrain", "--tokens", str(tokens.output), *SMALL)
    lm.finish()
    embed = ["embed", "--model", str(lm.output), "--input", str(tokens.output)]
    whole = start_job("whole", *embed)
    whole.finish()
    nodes = start_nodes(1)
    other = nodes.add(1)
    job = start_job("killed", *embed, "--actors.min", "2", nodes=nodes)
    job.wait_until(lambda: job.receipts() >= 2)
    nodes.kill(other)
    assert job.receipts() < 11
    job.finish()
    assert len(hashes(job.output, "shards/*")) == 11
    assert hashes(job.output, "shards/*") == hashes(whole.output, "shards/*")


def classifier(place: Path) -> str:
    """Write a classifier of random weights that cuts text at blanks, and return its URI."""
    import numpy as np
    from classifiers import SENTIMENT, random_classifier, write_classifier

    from ulmfit_ray.model.architecture import Architecture
    from ulmfit_ray.text.rules import SPECIAL_TOKENS
    from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
    from ulmfit_ray.text.vocab import Vocab

    with gzip.open(SAMPLE, "rt") as lines:
        itos = [*SPECIAL_TOKENS, *sorted({word for line in islice(lines, 500) for word in line.split()})]
    ones = np.ones(len(itos), np.int64)
    shape = Architecture(vocab_size=len(itos), embedding_dim=24, hidden_size=48, num_layers=2).without_dropout()
    tokenizer = make_tokenizer(TokenizerSettings(kind="whitespace", rules=("none",)))
    vocab = Vocab(itos, ones, ones, num_documents=9, num_tokens=99)
    return write_classifier(place, random_classifier(SENTIMENT, shape), vocab, tokenizer.to_json())


def test_raw_text_is_classified_whatever_node_is_lost(
    start_nodes: Callable, start_job: Callable, tmp_path: Path
) -> None:
    path = corpus(tmp_path / "corpus", 1, 8)
    # A file that is streamed in several shards.
    shutil.copy(SAMPLE, path / "packed.jsonl.gz")
    classify = ["classify", "--model", classifier(tmp_path / "model"), "--input", str(path)]
    whole = start_job("whole", *classify)
    whole.finish()
    nodes = start_nodes(1)
    other = nodes.add(2)
    job = start_job("killed", *classify, "--actors.max", "2", nodes=nodes)
    job.wait_until(lambda: job.receipts() >= 3)
    nodes.kill(other)
    # The head has one core: until a node comes, there is room for the actor or for a tokenizer.
    time.sleep(10)
    nodes.add(1)
    job.finish()
    assert len(hashes(job.output, "shards/*")) > 12
    assert hashes(job.output, "shards/*") == hashes(whole.output, "shards/*")
    manifests = [json.loads((output / "manifest.json").read_text()) for output in (job.output, whole.output)]
    assert manifests[0]["num_documents"] == manifests[1]["num_documents"] == 2 * NUM_ABSTRACTS


def test_tokenizing_uses_a_node_that_comes_later_and_survives_one_that_goes(
    start_nodes: Callable, start_job: Callable, tmp_path: Path
) -> None:
    path = corpus(tmp_path / "corpus", 8, 24)
    # Cut into characters, the slowest way: one core must not be done before the other node is there.
    slowly = [*tokenize(path), "--lang", "zh"]
    whole = start_job("whole", *slowly)
    whole.finish()
    nodes = start_nodes(1)
    job = start_job("tokens", *slowly, nodes=nodes)
    job.wait_until(lambda: job.receipts("work/done") >= 2)

    work = job.output / "work"

    def simultaneous() -> int:
        begun, done = ({path.name for path in (work / name).glob("part-*")} for name in ("started", "done"))
        return len(begun - done)

    assert simultaneous() <= 1
    later = nodes.add(3)
    job.wait_until(lambda: simultaneous() >= 3)
    nodes.kill(later)
    job.finish()
    names = ("shards/*", "vocab.json")
    assert [hashes(job.output, name) for name in names] == [hashes(whole.output, name) for name in names]


def test_training_goes_on_when_each_of_its_nodes_is_killed_and_replaced(
    start_nodes: Callable, start_job: Callable, tmp_path: Path
) -> None:
    tokens = start_job("tokens", *tokenize(corpus(tmp_path / "corpus", 1, 1)))
    tokens.finish()
    train = ["pretrain", "--tokens", str(tokens.output), *SMALL, "--training.num-epochs", "2"]
    train += ["--scaling.num-workers", "2", "--scaling.num-cpus", "1"]
    whole = start_job("whole", *train)
    whole.finish()
    nodes = start_nodes(0)
    workers = [nodes.add(1), nodes.add(1)]
    job = start_job("killed", *train, nodes=nodes)
    for number, worker in enumerate(workers, 1):

        def has_gone_on(least: int = 40 * number) -> bool:
            steps = [int(path.name.removeprefix("step-")) for path in job.output.glob("checkpoints/step-*")]
            return max(steps, default=0) >= least

        job.wait_until(has_gone_on)
        nodes.kill(worker)
        nodes.add(1)
    job.finish()
    assert sha256_file(job.output / "model.safetensors") == sha256_file(whole.output / "model.safetensors")
