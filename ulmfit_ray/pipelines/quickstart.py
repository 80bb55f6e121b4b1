"""The sample's whole road, and a table that tells the truth about what each stage gave.

Each stage is the command that a person would type; it is printed before it runs. All share one Ray session.
"""

import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ulmfit_ray.cli import main
from ulmfit_ray.config import Run, operational
from ulmfit_ray.document_encoder import DocumentEncoder
from ulmfit_ray.pipelines.runtime import RayOptions, ray_session
from ulmfit_ray.reporting.progress import format_number
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

CONFIGS, SAMPLE = "jobs/configs/quickstart", "jobs/sample/scifact"
CLAIMS = (
    "Cold exposure increases BAT recruitment.",
    "Insomnia can be effectively treated with cognitive behavioral therapy.",
)
LOOP_DOCUMENTS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class QuickstartConfig(Run):
    """Run the whole road on the sample of 5,183 scientific abstracts."""

    output: str = operational("build/quickstart")
    """Directory for the outputs of all stages."""
    overwrite: bool = operational(False)
    """Start afresh."""


def stages(out: str) -> dict[str, list[str]]:
    """Return the stages' commands by name; each stage's output is `out`/<name> where it makes one."""
    judged = ["--tokens", f"{out}/tokenize", "--queries", f"{SAMPLE}/queries.jsonl.gz"]
    judged += ["--qrels", f"{SAMPLE}/qrels/test.tsv.gz"]
    retriever = ["--embeddings", f"{out}/embed", "--model", f"{out}/train-retriever"]
    pool = ["--input", f"{out}/tokenize", "--actors.min", "2"]
    return {
        "tokenize": ["tokenize", f"{CONFIGS}/tokenize.toml"],
        "pretrain": ["pretrain", f"{CONFIGS}/pretrain.toml", "--tokens", f"{out}/tokenize"],
        "embed-lm": ["embed", "--model", f"{out}/pretrain", *pool],
        "train-retriever": [
            *("train-retriever", f"{CONFIGS}/train_retriever.toml"),
            *("--model", f"{out}/pretrain", "--tokens", f"{out}/tokenize"),
        ],
        "embed": ["embed", "--model", f"{out}/train-retriever", *pool],
        "evaluate-lm": [
            "evaluate",
            "retrieval",
            "--embeddings",
            f"{out}/embed-lm",
            "--model",
            f"{out}/pretrain",
            *judged,
        ],
        "evaluate": ["evaluate", "retrieval", *retriever, *judged],
        "search": ["search", *retriever, "--query", *CLAIMS, "-k", "3"],
    }


def run(config: QuickstartConfig) -> dict[str, float]:
    """Run every stage, print the closing table, write summary.json and return it."""
    seconds: dict[str, float] = {}
    with ray_session(RayOptions()):
        for name, command in stages(config.output).items():
            _run_stage(config, name, command, seconds)
    summary = summarize(config.output) | {f"seconds.{name}": value for name, value in seconds.items()}
    Folder(config.output).publish_json(summary, "summary.json")
    print_table(summary)
    print(f"\nall figures: {config.output}/summary.json")
    return summary


def _run_stage(config: QuickstartConfig, name: str, command: list[str], seconds: dict[str, float]) -> None:
    output = f"{config.output}/{name}"
    if name.startswith("evaluate"):
        command = [*command, "--output", f"{output}.json"]
    elif name != "search":
        command = [*command, "--output", output] + ["--overwrite"] * config.overwrite
    print(f"\n$ ulmfit-ray {shlex.join(command)}", flush=True)
    # A stage found finished keeps the time it took when it ran.
    timing = Path(output + ".seconds")
    was_done = timing.exists() and not config.overwrite
    began = time.monotonic()
    status = main(command)
    if status:
        raise SystemExit(status)
    if not was_done:
        timing.write_text(f"{time.monotonic() - began:.1f}\n")
    seconds[name] = float(timing.read_text())


