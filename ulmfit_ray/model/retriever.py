"""The retriever: two towers with shared weights whose query and document vectors match by dot product.

A text's vector is two blocks side by side, each normalized: *context*, the language model's outputs under a
weighted mean, times a learned scale; and *words*, a weighted sum of the retriever's own word vectors, as in deep
structured semantic models. Both use the same weights, one learned weight for each word.

Shapes: B texts, T tokens of the longest, V words, D width of a word vector, G vectors of runs of letters.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import AWDLSTM, LayerGroup
from ulmfit_ray.model.description import pooled_width
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks

BLOCKS = ("context", "words")
"""The order in which the blocks lie in a vector, whatever the order in which they were asked for."""
INITIAL_SCALE = 0.3
"""Factor of the context block at the start. Its logarithm is learned, because a scale of 0 would have gradient 0: the
loss depends on the square of the scale."""
INITIAL_RANGE = 0.1
Tower = tuple[Tensor, Tensor, DropoutMasks]
"""Ids (B, T) of texts, longest first, how many of each are real (B,), and the masks of the backbone."""


class Retriever(nn.Module):
    """Vectors of texts; `vocab_size` is the whole vocabulary's, the backbone may know fewer words.

    With `saturated` a word that stands n times in a text counts 1 + ln n times in its words block, not n times.
    `num_grams` vectors of runs of letters are for words outside the vocabulary; those of its own words are part of
    their vectors.
    """

    def __init__(
        self,
        blocks: Sequence[str],
        *,
        vocab_size: int,
        word_dim: int = 256,
        backbone: AWDLSTM | None = None,
        saturated: bool = False,
        num_grams: int = 0,
    ) -> None:
        super().__init__()
        assert blocks, "a retriever has at least one block"
        assert set(blocks) <= set(BLOCKS), blocks
        self.block_names = [name for name in BLOCKS if name in blocks]
        self.saturated = saturated
        self.log_weights = nn.Parameter(torch.zeros(vocab_size))
        self.backbone: AWDLSTM | None = None
        if "context" in self.block_names:
            assert backbone is not None
            self.backbone = backbone
        if "words" in self.block_names:
            self.word_vectors = _random_vectors(vocab_size, word_dim)
            if num_grams:
                self.gram_vectors = _random_vectors(num_grams, word_dim)
        if len(self.block_names) == 2:
            self.log_context_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())

    @property
    def num_grams(self) -> int:
        """Return G."""
        return len(self.gram_vectors) if hasattr(self, "gram_vectors") else 0

    def block_widths(self) -> dict[str, int]:
        """Return the width of each block, in the vector's order."""
        widths = {}
        if self.backbone is not None:
            widths["context"] = self.backbone.architecture.embedding_dim
        if "words" in self.block_names:
            widths["words"] = self.word_vectors.shape[1]
        return widths

    def token_weights(self, token_ids: Tensor) -> Tensor:
        """Return each token's weight in a mean."""
        return self.log_weights[token_ids].exp()

    def blocks(
        self, token_ids: Tensor, num_tokens: Tensor, *, window: int = 32, pooling: str = "idf-mean"
    ) -> dict[str, Tensor]:
        """Return the normalized blocks of texts given as ids (B, T), longest first, of which num_tokens (B,) are real.

        A block is (B, its width). The backbone runs in windows of `window` steps.
        """
        blocks = {}
        if self.backbone is not None:
            blocks["context"] = self._context((token_ids, num_tokens, NO_DROPOUT), window=window, pooling=pooling)
        if "words" in self.block_names:
            blocks["words"] = self._bags(self.word_vectors, token_ids, token_ids, num_tokens)
        return {name: F.normalize(block, dim=1) for name, block in blocks.items()}

    def _context(self, tower: Tower, *, window: int = 32, pooling: str = "idf-mean") -> Tensor:
        assert self.backbone is not None
        token_ids, num_tokens, masks = tower
        weights = self.token_weights(token_ids) if pooling == "idf-mean" else None
        return self.backbone.pooled(token_ids, num_tokens, pooling=pooling, window=window, weights=weights, masks=masks)

    def _bags(self, table: Tensor, rows: Tensor, token_ids: Tensor, num_tokens: Tensor) -> Tensor:
        """Return the weighted sums (B, D) of texts' word vectors, which are `rows` (B, T) of a table.

        Nothing is added behind a text's end but zeros, so that its sum does not depend on the length of others.
        """
        is_real = torch.arange(token_ids.shape[1], device=token_ids.device) < num_tokens[:, None]
        weights = self.token_weights(token_ids) * is_real
        if self.saturated:
            counts = occurrences(token_ids, is_real)
            weights = weights * (1 + counts.log()) / counts
        return F.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")

    def forward(self, towers: Sequence[Tower]) -> list[dict[str, Tensor]]:
        """Return the blocks of each tower's texts (see `blocks`) and, with two blocks, their "joint" vector.

        All towers are passed at once, because data-parallel training needs a single forward call per step, and because
        the gradient of the word vectors costs a pass over the vectors of all words that occur.
        """
        found: list[dict[str, Tensor]] = [{} for _ in towers]
        if self.backbone is not None:
            for blocks, tower in zip(found, towers, strict=True):
                blocks["context"] = F.normalize(self._context(tower), dim=1)
        if "words" in self.block_names:
            words, rows = torch.cat([token_ids.flatten() for token_ids, _, _ in towers]).unique(return_inverse=True)
            table = self.word_table(words)
            parts = rows.split([token_ids.numel() for token_ids, _, _ in towers])
            for blocks, own, (token_ids, num_tokens, _) in zip(found, parts, towers, strict=True):
                bags = self._bags(table, own.view_as(token_ids), token_ids, num_tokens)
                blocks["words"] = F.normalize(bags, dim=1)
        return [tower if len(tower) == 1 else tower | {"joint": self.join(tower)} for tower in found]

    def word_table(self, words: Tensor | None = None) -> Tensor:
        """Return the vectors of some words (N, D), or of all; without a words block the backbone's.

        See model.kinds.VectorModel.
        """
        if "words" in self.block_names:
            return self.word_vectors if words is None else self.word_vectors[words]
        assert self.backbone is not None
        table = self.backbone.embedding.weight
        return table if words is None else table[words]

    def vectors(
        self, token_ids: Tensor, num_tokens: Tensor, *, pooling: str, window: int, idf: Tensor | None = None
    ) -> Tensor:
        """Return vectors (B, D) of texts: see model.kinds.VectorModel.

        `pooling` is that of the context block. `idf` is not used: a retriever has learned weights of its own.
        """
        return self.join(self.blocks(token_ids, num_tokens, window=window, pooling=pooling))

    def vector_width(self, pooling: str) -> int:
        """Return D when the context block is made with `pooling`."""
        widths = self.block_widths()
        return sum(pooled_width(pooling, width) if name == "context" else width for name, width in widths.items())

    def with_words(self, runs: Sequence[Sequence[int]], like: Tensor) -> "Retriever":
        """Return a retriever that knows more words, whose ids follow those of its own words; all else is shared.

        A new word's vector is the mean of those of its `runs` of letters, with the mean length and the mean weight of
        the words `like`, a tensor of ids: the rarest, as one that is not in the vocabulary is rare.
        """
        lengths, weights = self.word_vectors[like].norm(dim=1), self.log_weights[like]
        means = torch.stack([self.gram_vectors[list(own)].mean(0) for own in runs])
        model = Retriever(self.block_names, vocab_size=0, word_dim=0, backbone=self.backbone, saturated=self.saturated)
        model.word_vectors = nn.Parameter(torch.cat([self.word_vectors, F.normalize(means, dim=1) * lengths.mean()]))
        model.log_weights = nn.Parameter(torch.cat([self.log_weights, weights.mean().expand(len(runs))]))
        if len(self.block_names) == 2:
            model.log_context_scale = self.log_context_scale
        return model.eval()

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


