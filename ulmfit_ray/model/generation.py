"""A prompt continued by a language model, one token after another."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ulmfit_ray.model.awd_lstm import LanguageModel


@torch.no_grad()
def continuation(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    temperature: float,
    top_k: int,
    never: Sequence[int],
    generator: torch.Generator,
) -> Iterator[int]:
    """Yield tokens without end, each drawn from what the model expects behind all before it.

    Logits are divided by `temperature` (0: always the likeliest token), and only the `top_k` likeliest are drawn from
    (0: all); those in `never` never are. The prompt has one token at least, in the order in which the model reads.
    """
    device = model.decoder_bias.device
    forbidden = torch.tensor(list(never), dtype=torch.int64, device=device)
    ids = torch.tensor([list(prompt)], dtype=torch.int64, device=device)
    hidden = model.backbone.initial_hidden(1)
    while True:
        outputs, hidden = model.backbone(ids, hidden)
        matrix, bias = model.decoder()
        logits = (outputs[0, -1] @ matrix.t() + bias).index_fill(0, forbidden, -torch.inf)
        chosen = _drawn(logits, temperature, top_k, generator)
        yield chosen
        ids = torch.tensor([[chosen]], device=device)


def _drawn(logits: Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    values, places = logits.topk(min(top_k, len(logits)) if top_k else len(logits))
    # Drawn on the CPU: a seed gives the same text on every device.
    drawn = torch.multinomial((values / temperature).softmax(0).cpu(), 1, generator=generator)
    return int(places[int(drawn)])
