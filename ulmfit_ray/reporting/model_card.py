"""The README of a model directory: what the model is, what it was trained on and how, what it scored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ulmfit_ray.config import flatten
from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Figure, Totals

Figures = Mapping[str, Figure]
VECTORS = [
    "from ulmfit_ray.document_encoder import DocumentEncoder",
    "",
    'vectors = DocumentEncoder.load("this directory").encode(["first text", "second text"])',
]
"""How vectors are made with a model."""
SEARCH_VECTORS = [
    "from ulmfit_ray.document_encoder import DocumentEncoder",
    "",
    'encoder = DocumentEncoder.load("this directory")',
    'documents = encoder.encode(["first text", "second text"])',
    'queries = encoder.encode_queries(["what you look for"])  # words outside the vocabulary by their spelling',
    "scores = queries @ documents.T",
]
"""How queries and documents are compared with a retriever."""
PREDICTIONS = [
    "from ulmfit_ray.document_classifier import DocumentClassifier",
    "",
    'predictions = DocumentClassifier.load("this directory").predict(["first text", "second text"])',
]
"""How a classifier is used."""


def language_model_card(model: ModelDescription, job: JobRecord, figures: Figures, data: Totals) -> str:
    """Return a language model's card; `data` are the totals of the token dataset that it was trained on."""
    shape = model.architecture
    assert shape is not None
    lines = ["# AWD-LSTM language model", "", _shape(model, figures)]
    lines += _data(f"{figures['train_tokens']:,} tokens", job, figures, data, shape.vocab_size)
    if "perplexity" in figures:
        lines += [
            "",
            "## Results",
            "",
            "| on held-out documents | this model | word frequencies alone |",
            "|---|---|---|",
            f"| perplexity | {figures['perplexity']:.1f} | {figures['word_frequency_perplexity']:.1f} |",
            f"| loss (nats per token) | {figures['loss']:.3f} | |",
            f"| next word right | {figures['accuracy']:.1%} | |",
        ]
    return "\n".join(lines + _training(model, job) + _how(job))


def imported_model_card(model: ModelDescription, job: JobRecord, figures: Figures) -> str:
    """Return the card of a language model that comes from fastai."""
    lines = [
        "# AWD-LSTM language model, from fastai",
        "",
        _shape(model, figures),
        f"Decoder: {figures['has_decoder']}. Special tokens that its vocabulary lacked, with the mean of all word"
        f" vectors: {figures['words_with_mean_row']}.",
        "How often its words occur is not known: idf-mean pooling weighs them all alike.",
    ]
    return "\n".join(lines + _how(job))


def imported_classifier_card(model: ModelDescription, job: JobRecord, figures: Figures) -> str:
    """Return the card of a classifier that comes from fastai."""
    head = model.head
    assert head is not None
    hidden = ", ".join(map(str, head.hidden_sizes)) or "none"
    biases = "with biases, as those of fastai 1 and 0.7" if head.has_bias else "without biases, as those of fastai 2"
    lines = [
        "# AWD-LSTM classifier, from fastai",
        "",
        _shape(model, figures),
        f"Head: the last output, the maximum and the mean over a document ({model.dimension:,} numbers), hidden layers:"
        f" {hidden}; linear layers {biases}.",
        f"Objective: {head.objective}."
        + (f" Labels: {', '.join(f'`{label}`' for label in head.labels)}." if head.labels else ""),
        "Special tokens that its vocabulary lacked, with the mean of all word vectors:"
        f" {figures['words_with_mean_row']}.",
        "",
        "## Where it differs from fastai",
        "",
        "A document's outputs are those that fastai gives for it alone, up to fastai's `max_len` (1,440 tokens unless"
        " another was chosen; 1,400 in fastai 1 and 0.7). They differ",
        "",
        "- for longer documents: here the whole document is pooled, in fastai about the last `max_len` tokens, and how"
        " many depends on the longest document of the batch;",
        "- for documents in a batch: here they are the same in any company. In fastai 2 the vector of a document can be"
        " all zero, or its last output be taken at another token, when it is padded beside longer ones; in 1 and 0.7"
        " the padding runs through the model.",
    ]
    if head.objective == "regression":
        lines.append(
            "- if it was trained with `y_range`: its file does not hold the range, and numbers here are those in front"
            " of the scaled sigmoid."
        )
    return "\n".join(lines + _how(job, PREDICTIONS))