class SpellingRetriever(Retriever):
    """A retriever in training: a word's vector is its own plus the mean of those of its runs of letters.

    `offsets` (V + 1,) and `rows` are the words' runs: see text.letter_grams.Spelling.
    """

    offsets: Tensor
    rows: Tensor

    def __init__(self, *args: object, offsets: Tensor, rows: Tensor, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        assert self.num_grams, "there are vectors to share"
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("rows", rows, persistent=False)

    def word_table(self, words: Tensor | None = None) -> Tensor:
        """Return the vectors of some words (N, D), or of all."""
        if words is None:
            words = torch.arange(len(self.word_vectors), device=self.word_vectors.device)
        starts, lengths = self.offsets[words], self.offsets[words + 1] - self.offsets[words]
        ends = lengths.cumsum(0)
        # The places of all runs: word by word, counted up from where its own begin.
        places = torch.arange(int(ends[-1]), device=words.device) + (starts - ends + lengths).repeat_interleave(lengths)
        means = F.embedding_bag(self.rows[places], self.gram_vectors, ends - lengths, mode="mean")
        return self.word_vectors[words] + means

    @torch.no_grad()
    def finished(self) -> dict[str, Tensor]:
        """Return the tensors of a Retriever with the same vectors."""
        return self.state_dict() | {"word_vectors": self.word_table()}


def occurrences(token_ids: Tensor, is_real: Tensor) -> Tensor:
    """Return how often each token's word stands in its own text, (B, T) float; 1 behind a text's end."""
    rows = torch.arange(len(token_ids), device=token_ids.device)[:, None]
    words = (token_ids + rows * (token_ids.max() + 1))[is_real]
    _, places, counts = words.unique(return_inverse=True, return_counts=True)
    found = torch.ones(token_ids.shape, device=token_ids.device)
    found[is_real] = counts[places].float()
    return found


def _random_vectors(number: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(number, width).uniform_(-INITIAL_RANGE, INITIAL_RANGE))
