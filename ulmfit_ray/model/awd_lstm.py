"""AWD-LSTM: an embedding, a stack of LSTM layers, and a decoder that shares the embedding's matrix.

Shapes: B batch rows, T time steps, V vocabulary rows, E embedding_dim, H hidden_size. Hidden state goes in and
comes out as a list of (h, c), one pair per layer, each (1, B, the layer's output width); dropout masks are arguments.
Layers have nn.LSTM's parameter names and gate order, so fastai's weights fit unchanged.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.description import Reading, pooled_width
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks
from ulmfit_ray.model.lstm import LSTMLayer
from ulmfit_ray.model.pooling import Pool, pool_windows
from ulmfit_ray.model.sampled_softmax import Sample, sampled_cross_entropy
from ulmfit_ray.model.softmax import linear_cross_entropy, score_words

Hidden = list[tuple[Tensor, Tensor]]
LayerGroup = tuple[str, Sequence[Tensor]]
"""Name and parameters of one part of a model; the optimizer has groups of its own for each part."""
UNK_ID, PAD_ID = 0, 1
WINDOW = 32
"""Time steps per call, where documents are pooled as they are read."""
ROWS_STEP = 4
"""Without gradients the rows of a call are a multiple of it, so that calls have few sizes: oneDNN keeps code of half a
megabyte for each of up to 1,024, and an actor's memory would grow for hours."""


