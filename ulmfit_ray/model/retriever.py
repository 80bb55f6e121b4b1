"""The retriever: two towers with shared weights whose query and document vectors match by dot product.

A text's vector is two blocks side by side, each normalized: *context*, the language model's outputs under a
weighted mean, times a learned scale; and *words*, a weighted mean of the retriever's own word vectors, as in deep
structured semantic models. Both means use the same weights, one learned weight for each word.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import AWDLSTM, LayerGroup
from ulmfit_ray.model.description import pooled_width
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks
from ulmfit_ray.model.pooling import Pool, pool_windows

BLOCKS = ("context", "words")
"""The order in which the blocks lie in a vector, whatever the order in which they were asked for."""
INITIAL_SCALE = 0.3
"""Factor of the context block at the start. Its logarithm is learned, because a scale of 0 would have gradient 0: the
loss depends on the square of the scale."""


class Retriever(nn.Module):
    """Vectors of texts; `vocab_size` is the whole vocabulary's, the backbone may know fewer words."""

    def __init__(
        self, blocks: Sequence[str], *, vocab_size: int, word_dim: int = 256, backbone: AWDLSTM | None = None
    ) -> None:
        super().__init__()
        assert blocks, "a retriever has at least one block"
        assert set(blocks) <= set(BLOCKS), blocks
        self.block_names = [name for name in BLOCKS if name in blocks]
        self.log_weights = nn.Parameter(torch.zeros(vocab_size))
        self.backbone: AWDLSTM | None = None
        if "context" in self.block_names:
            assert backbone is not None
            self.backbone = backbone
        if "words" in self.block_names:
            self.word_vectors = nn.Parameter(torch.empty(vocab_size, word_dim).uniform_(-0.1, 0.1))
        if len(self.block_names) == 2:
            self.log_context_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())

    def block_widths(self) -> dict[str, int]:
        """Return the width of each block, in the vector's order."""
        widths = {}
        if self.backbone is not None:
            widths["context"] = self.backbone.architecture.embedding_dim
        if "words" in self.block_names:
            widths["words"] = self.word_vectors.shape[1]
        return widths

    def token_weights(self, token_ids: Tensor) -> Tensor:
        """Return each token's weight in the means."""
        return self.log_weights[token_ids].exp()

    def blocks(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        masks: DropoutMasks = NO_DROPOUT,
        *,
        window: int = 32,
        words_window: int | None = None,
        pooling: str = "idf-mean",
    ) -> dict[str, Tensor]:
        """Return the normalized blocks of texts given as ids (B, T), longest first, of which num_tokens (B,) are real.

        A block is (B, its width). The backbone runs in windows of `window` steps. Word vectors are looked up
        `words_window` steps at once; the default is the whole text, because in training the gradient of each look-up
        costs a pass over the whole table.
        """
        weights = self.token_weights(token_ids)
        blocks = {}
        if self.backbone is not None:
            own = weights if pooling == "idf-mean" else None
            blocks["context"] = self.backbone.pooled(
                token_ids, num_tokens, pooling=pooling, window=window, weights=own, masks=masks
            )
        if "words" in self.block_names:
            size = words_window or token_ids.shape[1]
            pool = Pool("idf-mean", len(token_ids), self.word_vectors.shape[1], token_ids.device)
            vectors = self._word_windows(token_ids, num_tokens, size)
            blocks["words"] = pool_windows(pool, vectors, num_tokens, size, weights)
        return {name: F.normalize(block, dim=1) for name, block in blocks.items()}

    def _word_windows(self, token_ids: Tensor, num_tokens: Tensor, size: int) -> Iterator[Tensor]:
        for start in range(0, int(num_tokens[0]), size):
            active = int((num_tokens > start).sum())
            yield F.embedding(token_ids[:active, start : start + size], self.word_vectors)

    def forward(self, towers: Sequence[tuple[Tensor, Tensor, DropoutMasks]]) -> list[dict[str, Tensor]]:
        """Return the blocks of each tower's texts (see `blocks`) and, with two blocks, their "joint" vector.

        All towers are passed at once, because data-parallel training needs a single forward call per step.
        """
        blocks = [self.blocks(*tower) for tower in towers]
        return [tower if len(tower) == 1 else tower | {"joint": self.join(tower)} for tower in blocks]

    def vectors(
        self, token_ids: Tensor, num_tokens: Tensor, *, pooling: str, window: int, idf: Tensor | None = None
    ) -> Tensor:
        """Return vectors (B, D) of texts: see model.kinds.VectorModel.

        `pooling` is that of the context block. `idf` is not used: a retriever has learned weights of its own.
        """
        return self.join(self.blocks(token_ids, num_tokens, window=window, words_window=window, pooling=pooling))

    def vector_width(self, pooling: str) -> int:
        """Return D when the context block is made with `pooling`."""
        widths = self.block_widths()
        return sum(pooled_width(pooling, width) if name == "context" else width for name, width in widths.items())

    def word_table(self) -> Tensor:
        """Return the words block's own vectors, else the backbone's: see model.kinds.VectorModel."""
        if self.backbone is None or "words" in self.block_names:
            return self.word_vectors
        return self.backbone.embedding.weight

    def layer_groups(self) -> list[LayerGroup]:
        """Return the backbone's groups, then what is the retriever's own."""
        own = [parameter for name, parameter in self.named_parameters() if not name.startswith("backbone.")]
        return [*(self.backbone.layer_groups() if self.backbone is not None else []), ("head", own)]

    def join(self, blocks: dict[str, Tensor]) -> Tensor:
        """Return the text's vector, of length 1: normalize([scale * context, words])."""
        parts = [blocks[name] for name in self.block_names]
        if len(parts) == 2:
            parts[0] = parts[0] * self.log_context_scale.exp()
        return F.normalize(torch.cat(parts, 1), dim=1)
