"""The README of a model directory: what the model is, what it was trained on and how, what it scored."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ulmfit_ray.config import flatten
from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Figure, Totals

Figures = Mapping[str, Figure]


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
    return "\n".join(lines + _training(model, job) + _how(job))


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
    if model.kind == "lm" and model.architecture is not None:
        scaled = asdict(model.architecture.scaled_dropouts())
        options |= {f"architecture.{name}": value for name, value in scaled.items() if name.endswith("_dropout")}
    # How often a run reports and writes checkpoints does not change the model.
    shown = {name.replace("_", "-"): value for name, value in options.items() if "_every_" not in name}
    rows = [f"| {name} | {value} |" for name, value in shown.items()]
    picture = "![Loss and learning rate by step](curves.png)"
    return ["", "## Training", "", picture, "", "| option | value |", "|---|---|", *rows]


def _how(job: JobRecord) -> list[str]:
    return [
        "",
        "## Made with",
        "",
        "```",
        job.command,
        "```",
        "",
        "## Use",
        "",
        "```python",
        "from ulmfit_ray.document_encoder import DocumentEncoder",
        "",
        'vectors = DocumentEncoder.load("this directory").encode(["first text", "second text"])',
        "```",
        "",
    ]