class AWDLSTM(nn.Module):
    """The backbone of every model: token ids -> outputs of the last layer."""

    window = WINDOW

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        assert architecture.vocab_size > 0, "resolve vocab_size before building a model"
        self.architecture = architecture
        self.embedding = nn.Embedding(architecture.num_rows, architecture.embedding_dim, padding_idx=PAD_ID)
        nn.init.uniform_(self.embedding.weight, -architecture.initial_range, architecture.initial_range)
        self.layers = nn.ModuleList(LSTMLayer(*sizes) for sizes in architecture.layer_sizes())

    def width(self, layer: int | None = None) -> int:
        """Return the width of the outputs of a layer, counted from 1 (None: of the last one, E)."""
        return self._widths()[-1 if layer is None else layer - 1]

    def _widths(self) -> list[int]:
        return [int(layer.hidden_size) for layer in self.layers]  # type: ignore[arg-type]

    def initial_hidden(self, batch_size: int) -> Hidden:
        """Return the state before the first token: zeros."""
        weight = self.embedding.weight
        zeros = [
            torch.zeros(1, batch_size, width, dtype=weight.dtype, device=weight.device) for width in self._widths()
        ]
        return [(h, torch.zeros_like(h)) for h in zeros]

    def known(self, token_ids: Tensor) -> Tensor:
        """Return `token_ids` with those this model has no word for turned into xxunk."""
        return token_ids.masked_fill(token_ids >= self.architecture.vocab_size, UNK_ID)

    def embed(self, token_ids: Tensor, masks: DropoutMasks = NO_DROPOUT) -> Tensor:
        """Return the word vectors (B, T, E) that go into the first layer."""
        token_ids = self.known(token_ids)
        x = F.embedding(token_ids, self.embedding.weight, PAD_ID)
        # The looked-up rows are masked, not the table, which may have a hundred times as many.
        x = x if masks.embedding is None else x * masks.embedding[token_ids]
        return x if masks.input is None else x * masks.input

    def run_layers(self, x: Tensor, hidden: Hidden, masks: DropoutMasks = NO_DROPOUT) -> tuple[Tensor, Hidden]:
        """Return the last layer's raw outputs (B, T, E) for word vectors (B, T, E), and the new state."""
        new_hidden: Hidden = []
        for number, layer in enumerate(self.layers):
            x, state = layer(x, hidden[number], masks.weight[number] if masks.weight else None)
            new_hidden.append(state)
            mask = masks.hidden[number] if number < len(masks.hidden) else None
            x = x if mask is None else x * mask
        return x, new_hidden

    def forward(self, token_ids: Tensor, hidden: Hidden, masks: DropoutMasks = NO_DROPOUT) -> tuple[Tensor, Hidden]:
        """Return the last layer's raw outputs (B, T, E) for ids (B, T), and the new state."""
        return self.run_layers(self.embed(token_ids, masks), hidden, masks)

    def windows(
        self, token_ids: Tensor, num_tokens: Tensor, window: int, masks: DropoutMasks = NO_DROPOUT
    ) -> Iterator[Tensor]:
        """Yield raw outputs of documents (B, T) window by window: (B', window, E) for the B' that still have tokens.

        Documents must come longest first, so that documents that end leave from the end of the batch: no output of a
        real token depends on padding. The last window is shorter if T is not a multiple of `window`.
        """
        lengths = num_tokens.tolist()
        assert lengths == sorted(lengths, reverse=True), "documents must come longest first"
        if len(token_ids) == 1:
            twice = torch.zeros(2, dtype=torch.int64, device=token_ids.device)
            token_ids, masks = token_ids[twice], masks.rows(twice)
        hidden = self.initial_hidden(len(token_ids))
        # Each look-up's gradient costs a pass over the whole table: one look-up in training, none kept otherwise.
        embedded = self.embed(token_ids, masks).split(window, 1) if torch.is_grad_enabled() else None
        for number, start in enumerate(range(0, lengths[0], window)):
            active = sum(length > start for length in lengths)
            # Always two rows or more: oneDNN adds a single row in another order if a layer's input and output are
            # equally wide.
            multiple = active if torch.is_grad_enabled() else -(-active // ROWS_STEP) * ROWS_STEP
            running = max(2, min(multiple, len(token_ids)))
            own = masks.rows(slice(0, running))
            hidden = [(h[:, :running].contiguous(), c[:, :running].contiguous()) for h, c in hidden]
            x = embedded[number][:running] if embedded else self.embed(token_ids[:running, start : start + window], own)
            outputs, hidden = self.run_layers(x, hidden, own)
            yield outputs[:active]

    def pooled(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        reading: Reading,
        *,
        weights: Tensor | None = None,
        masks: DropoutMasks = NO_DROPOUT,
        runner: "AWDLSTM | None" = None,
    ) -> Tensor:
        """Return pooled outputs (B, E), or (B, 3E) for concat, of documents (B, T), longest first.

        `weights` (B, T) are the weights of the tokens in a weighted mean. `runner` runs in place of this module.
        """
        runner = runner or self
        pool = Pool(reading.pooling, len(token_ids), runner.width(), token_ids.device, reading.last_tokens)
        outputs = runner.windows(token_ids, num_tokens, runner.window, masks)
        return pool_windows(pool, outputs, num_tokens, runner.window, weights)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embedding and the LSTM layers, lowest first."""
        layers = [(f"layer {number}", list(layer.parameters())) for number, layer in enumerate(self.layers, 1)]
        return [("embedding", [self.embedding.weight]), *layers]


class LanguageModel(nn.Module):
    """An AWD-LSTM with the tied decoder: predicts each next token."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = AWDLSTM(architecture)
        self.decoder_bias = nn.Parameter(torch.zeros(architecture.num_rows))

    def decoder(self) -> tuple[Tensor, Tensor]:
        """Return matrix (vocab_size, E) and bias (vocab_size,) of the softmax layer, without the padding rows."""
        size = self.architecture.vocab_size
        return self.backbone.embedding.weight[:size], self.decoder_bias[:size]

    def forward(
        self,
        token_ids: Tensor,
        targets: Tensor,
        hidden: Hidden,
        masks: DropoutMasks = NO_DROPOUT,
        sample: Sample | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Hidden]:
        """Return the mean loss in nats per token, outputs after and before output dropout (B, T, E), the new state.

        `token_ids` and `targets` (the next tokens) are (B, T). With a `sample` the loss is over its words alone.
        """
        raw_output, hidden = self.backbone(token_ids, hidden, masks)
        output = raw_output if masks.output is None else raw_output * masks.output
        words = self.backbone.known(targets).flatten()
        if sample is None:
            loss = linear_cross_entropy(output.flatten(0, 1), *self.decoder(), words)
        else:
            loss = sampled_cross_entropy(output.flatten(0, 1), *self.decoder(), words, sample)
        return loss, output, raw_output, hidden

    def vectors(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        reading: Reading,
        *,
        idf: Tensor | None = None,
        runner: "AWDLSTM | None" = None,
    ) -> Tensor:
        """Return vectors (B, D) of documents: see model.kinds.VectorModel. Pooling idf-mean needs `idf` (V,)."""
        weights = None
        if reading.pooling == "idf-mean":
            assert idf is not None, "idf-mean needs the vocabulary's weights"
            weights = idf[token_ids]  # (B, T)
        return self.backbone.pooled(token_ids, num_tokens, reading, weights=weights, runner=runner)

    def vector_width(self, reading: Reading) -> int:
        """Return D for a way of reading."""
        return pooled_width(reading.pooling, self.backbone.width(reading.layer))

    def word_table(self) -> Tensor:
        """Return the vectors of single words (rows, E): see model.kinds.VectorModel."""
        return self.backbone.embedding.weight

    def layer_groups(self) -> list[LayerGroup]:
        """Return the LSTM layers, lowest first, then the embedding with the decoder: fastai's split."""
        return [*self.backbone.layer_groups()[1:], ("decoder", [self.backbone.embedding.weight, self.decoder_bias])]

    def score(self, token_ids: Tensor, targets: Tensor, hidden: Hidden) -> tuple[Tensor, Tensor, Hidden]:
        """Return the summed loss in nats, the number of next words predicted right, and the new state; no dropout.

        `token_ids` and `targets` are (B, T). The caller turns gradients off.
        """
        raw_output, hidden = self.backbone(token_ids, hidden)
        total, correct = score_words(raw_output.flatten(0, 1), *self.decoder(), self.backbone.known(targets).flatten())
        return total, correct, hidden


def detach_hidden(hidden: Hidden) -> Hidden:
    """Cut the graph between two windows: the state's values go on, its gradient does not."""
    return [(h.detach(), c.detach()) for h, c in hidden]
