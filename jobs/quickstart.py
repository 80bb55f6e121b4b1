"""Run all stages on the sample: raw text -> tokens -> language model -> retriever -> embeddings -> search.

    make quickstart
    python jobs/quickstart.py --output build/quickstart

Each stage is the command that a person would type; it is printed before it runs. All share one Ray session. Reads
jobs/sample/scifact. Writes every stage's output and summary.json below --output. Run again, it does only what is
missing. Run from the repository's root.
"""

import json
import shlex
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ulmfit_ray.cli import main, run_job
from ulmfit_ray.config import Run, operational
from ulmfit_ray.reporting.tables import format_number, print_table
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import Manifest, read_manifest
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

CONFIGS, SAMPLE = "jobs/configs/quickstart", "jobs/sample/scifact"
CLAIMS = (
    "Cold exposure increases BAT recruitment.",
    "Insomnia can be effectively treated with cognitive behavioral therapy.",
)
LOOP_DOCUMENTS, LOOP_TURNS = 200, 5
SYSTEMS = {
    "lm": "the language model's vectors as they are",
    "retriever": "the retriever's vectors",
    "tfidf": "TF-IDF",
    "bm25": "BM25",
    "tuned_bm25": "BM25, tuned on other claims",
    "bm25_and_retriever": "BM25 and the retriever together",
}
BM25 = ("--bm25.k1", "1.2", "--bm25.b", "0.75", "--bm25.stop-words")
"""What suits SciFact's training claims best (benchmarks/retrieval.py --tune-bm25)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuickstartConfig(Run):
    """Run all stages, from raw text to search, on a sample of 5,183 scientific abstracts."""

    output: str = operational("build/quickstart")
    """Directory for the outputs of all stages."""
    overwrite: bool = operational(False)
    """Delete the outputs of an earlier run, and run all stages again."""


def stages(out: str) -> dict[str, list[str]]:
    """Return the stages' commands by name; each stage's output is `out`/<name> where it makes one."""
    judged = ["--tokens", f"{out}/tokenize", "--queries", f"{SAMPLE}/queries.jsonl.gz"]
    judged += ["--qrels", f"{SAMPLE}/qrels/test.tsv.gz"]
    lm = ["--embeddings", f"{out}/embed-lm", "--model", f"{out}/pretrain"]
    retriever = ["--embeddings", f"{out}/embed", "--model", f"{out}/train-retriever"]
    pool = ["--input", f"{out}/tokenize", "--actors.min", "2"]
    return {
        "tokenize": ["tokenize", f"{CONFIGS}/tokenize.toml"],
        "pretrain": ["pretrain", f"{CONFIGS}/pretrain.toml", "--tokens", f"{out}/tokenize"],
        "embed-lm": ["embed", "--model", f"{out}/pretrain", *pool],
        "train-retriever": ["train-retriever", f"{CONFIGS}/train_retriever.toml", "--tokens", f"{out}/tokenize"],
        "embed": ["embed", "--model", f"{out}/train-retriever", *pool],
        "evaluate-lm": ["evaluate", "retrieval", *lm, *judged],
        "evaluate": ["evaluate", "retrieval", *retriever, *judged, *BM25],
        "search": ["search", *retriever, "--query", *CLAIMS, "-k", "3"],
    }


def run(config: QuickstartConfig) -> None:
    """Run every stage, print the closing table, and write summary.json."""
    from ulmfit_ray.pipelines.options import RayOptions
    from ulmfit_ray.pipelines.runtime import ray_session

    seconds: dict[str, float] = {}
    with ray_session(RayOptions()):
        for name, command in stages(config.output).items():
            seconds[f"seconds.{name}"] = _run_stage(config, name, command)
    summary = summarize(config.output) | seconds
    Folder(config.output).publish_json(summary, "summary.json")
    print_closing_table(summary)
    print(f"\nall figures: {config.output}/summary.json")


def _run_stage(config: QuickstartConfig, name: str, command: list[str]) -> float:
    """Run one stage and return its seconds; a stage found finished keeps the time it took when it ran."""
    output = f"{config.output}/{name}"
    if name.startswith("evaluate"):
        command = [*command, "--output", f"{output}.json", "--overwrite"]
    elif name != "search":
        command = [*command, "--output", output] + ["--overwrite"] * config.overwrite
    print(f"\n$ ulmfit-ray {shlex.join(command)}", flush=True)
    timing = Path(output + ".seconds")
    was_done = timing.exists() and not config.overwrite
    began = time.monotonic()
    status = main(command)
    if status:
        raise SystemExit(status)
    if not was_done:
        timing.write_text(f"{time.monotonic() - began:.1f}\n")
    return float(timing.read_text())


def summarize(out: str) -> dict[str, float]:
    """Return the figures of all stages, measuring embedding against a plain loop on the way."""
    lm: Manifest = read_manifest(Folder(f"{out}/pretrain"))
    embeddings = EmbeddingDataset(f"{out}/embed-lm")
    names = ("perplexity", "word_frequency_perplexity", "accuracy")
    summary = {f"lm.{name}": float(lm.figures[name]) for name in names}
    summary |= compare_with_loop(f"{out}/pretrain", f"{out}/tokenize", embeddings)
    summary["embed.job_tokens_per_second"] = float(embeddings.manifest.figures["tokens_per_second"])
    systems = json.loads(Path(f"{out}/evaluate.json").read_text())["systems"]
    lm_systems = json.loads(Path(f"{out}/evaluate-lm.json").read_text())["systems"]
    systems |= {"lm": lm_systems["vectors"], "retriever": systems["vectors"]}
    systems |= {"tuned_bm25": systems["tuned bm25"], "bm25_and_retriever": systems["tuned bm25 + vectors"]}
    for name in SYSTEMS:
        summary[f"ndcg.{name}"] = systems[name]["ndcg@10"]["mean"]
        summary[f"ndcg_standard_error.{name}"] = systems[name]["ndcg@10"]["standard_error"]
    return summary


def compare_with_loop(model: str, tokens: str, embeddings: EmbeddingDataset) -> dict[str, float]:
    """Encode the same documents with the `embed` job's encoder and one at a time, as one would without this project.

    Both take turns in this process, so that a busy machine slows both. Returns the medians of their tokens per second,
    and the largest absolute difference of the loop's vectors from the `embed` job's.
    """
    import numpy as np
    import torch

    from ulmfit_ray.document_encoder import DocumentEncoder

    encoder = DocumentEncoder.load(model, "cpu").token_encoder()
    backbone = encoder.model.backbone
    assert backbone is not None
    documents: list[np.ndarray] = []
    for table in TokenDataset(tokens).tables():
        values, offsets = flat_tokens(table["tokens"])
        documents += np.split(values, offsets[1:-1])
    step = max(1, len(documents) // LOOP_DOCUMENTS)
    chosen = documents[::step][:LOOP_DOCUMENTS]

    @torch.inference_mode()
    def loop(documents: list[np.ndarray]) -> np.ndarray:
        vectors = []
        for document in documents:
            ids = torch.from_numpy(document.astype(np.int64))[None]
            vectors.append(backbone(ids, backbone.initial_hidden(1))[0].mean(1))
        return torch.cat(vectors).numpy()

    seconds: dict[str, list[float]] = {"ours": [], "loop": []}
    for _ in range(LOOP_TURNS):
        for name, encode in (("ours", encoder.encode), ("loop", loop)):
            began = time.perf_counter()
            vectors = encode(chosen)
            seconds[name].append(time.perf_counter() - began)
    num_tokens = sum(map(len, chosen))
    stored = np.concatenate([vectors_of(table) for table in embeddings.tables()])[::step][:LOOP_DOCUMENTS]
    return {
        "embed.tokens_per_second": num_tokens / statistics.median(seconds["ours"]),
        "embed.loop_tokens_per_second": num_tokens / statistics.median(seconds["loop"]),
        "embed.largest_difference": float(np.abs(vectors - stored).max()),
    }


def print_closing_table(summary: dict[str, float]) -> None:
    """Print what each stage gave, beside what it must be compared with."""
    frequencies, loop = summary["lm.word_frequency_perplexity"], summary["embed.loop_tokens_per_second"]
    rate, difference = summary["embed.tokens_per_second"], summary["embed.largest_difference"]
    rows = [
        ["pretrain", "perplexity", f"{summary['lm.perplexity']:.0f}", f"word frequencies alone: {frequencies:.0f}"],
        ["", "next word right", f"{summary['lm.accuracy']:.1%}", ""],
        ["embed", "tokens per second", f"{rate:,.0f}", f"one document at a time: {loop:,.0f} ({rate / loop:.1f} x)"],
        ["", "largest difference of their vectors", format_number(difference), ""],
    ]
    for name, title in SYSTEMS.items():
        value = f"{summary[f'ndcg.{name}']:.3f} ± {summary[f'ndcg_standard_error.{name}']:.3f}"
        is_first = name == "lm"
        rows.append(["search" * is_first, title, value, "nDCG@10, 300 test claims" * is_first])
    print_table("What each stage gave", ["stage", "figure", "value", "beside it"], rows, right=("value",))


if __name__ == "__main__":
    sys.exit(run_job(QuickstartConfig, run, "python jobs/quickstart.py", sys.argv[1:]))
