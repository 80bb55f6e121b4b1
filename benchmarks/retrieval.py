"""What `train-retriever` finds without labels, over settings, seeds and collections, beside TF-IDF and BM25.

    python benchmarks/retrieval.py --data ../shared/data [--settings NAME ...] [--seeds 3] [--output FILE.json]
    python benchmarks/retrieval.py --data ../shared/data --test [--output FILE.json]
    python benchmarks/retrieval.py --data ../shared/data --similarity {dev,test} [--output FILE.json]
    python benchmarks/retrieval.py --data ../shared/data --tune-bm25

Settings are chosen by SciFact's 809 training claims, which no training sees, and by Cranfield's questions. --test looks
at SciFact's 300 test claims: once, at the end. Every vector is that of the whole document. nDCG@10 and recall@100 are
means over queries of the means over seeds, with the standard error over queries; differences are paired, query by
query. --similarity prints Spearman's correlation with what people say of STS-B's pairs of sentences, for a retriever of
SciFact's abstracts and one of IMDb's 100,000 reviews. --tune-bm25 prints the constants of BM25 that find most for the
training claims, which are the row "tuned bm25". Everything is made by the commands, in one Ray session, below --work;
what is there already is not made again.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from reporting import report

from ulmfit_ray.cli import main as run_command
from ulmfit_ray.evaluation.ranking import Estimate, estimate
from ulmfit_ray.pipelines.options import RayOptions
from ulmfit_ray.pipelines.runtime import ray_session
from ulmfit_ray.reporting.tables import print_table
from ulmfit_ray.storage.token_dataset import TokenDataset

CONFIGS = Path(__file__).parents[1] / "jobs" / "configs" / "quickstart"
TUNED = ("--bm25.k1", 1.2, "--bm25.b", 0.75, "--bm25.stop-words")
"""What --tune-bm25 found for the training claims."""
METRICS = ("ndcg@10", "recall@100")
LANGUAGE_MODEL_WORDS = 14_542
"""As in the quickstart; a smaller collection has fewer."""
LEXICAL = ("tfidf", "bm25", "tuned bm25")
DEFAULT = "default"
SETTINGS: dict[str, tuple[object, ...]] = {
    DEFAULT: (),
    "width 256": ("--word-dim", 256),
    "width 1024": ("--word-dim", 1024),
    "no runs of letters": ("--num-grams", 0),
    "200,000 runs of letters": ("--num-grams", 200_000),
    "no spans taken out": ("--spans.taken-out", 0),
    "all spans taken out": ("--spans.taken-out", 1),
    "no titles in front": ("--spans.with-query-field", 0),
    "spans alone": ("--spans.share", 1),
    "titles alone": ("--spans.share", 0),
    "spans of 8 to 30": ("--spans.min-tokens", 8, "--spans.max-tokens", 30),
    "batches of 256": ("--training.global-batch-size", 256),
    "temperature .07": ("--training.temperature", 0.07),
    "temperature .15": ("--training.temperature", 0.15),
    "8 epochs": ("--training.num-epochs", 8),
    "32 epochs": ("--training.num-epochs", 32),
    "words and context": ("--blocks", "words", "context"),
    "context alone": ("--blocks", "context"),
}


@dataclass(frozen=True, slots=True)
class Collection:
    """A judged collection below --data."""

    folder: str
    qrels: str

    def file(self, data: Path, name: str) -> Path:
        """Return one of its files."""
        return data / self.folder / name


COLLECTIONS = {
    "SciFact, training claims": Collection("scifact", "qrels/train.tsv.gz"),
    "Cranfield": Collection("cranfield", "qrels.tsv.gz"),
}
TEST = {"SciFact, test claims": Collection("scifact", "qrels/test.tsv.gz")}


def ulmfit(*arguments: object) -> None:
    """Run one command of ours in this process."""
    status = run_command(list(map(str, arguments)))
    if status:
        raise SystemExit(f"failed: ulmfit-ray {' '.join(map(str, arguments))}")


def prepared(collection: Collection, data: Path, work: Path, *, with_context: bool) -> tuple[Path, Path]:
    """Return a collection's tokens and, if a context block is asked for, a language model of its text."""
    tokens, model = work / collection.folder / "tokens", work / collection.folder / "lm"
    corpus = collection.file(data, "corpus.jsonl.gz")
    ulmfit("tokenize", CONFIGS / "tokenize.toml", "--input", corpus, "--output", tokens)
    if with_context:
        words = min(LANGUAGE_MODEL_WORDS, TokenDataset(str(tokens)).manifest.figures["vocab_size"])
        size = ("--architecture.vocab-size", words)
        ulmfit("pretrain", CONFIGS / "pretrain.toml", "--tokens", tokens, "--output", model, *size)
    return tokens, model