def summarize(out: str) -> dict[str, float]:
    """Return the figures of all stages, measuring embedding against a plain loop on the way."""
    lm: dict[str, Any] = Folder(f"{out}/pretrain").read_json("manifest.json")
    systems = json.loads(Path(f"{out}/evaluate.json").read_text())["systems"]
    lm_systems = json.loads(Path(f"{out}/evaluate-lm.json").read_text())["systems"]
    embeddings = EmbeddingDataset(f"{out}/embed-lm")
    loop_rate, difference = compare_with_loop(f"{out}/pretrain", f"{out}/tokenize", embeddings)
    ndcg = {"lm": lm_systems["vectors"], "both": systems["vectors"], "bm25_and_both": systems["bm25 + vectors"]}
    ndcg |= {name: systems[name] for name in ("context", "words", "tfidf", "bm25")}
    summary = {
        "lm.perplexity": lm["perplexity"],
        "lm.word_frequency_perplexity": lm["word_frequency_perplexity"],
        "lm.accuracy": lm["accuracy"],
        "embed.tokens_per_second": embeddings.manifest["tokens_per_second"],
        "embed.loop_tokens_per_second": loop_rate,
        "embed.largest_difference": difference,
    }
    for name, metrics in ndcg.items():
        summary[f"ndcg.{name}"] = metrics["ndcg@10"]["mean"]
        summary[f"ndcg_standard_error.{name}"] = metrics["ndcg@10"]["standard_error"]
    return summary


@torch.inference_mode()
def compare_with_loop(model: str, tokens: str, embeddings: EmbeddingDataset) -> tuple[float, float]:
    """Encode some documents one at a time, as one would without this project.

    Returns tokens per second, and the largest difference between its vectors and those of the `embed` job.
    """
    encoder = DocumentEncoder.load(model, "cpu").model.encoder
    assert encoder is not None
    documents: list[np.ndarray] = []
    for table in TokenDataset(tokens).tables():
        values, offsets = flat_tokens(table["tokens"])
        documents += np.split(values, offsets[1:-1])
    step = max(1, len(documents) // LOOP_DOCUMENTS)
    chosen = [torch.from_numpy(document.astype(np.int64))[None] for document in documents[::step][:LOOP_DOCUMENTS]]
    encoder(chosen[0], encoder.initial_hidden(1))
    began = time.monotonic()
    vectors = torch.cat([encoder(document, encoder.initial_hidden(1))[0].mean(1) for document in chosen])
    rate = sum(document.numel() for document in chosen) / (time.monotonic() - began)
    ours = np.concatenate([vectors_of(table) for table in embeddings.tables()])[::step][:LOOP_DOCUMENTS]
    return rate, float(np.abs(vectors.numpy() - ours).max())


def print_table(summary: dict[str, float]) -> None:
    """Print what each stage gave, beside what it must be compared with."""
    table = Table(title="What each stage gave", title_justify="left")
    for name in ("stage", "figure", "value", "beside it"):
        table.add_column(name, justify="right" if name == "value" else "left")
    frequencies, loop = summary["lm.word_frequency_perplexity"], summary["embed.loop_tokens_per_second"]
    rate = summary["embed.tokens_per_second"]
    table.add_row(
        "pretrain", "perplexity", f"{summary['lm.perplexity']:.0f}", f"word frequencies alone: {frequencies:.0f}"
    )
    table.add_row("", "next word right", f"{summary['lm.accuracy']:.1%}", "")
    table.add_row(
        "embed", "tokens per second", f"{rate:,.0f}", f"one document at a time: {loop:,.0f} ({rate / loop:.1f} x)"
    )
    difference = format_number(summary["embed.largest_difference"])
    table.add_row("", "largest difference of their vectors", difference, "", end_section=True)
    titles = {
        "lm": "the language model's vectors as they are",
        "context": "retriever: context block alone",
        "words": "retriever: words block alone",
        "both": "retriever: both blocks",
        "tfidf": "TF-IDF",
        "bm25": "BM25",
        "bm25_and_both": "BM25 and the retriever together",
    }
    for name, title in titles.items():
        value = f"{summary[f'ndcg.{name}']:.3f} ± {summary[f'ndcg_standard_error.{name}']:.3f}"
        table.add_row(
            "search" if name == "lm" else "", title, value, "nDCG@10, 300 test claims" if name == "lm" else ""
        )
    Console(highlight=False, markup=False, width=110).print(table)
