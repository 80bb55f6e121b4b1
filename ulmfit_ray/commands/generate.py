"""A prompt continued by a language model: the quickest look at what it has learned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ulmfit_ray.config import ConfigError, Run
from ulmfit_ray.text.decode import text_of
from ulmfit_ray.text.rules import BOS
from ulmfit_ray.text.vocab import PAD_ID, UNK_ID

if TYPE_CHECKING:
    from ulmfit_ray.document_encoder import DocumentEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig(Run):
    """Continue a prompt with a language model, and print the text. A backward model writes what stands before it."""

    model: str
    """Model directory of the language model."""
    prompt: str = ""
    """What the text begins with (ends with, if the model reads backward)."""
    num_tokens: int = 100
    """Tokens to write at most; a text ends where the model begins another one."""
    temperature: float = 0.8
    """Below 1 the likely tokens become likelier still, above 1 less likely; 0: always the likeliest one."""
    top_k: int = 50
    """Draw from so many of the likeliest tokens (0: from all)."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        if self.num_tokens < 1 or self.top_k < 0 or self.temperature < 0:
            raise ConfigError("--num-tokens must be at least 1, --top-k and --temperature not negative")


def run(config: GenerateConfig) -> str:
    """Print the prompt and what follows (or goes before) it, and return that text."""
    # torch comes with it, which --help can do without.
    from ulmfit_ray.document_encoder import DocumentEncoder

    encoder = DocumentEncoder.load(config.model)
    if encoder.directory.description.kind != "lm":
        raise ConfigError(f"--model {config.model} is a {encoder.directory.description.kind}, and no language model")
    tokens = _written(config, encoder)
    text = text_of(tokens, encoder.directory.tokenizer["kind"])
    print(text)
    return text


def _written(config: GenerateConfig, encoder: "DocumentEncoder") -> list[str]:
    """Return the tokens of the prompt and of what the model writes, in the order of the text."""
    import torch

    from ulmfit_ray.model.generation import continuation

    itos, begin = encoder.vocab.itos, encoder.vocab.stoi[BOS]
    is_backward = encoder.directory.description.direction == "backward"
    prompt = encoder.numericalize([config.prompt])[0].tolist()
    if is_backward:
        # Behind the first token, which is the last one that it reads, no text goes on.
        prompt = [token_id for token_id in prompt if token_id != begin] or [encoder.vocab.stoi.get(".", UNK_ID)]
    drawn = continuation(
        encoder.model,
        prompt,
        temperature=config.temperature,
        top_k=config.top_k,
        never=(UNK_ID, PAD_ID),
        generator=torch.Generator().manual_seed(config.seed),
    )
    written: list[int] = []
    while len(written) < config.num_tokens and (token_id := next(drawn)) != begin:
        written.append(token_id)
    ids = [*prompt, *written]
    return [itos[token_id] for token_id in (reversed(ids) if is_backward else ids)]