def trial(collection: Collection, options: Sequence[object], seed: int, place: Path, data: Path) -> dict[str, Any]:
    """Train with a seed, encode, and judge; return each system's values of each query, and what training took."""
    work = place.parents[1]
    with_context = "context" in options
    tokens, model = prepared(collection, data, work, with_context=with_context)
    command = ["--model", model] if with_context else []
    if "--blocks" not in options:
        command += ["--blocks", "words"]
    retriever, embeddings = place / f"retriever-{seed}", place / f"embeddings-{seed}"
    ulmfit("train-retriever", "--tokens", tokens, "--output", retriever, "--seed", seed, *command, *options)
    ulmfit("embed", "--model", retriever, "--input", tokens, "--output", embeddings)
    per_query = place / f"{collection.qrels.replace('/', '-')}-{seed}.parquet"
    judged = [
        "--queries",
        collection.file(data, "queries.jsonl.gz"),
        "--qrels",
        collection.file(data, collection.qrels),
    ]
    judged += ["--metrics", *METRICS, *TUNED, "--per-query", per_query, "--overwrite"]
    ulmfit("evaluate", "retrieval", "--embeddings", embeddings, "--model", retriever, "--tokens", tokens, *judged)
    table = pq.read_table(per_query)
    systems = table["system"].unique().to_pylist()
    rows = {name: table.filter(pc.field("system") == name) for name in systems}
    values = {name: {metric: rows[name][metric].to_numpy() for metric in METRICS} for name in systems}
    log = map(json.loads, (retriever / "training_log.jsonl").read_text().splitlines())
    return {"values": values, "seconds": sum(row["seconds"] for row in log)}


Values = dict[str, dict[str, np.ndarray]]
"""System -> metric -> the value of each query, the mean over seeds."""


def setting_values(name: str, trials: Sequence[dict[str, Any]]) -> Values:
    """Return the values of a setting's own systems; those of words alone are the same for all."""
    found: Values = {}
    for system in trials[0]["values"]:
        if "vectors" in system or system in LEXICAL:
            own = [trial["values"][system] for trial in trials]
            found[system.replace("vectors", name)] = {
                metric: np.mean([values[metric] for values in own], axis=0) for metric in METRICS
            }
    return found


def judged_settings(
    collection: Collection, names: Sequence[str], seeds: int, work: Path, data: Path
) -> tuple[Values, dict[str, float]]:
    """Return the values of all systems over a collection, and the median seconds of each setting's training."""
    values: Values = {}
    seconds = {}
    for name in names:
        place = work / collection.folder / name.replace(" ", "-").replace(",", "")
        place.mkdir(parents=True, exist_ok=True)
        trials = [trial(collection, SETTINGS[name], seed, place, data) for seed in range(seeds)]
        values |= setting_values(name, trials)
        seconds[name] = round(float(np.median([own["seconds"] for own in trials])), 1)
    return values, seconds


def shown(own: Estimate) -> str:
    """Return a figure as a table shows it."""
    return f"{own.mean:.3f} ± {own.standard_error:.3f}"


def described(title: str, values: Values, seconds: dict[str, float]) -> dict[str, Any]:
    """Print a collection's table, and return it for the result."""
    against = [name for name in (DEFAULT, "tuned bm25") if name in values]
    rows, result = [], {}
    for name, own in values.items():
        figures = {metric: estimate(column) for metric, column in own.items()}
        minus = {other: estimate(own[METRICS[0]] - values[other][METRICS[0]]) for other in against if other != name}
        cells = [
            f"{minus[other].mean:+.3f} ± {minus[other].standard_error:.3f}" if other in minus else ""
            for other in against
        ]
        rows.append([name, *map(shown, figures.values()), *cells, str(seconds.get(name, ""))])
        result[name] = {metric: asdict(figure) for metric, figure in figures.items()} | {
            f"{METRICS[0]} minus that of {other}": asdict(figure) for other, figure in minus.items()
        }
        if name in seconds:
            result[name]["training_seconds"] = seconds[name]
    columns = ["system", *METRICS, *(f"minus {name}" for name in against), "training, s"]
    print_table(f"{title}: {len(next(iter(values.values()))[METRICS[0]])} queries", columns, rows, right=columns[1:])
    return result


