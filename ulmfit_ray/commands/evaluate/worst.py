"""The documents that a system is most wrong about, with their text: wrong labels are among the first of them."""

from typing import Any

import numpy as np
from rich.console import Console

from ulmfit_ray.commands.evaluate.labelled import LabelledShards
from ulmfit_ray.commands.evaluate.systems import System, predicted
from ulmfit_ray.evaluation.classification import LEAST
from ulmfit_ray.text.decode import text_of

SHOWN_TOKENS = 40
SHOWN_CHARACTERS = 240


def losses_of(system: System, documents: LabelledShards) -> np.ndarray:
    """Return each document's loss, float64 (N,): in nats, of several labels the mean over labels; else squared."""
    targets, numbers = documents.targets, system.numbers.astype(np.float64)
    if documents.objective == "regression":
        return (numbers - targets) ** 2
    if documents.objective == "single-label":
        return -np.log(np.maximum(numbers[np.arange(len(numbers)), targets], LEAST))
    of_right = np.where(targets > 0, numbers, 1 - numbers)
    return -np.log(np.maximum(of_right, LEAST)).mean(axis=1)


def worst_documents(system: System, documents: LabelledShards, count: int) -> list[dict[str, Any]]:
    """Return the documents with the highest loss, the highest first.

    A row has doc_id, label, prediction, loss, text, and of single labels the label's probability.
    """
    losses = losses_of(system, documents)
    said = predicted(system, documents)
    itos = documents.tokens.folder.read_json("vocab.json")["tokens"]
    kind = documents.tokens.folder.read_json("tokenizer.json")["kind"]
    rows = []
    for number in np.argsort(-losses, kind="stable")[:count].tolist():
        document = documents.row(number)
        row = {
            "doc_id": document["doc_id"],
            "label": _label(documents, number),
            "prediction": said[number].as_py(),
        }
        if documents.objective == "single-label":
            row["probability"] = float(system.numbers[number, documents.targets[number]])
        text = _text(document, documents.tokens.text_columns, itos, kind)
        rows.append(row | {"loss": float(losses[number]), "text": text})
    return rows


def _label(documents: LabelledShards, number: int) -> Any:
    """Return what a prediction of a document ought to be."""
    target = documents.targets[number]
    if documents.objective == "regression":
        return float(target)
    if documents.objective == "single-label":
        return documents.labels[int(target)]
    return [documents.labels[place] for place in np.flatnonzero(target).tolist()]


def _text(document: dict[str, Any], text_columns: list[str], itos: list[str], kind: str) -> str:
    """Return a document's front on one line: of its text columns that were kept, else put together from its tokens."""
    kept = [document[name] for name in text_columns if document.get(name)]
    if kept:
        text = " ".join(" ".join(kept).split())
        return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS].rstrip()} ..."
    tokens = document["tokens"]
    text = " ".join(text_of([itos[token_id] for token_id in tokens[:SHOWN_TOKENS]], kind).split())
    return text if len(tokens) <= SHOWN_TOKENS else f"{text} ..."


def print_worst(rows: list[dict[str, Any]], detailed: str) -> None:
    """Print documents with what was predicted, and their text below."""
    console = Console(highlight=False, markup=False)
    console.print(f"documents with the highest loss, {detailed}:", soft_wrap=True)
    for row in rows:
        sure = f" ({row['probability']:.4f})" if "probability" in row else ""
        what = f"label {_shown(row['label'])}{sure}, predicted {_shown(row['prediction'])}, loss {row['loss']:.4f}"
        console.print(f"{row['doc_id']}: {what}\n    {row['text']}", soft_wrap=True)


def _shown(label: Any) -> str:
    if isinstance(label, list):
        return ", ".join(label) or "none"
    return f"{label:.6g}" if isinstance(label, float) else str(label)
