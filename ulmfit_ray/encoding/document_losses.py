"""Documents -> how well a language model predicts each. A loss depends on the document and the model alone.

As in encoder.py documents run in micro-batches of about equal lengths, window by window, each from a state of zeros,
and only real tokens are read or scored: the memory does not grow with a document's length, but for its ids.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ulmfit_ray.encoding.engine import CPU_ROWS
from ulmfit_ray.encoding.micro_batches import micro_batches, padded
from ulmfit_ray.model.awd_lstm import WINDOW, LanguageModel
from ulmfit_ray.model.softmax import word_losses


@torch.inference_mode()
def document_losses(model: LanguageModel, documents: Sequence[np.ndarray], *, max_rows: int = CPU_ROWS) -> np.ndarray:
    """Return for each document the summed loss in nats, float64 (N,), of all its tokens but the first.

    Documents are token ids in the order in which the model reads them; one of a single token has a loss of 0.
    """
    device = model.decoder_bias.device
    # Tokens that are predicted: each but the first.
    lengths = np.array([len(document) - 1 for document in documents], np.int64)
    losses = np.zeros(len(documents))
    places = np.flatnonzero(lengths > 0)
    for chosen in micro_batches(lengths[places], lambda: max_rows):
        numbers = places[chosen]
        longest = int(lengths[numbers[0]])
        ids = torch.from_numpy(padded([documents[number] for number in numbers], longest + 1)).to(device)
        num_tokens = torch.from_numpy(lengths[numbers]).to(device)
        total = torch.zeros(len(ids), dtype=torch.float64, device=device)
        windows = model.backbone.windows(ids[:, :-1], num_tokens, WINDOW)
        for start, outputs in zip(range(0, longest, WINDOW), windows, strict=True):
            rows, steps, _ = outputs.shape  # (B', T', E)
            targets = ids[:rows, start + 1 : start + 1 + steps]  # (B', T')
            is_real = torch.arange(start, start + steps, device=device) < num_tokens[:rows, None]
            found = word_losses(outputs[is_real], *model.decoder(), model.backbone.known(targets[is_real]))
            total.index_add_(0, is_real.nonzero()[:, 0], found.double())
        losses[numbers] = total.cpu().numpy()
    return losses
