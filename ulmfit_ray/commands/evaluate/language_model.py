"""How well a language model predicts the next token of a token dataset, beside word frequencies."""

import math
from dataclasses import dataclass

from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.evaluation.language_model import word_frequency_perplexity
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.language_model import LMStream
from ulmfit_ray.streams.selection import count_tokens, everything
from ulmfit_ray.text.vocab import Vocab


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateLanguageModelConfig(Run):
    """Measure loss, perplexity and next-word accuracy of a language model on a token dataset."""

    model: str
    """Model directory of the language model."""
    tokens: str
    """Token dataset with the model's vocabulary."""
    columns: int = 10
    """Columns that all documents, joined, are cut into; the papers take 10 for validation and 1 for test. The state is
    carried over from document to document, and each column begins without one."""
    bptt: int = 72
    """Tokens of each column that are read at once: memory and time, no figure."""
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""
    overwrite: bool = operational(False)
    """Replace the file --output if it is there."""

    def __post_init__(self) -> None:
        if self.columns < 1 or self.bptt < 1:
            raise ConfigError("--columns and --bptt must be at least 1")


def run(config: EvaluateLanguageModelConfig) -> dict[str, float]:
    """Print the figures and return them."""
    refuse_existing(config.output, config.overwrite)
    directory, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    if directory.description.kind != "lm":
        raise ConfigError(f"--model {config.model} is a {directory.description.kind}, and no language model")
    directory.check_tokens(tokens.manifest.vocab, config.tokens)
    stream = _stream(config, directory, tokens)
    loss, accuracy, count = _score(stream, directory, config.tokens)
    figures: dict[str, float] = {
        "tokens": count,
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": accuracy,
        **_word_frequencies(directory, tokens),
    }
    print_summary(f"{config.tokens}, {config.columns} columns", figures)
    if config.output is not None:
        folder, name = place_of(config.output)
        folder.publish_json({"columns": config.columns, **figures}, name)
    return figures


def _stream(config: EvaluateLanguageModelConfig, directory: ModelDirectory, tokens: TokenDataset) -> LMStream:
    return LMStream(
        tokens,
        everything(tokens),
        global_batch_size=config.columns,
        bptt=config.bptt,
        columns=slice(None),
        seed=0,
        shuffle=False,
        backward=directory.description.direction == "backward",
        remedy="lower --columns",
    )


def _score(stream: LMStream, directory: ModelDirectory, what: str) -> tuple[float, float, int]:
    """Return the mean loss in nats, the part of next words predicted right, and how many words were predicted."""
    # torch comes with these, which --help can do without.
    import torch

    from ulmfit_ray.model.files import load_model
    from ulmfit_ray.training.tasks.language_model import score_windows

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with directory.weights() as weights:
        model = load_model(directory.description, weights, device)
    with Bar(f"reading {what}", stream.num_windows, "windows") as bar:
        total, correct, count = 0.0, 0, 0
        for part in score_windows(model, stream.windows(0), "float32", device):
            total, correct, count = total + part[0], correct + part[1], count + part[2]
            bar.advance(1, tokens=part[2])
    return total / count, correct / count, count


def _word_frequencies(directory: ModelDirectory, tokens: TokenDataset) -> dict[str, float]:
    """Return the perplexity of the frequencies that words had where the vocabulary was counted, if that is known."""
    architecture = directory.description.architecture
    assert architecture is not None
    size, vocab = architecture.vocab_size, Vocab.from_json(directory.vocab)
    if not vocab.num_tokens:
        return {}
    trained = vocab.counts[:size].copy()
    # To the model, all other words are xxunk.
    trained[0] = vocab.num_tokens - trained[1:].sum()
    seen = count_tokens(tokens, everything(tokens), size)
    return {"word_frequency_perplexity": word_frequency_perplexity(trained, seen)}
