"""Nodes that die or come in the middle: the job ends well and complete, the same to the byte, in one command.

Of embedding from tokens and `neighbours` the first is tested, and of raw text `classify`: `neighbours` runs through the
same two functions as the one (`shards.run_phase`, `map_shards_in_actors`), and `embed` through those of the other
(`encode/over_text.py`).
"""

import gzip
import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from classifiers import SENTIMENT, random_classifier, write_classifier
from cluster_inputs import FILES, NUM_ABSTRACTS, SAMPLE, Start, small
from gates import Gates
from ray_nodes import Nodes, hashes, is_at_work

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

pytestmark = pytest.mark.cluster


def test_tokenizing_survives_each_node_that_goes_and_uses_one_that_comes_later(
    nodes: Nodes, gates: Gates, start: Start, corpus: Path, tokens: Path
) -> None:
    first = nodes.add(1)
    arguments = ["tokenize", "--input", str(corpus), "--id-column", "id", "--keep-columns", "label"]
    job = start(nodes, "killed", *arguments)
    job.wait_until(lambda: job.receipts("work/done") >= 1)
    counting = gates.close("*/killed/work/part-*.arrow")
    job.wait_until(lambda: len(gates.held(counting, first)) == 1)
    second = nodes.add(2)
    # At one moment three shards are under way, each in the middle: more than the nodes of the start could have.
    job.wait_until(lambda: len(gates.held(counting)) == 3)
    assert len(gates.held(counting, second)) == 2
    nodes.kill(first)
    writing = gates.close("*/killed/shards/part-*[1-9].arrow")
    gates.open(counting)
    job.wait_until(lambda: len(gates.held(writing, second)) == 2)
    nodes.add(1)
    nodes.kill(second)
    gates.open(writing)
    job.finish()
    found = hashes(job.output, "shards/*", "vocab.json", "census/*")
    assert len(found) > FILES
    assert found == hashes(tokens, "shards/*", "vocab.json", "census/*")


def test_embedding_survives_each_node_that_is_killed_with_shards_in_its_queue(
    nodes: Nodes, gates: Gates, start: Start, tokens: Path, language_model: str
) -> None:
    first, second = nodes.add(1), nodes.add(1)
    embed = ["embed", "--model", language_model, "--input", str(tokens), "--actors.min", "2"]
    whole = start(nodes, "whole", *embed)
    whole.finish()
    early = gates.close("*/killed/shards/part-*[2-9].parquet")
    job = start(nodes, "killed", *embed)
    job.wait_until(lambda: bool(gates.held(early, first) and gates.held(early, second)))
    nodes.kill(first)
    late = gates.close("*/killed/shards/part-*[6-9].parquet")
    gates.open(early)
    third = nodes.add(1)
    job.wait_until(lambda: bool(gates.held(late, second) and gates.held(late, third)))
    assert job.receipts() < FILES
    nodes.kill(second)
    gates.open(late)
    job.finish()
    assert len(hashes(job.output, "shards/*")) == FILES
    assert hashes(job.output, "shards/*") == hashes(whole.output, "shards/*")


def classifier(place: Path) -> str:
    """Write a classifier of random weights that cuts text at blanks, and return its URI."""
    with gzip.open(SAMPLE, "rt") as lines:
        itos = [*SPECIAL_TOKENS, *sorted({word for line in islice(lines, 500) for word in line.split()})]
    ones = np.ones(len(itos), np.int64)
    shape = Architecture(vocab_size=len(itos), embedding_dim=24, hidden_size=48, num_layers=2).without_dropout()
    tokenizer = make_tokenizer(TokenizerSettings(kind="whitespace", rules=("none",)))
    vocab = Vocab(itos, ones, ones, num_documents=9, num_tokens=99)
    return write_classifier(place, random_classifier(SENTIMENT, shape), vocab, tokenizer.to_json())


def test_raw_text_is_classified_whatever_node_is_lost(
    nodes: Nodes, gates: Gates, start: Start, corpus: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "corpus"
    shutil.copytree(corpus, inputs)
    # A file that is streamed in several shards.
    with gzip.open(SAMPLE, "rt") as lines, gzip.open(inputs / "packed.jsonl.gz", "wt", 1) as packed:
        packed.writelines(islice(lines, NUM_ABSTRACTS))
    classify = ["classify", "--model", classifier(tmp_path / "model"), "--input", str(inputs), "--actors.max", "1"]
    both = [nodes.add(1), nodes.add(1)]
    whole = start(nodes, "whole", *classify)
    whole.finish()
    early = gates.close("*/killed/shards/part-*[4-9].parquet")
    job = start(nodes, "killed", *classify)
    job.wait_until(lambda: bool(gates.held(early)))
    (with_actor,) = (node for node in both if gates.held(early, node))
    (with_tokenizers,) = (node for node in both if node is not with_actor)
    nodes.kill(with_actor)
    late = gates.close("*/killed/shards/part-*[6-9].parquet")
    gates.open(early)
    # On the node that is left there is room for the actor or for a tokenizer.
    job.wait_until(lambda: "waiting: the encoder pool and a tokenizer needs 2 CPUs" in job.said())
    nodes.add(1)
    job.wait_until(lambda: bool(gates.held(late)))
    nodes.add(1)
    nodes.kill(with_tokenizers)
    gates.open(late)
    job.finish()
    assert len(hashes(job.output, "shards/*")) > FILES + 2
    assert hashes(job.output, "shards/*") == hashes(whole.output, "shards/*")
    manifests = [json.loads((output / "manifest.json").read_text()) for output in (job.output, whole.output)]
    assert manifests[0]["num_documents"] == manifests[1]["num_documents"] == 2 * NUM_ABSTRACTS


@pytest.mark.long
def test_learning_rates_are_tried_again_from_the_first_step_when_the_node_is_lost(
    nodes: Nodes, start: Start, tokens: Path
) -> None:
    find = ["lr-find", "--tokens", str(tokens), *small(hidden_size=128), "--scaling.num-cpus", "1", "--num-steps", "40"]
    left = [nodes.add(1), nodes.add(1)]
    whole = start(nodes, "whole", *find)
    whole.finish()
    job = start(nodes, "killed", *find)
    for number in (1, 2):
        job.wait_until(lambda: "lr-find: 1 of 40 steps" in job.said().rpartition("more are tried")[2])
        (at_work,) = (node for node in left if is_at_work(node, "ray::sweep_steps"))
        left.remove(at_work)
        nodes.kill(at_work)
        left.append(nodes.add(1))
        job.wait_until(lambda losses=number: job.said().count("the worker is gone") == losses)
    job.finish()
    assert len(hashes(job.output, "lr_find.*")) == 2
    assert hashes(job.output, "lr_find.*") == hashes(whole.output, "lr_find.*")