def retriever_card(model: ModelDescription, job: JobRecord, figures: Figures, data: Totals) -> str:
    """Return a retriever's card; `data` are the totals of the token dataset that it was trained on."""
    blocks = ", ".join(f"{block.name} ({block.start} to {block.stop})" for block in model.blocks)
    lines = [
        "# Retriever",
        "",
        f"Vectors of {model.dimension} numbers, of length 1, compared by dot product; blocks: {blocks}.",
        *_data(f"{figures['num_pairs']:,} pairs", job, figures, data, model.num_words),
        "",
        "## Results",
        "",
        "| in the last steps of training | |",
        "|---|---|",
        f"| loss (nats, all blocks) | {figures['loss']:.3f} |",
    ]
    for name, value in figures.items():
        if name.startswith("accuracy_"):
            lines.append(f"| own document first in its batch, {name.removeprefix('accuracy_')} | {value:.1%} |")
    return "\n".join(lines + _training(model, job) + _how(job, SEARCH_VECTORS))


def classifier_card(model: ModelDescription, job: JobRecord, figures: Figures, data: Totals) -> str:
    """Return a classifier's card; `data` are the totals of the token dataset that it was trained on."""
    shape, head = model.architecture, model.head
    assert shape is not None
    assert head is not None
    lines = ["# AWD-LSTM classifier", "", _shape(model, figures)]
    lines += _data(f"{figures['num_train']:,} labelled documents", job, figures, data, shape.vocab_size)
    lines.append(f"Documents without a label, left out: {figures['num_unlabelled']:,}.")
    if "label_counts" in figures:
        rows = [f"| {_in_table(label)} | {count:,} |" for label, count in figures["label_counts"].items()]
        lines += ["", f"| {_in_table(job.config['label'])} | training documents |", "|---|---|", *rows]
    if "loss" in figures:
        lines += ["", "## Results", "", *_validation(figures)]
    lines += [
        "",
        "`ulmfit-ray evaluate classifier` gives figures of each label, and what TF-IDF with logistic regression makes"
        " of the same documents.",
        "",
        "A document's probabilities depend on the document and the model alone: all of it is read and pooled, in any"
        " company. fastai pools about the last 1,440 tokens, and what a document gets depends on its batch.",
    ]
    return "\n".join(lines + _training(model, job) + _how(job, PREDICTIONS))


WITHOUT_MODEL = {"accuracy": "majority_accuracy", "rmse": "rmse_of_mean"}
"""Figures, and those of naming for each document the most frequent label, or the mean."""


def _validation(figures: Figures) -> list[str]:
    names = ("accuracy", "f1", "micro_f1", "exact_match", "rmse", "mae", "r2", "spearman", "loss")
    rows = [
        f"| {name.replace('_', ' ')} | {figures[name]:.4f} |"
        f" {format(figures[beside], '.4f') if (beside := WITHOUT_MODEL.get(name, '')) in figures else ''} |"
        for name in names
        if name in figures
    ]
    return [
        f"| on {figures['num_valid']:,} validation documents | this model | without looking at documents |",
        "|---|---|---|",
        *rows,
    ]


def _in_table(text: str) -> str:
    """Return a text that cannot break a table of Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")


def _shape(model: ModelDescription, figures: Figures) -> str:
    shape = model.architecture
    assert shape is not None
    return (
        f"{shape.embedding_dim}-{shape.hidden_size}, {shape.num_layers} layers,"
        f" {figures['num_parameters']:,} parameters, {shape.vocab_size:,} words, {model.direction}."
    )


def _data(what: str, job: JobRecord, figures: Figures, data: Totals, num_words: int) -> list[str]:
    base = job.config.get("model")
    start = f", starting from `{base}`" if base else ""
    return [
        f"Trained on {what} in {figures['num_steps']:,} steps ({figures['precision']}){start}.",
        "",
        "## Data",
        "",
        f"`{job.config['tokens']}`: {data.num_documents:,} documents, {data.num_tokens:,} tokens; vocabulary of"
        f" {num_words:,} words.",
    ]


def _training(model: ModelDescription, job: JobRecord) -> list[str]:
    """Return the curves, and the resolved options of the training as a table, with the dropouts of a language model."""
    options: dict[str, Any] = flatten({"training": job.config["training"]}) | {"seed": job.config["seed"]}
    if model.kind in ("lm", "classifier") and model.architecture is not None:
        scaled = asdict(model.architecture.scaled_dropouts())
        options |= {f"architecture.{name}": value for name, value in scaled.items() if name.endswith("_dropout")}
    # How often a run reports and writes checkpoints does not change the model.
    shown = {name.replace("_", "-"): value for name, value in options.items() if "_every_" not in name}
    rows = [f"| {name} | {value} |" for name, value in shown.items()]
    picture = "![Loss and learning rate by step](curves.png)"
    return ["", "## Training", "", picture, "", "| option | value |", "|---|---|", *rows]


def _how(job: JobRecord, use: Sequence[str] = VECTORS) -> list[str]:
    """Return the command that made the model, and lines of Python that use it."""
    return ["", "## Made with", "", "```", job.command, "```", "", "## Use", "", "```python", *use, "```", ""]
