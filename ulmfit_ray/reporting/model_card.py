"""The README of a model directory: what the model is, how it was made, what it scored."""

from collections.abc import Mapping

from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Figure


def language_model_card(model: ModelDescription, job: JobRecord, figures: Mapping[str, Figure]) -> str:
    """Return a language model's card."""
    shape = model.architecture
    assert shape is not None
    lines = [
        "# AWD-LSTM language model",
        "",
        f"{shape.embedding_dim}-{shape.hidden_size}, {shape.num_layers} layers,"
        f" {figures['num_parameters']:,} parameters, {shape.vocab_size:,} words, {model.direction}.",
        f"Trained on {figures['train_tokens']:,} tokens in {figures['num_steps']:,} steps ({figures['precision']}).",
        "",
    ]
    if "perplexity" in figures:
        lines += [
            "| on held-out documents | this model | word frequencies alone |",
            "|---|---|---|",
            f"| perplexity | {figures['perplexity']:.1f} | {figures['word_frequency_perplexity']:.1f} |",
            f"| next word right | {figures['accuracy']:.1%} | |",
            "",
        ]
    return "\n".join(lines + _how(job))


def imported_model_card(model: ModelDescription, job: JobRecord, figures: Mapping[str, Figure]) -> str:
    """Return the card of a language model that comes from fastai."""
    shape = model.architecture
    assert shape is not None
    lines = [
        "# AWD-LSTM language model, from fastai",
        "",
        f"{shape.embedding_dim}-{shape.hidden_size}, {shape.num_layers} layers,"
        f" {figures['num_parameters']:,} parameters, {shape.vocab_size:,} words, {model.direction}.",
        f"Decoder: {figures['has_decoder']}. Special tokens that its vocabulary lacked, with the mean of all word"
        f" vectors: {figures['words_with_mean_row']}.",
        "How often its words occur is not known: idf-mean pooling weighs them all alike.",
        "",
    ]
    return "\n".join(lines + _how(job))


def retriever_card(model: ModelDescription, job: JobRecord, figures: Mapping[str, Figure]) -> str:
    """Return a retriever's card."""
    blocks = ", ".join(f"{block.name} ({block.start} to {block.stop})" for block in model.blocks)
    lines = [
        "# Retriever",
        "",
        f"Vectors of {model.dimension} numbers, of length 1, compared by dot product; blocks: {blocks}.",
        f"Trained on {figures['num_pairs']:,} pairs in {figures['num_steps']:,} steps ({figures['precision']});",
        f"last loss {figures['loss']:.3f}.",
        "",
    ]
    return "\n".join(lines + _how(job))


def _how(job: JobRecord) -> list[str]:
    return [
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