def similarity(data: Path, part: str, work: Path) -> dict[str, Any]:
    """Return the rank correlations on the pairs of a part of STS-B, by retrievers of two corpora."""
    abstracts = COLLECTIONS["SciFact, training claims"]
    place = work / abstracts.folder / DEFAULT
    trial(abstracts, SETTINGS[DEFAULT], 0, place, data)
    retrievers = {"of 5,183 abstracts": place / "retriever-0", "of 100,000 reviews": reviews_retriever(data, work)}
    columns = ["--text-columns", 5, 6, "--score-column", 4, "--format", "tsv", "--no-header"]
    found = {}
    for name, retriever in retrievers.items():
        output = work / f"sts-{part}.json"
        command = ["--model", retriever, "--input", data / "stsb" / f"sts-{part}.csv.gz", *columns]
        ulmfit("evaluate", "similarity", *command, "--output", output, "--overwrite")
        found[name] = json.loads(output.read_text())["spearman"]
    return found


def reviews_retriever(data: Path, work: Path) -> Path:
    """Train a retriever of IMDb's reviews, which have no titles: on spans alone."""
    tokens, retriever = work / "imdb" / "tokens", work / "imdb" / "retriever"
    files = [data / "imdb" / f"{name}.csv.gz" for name in ("train", "test", "unsup")]
    ulmfit("tokenize", "--input", *files, "--text-columns", "text", "--output", tokens)
    options = ["--pairs", "text", "--blocks", "words", "--training.num-epochs", 3]
    ulmfit("train-retriever", "--tokens", tokens, "--output", retriever, *options)
    return retriever


def tune_bm25(data: Path, work: Path) -> dict[str, Any]:
    """Print what BM25 finds for the training claims with many constants, and return it, best first."""
    from ulmfit_ray.commands.scoring import index_words, known_words
    from ulmfit_ray.corpus.judgments import read_qrels, read_queries
    from ulmfit_ray.document_encoder import DocumentEncoder
    from ulmfit_ray.evaluation.ranking import judge
    from ulmfit_ray.retrieval.bm25 import BM25Options
    from ulmfit_ray.retrieval.search import best

    collection = COLLECTIONS["SciFact, training claims"]
    place = work / collection.folder / DEFAULT
    trial(collection, SETTINGS[DEFAULT], 0, place, data)
    tokens, encoder = TokenDataset(str(work / "scifact" / "tokens")), DocumentEncoder.load(str(place / "retriever-0"))
    doc_ids = [doc_id for table in tokens.tables() for doc_id in table["doc_id"].to_pylist()]
    qrels = read_qrels(str(collection.file(data, collection.qrels)))
    queries = [own for own in read_queries(str(collection.file(data, "queries.jsonl.gz"))) if own.query_id in qrels]
    ids = known_words(encoder.numericalize([query.text for query in queries]))
    found = {}
    for k1, b, stop_words in product((0.6, 0.9, 1.2, 1.5, 2.0), (0.3, 0.4, 0.6, 0.75, 0.9), (False, True)):
        hits = best(index_words(tokens, BM25Options(k1=k1, b=b, stop_words=stop_words)).all_scores(ids), 10)
        ranked = [[doc_ids[row] for row in rows] for rows in hits.rows]
        values = judge(ranked, [qrels[query.query_id] for query in queries], METRICS[:1])[METRICS[0]]
        found[f"k1 {k1}, b {b}, {'without' if stop_words else 'with'} stop words"] = estimate(values)
    ranking = sorted(found.items(), key=lambda item: -item[1].mean)
    print_table("BM25, training claims", ["constants", METRICS[0]], [[name, shown(own)] for name, own in ranking])
    return {name: asdict(own) for name, own in ranking}


def main() -> None:
    """Train and judge what was asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[DEFAULT])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", action="store_true", help="judge by the test claims")
    parser.add_argument("--similarity", choices=("dev", "test"), help="judge by this part of STS-B's pairs instead")
    parser.add_argument("--tune-bm25", action="store_true")
    parser.add_argument("--work", type=Path, help="keep tokens and models here (default: nowhere)")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ray_session(RayOptions(num_cpus=2)):
        work = options.work or Path(temporary)
        if options.tune_bm25:
            report({"bm25": tune_bm25(options.data, work)}, options.output)
            return
        if options.similarity:
            report({f"STS-B, {options.similarity}": similarity(options.data, options.similarity, work)}, options.output)
            return
        result: dict[str, Any] = {}
        for title, collection in (TEST if options.test else COLLECTIONS).items():
            values, seconds = judged_settings(collection, options.settings, options.seeds, work, options.data)
            result[title] = described(title, values, seconds)
    report({"seeds": options.seeds} | result, options.output)


if __name__ == "__main__":
    main()
