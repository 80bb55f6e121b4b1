"""The retriever: two towers with shared weights whose query and document vectors match by dot product.

A text's vector is two blocks side by side, each normalized: *context*, the language model's outputs under a
weighted mean, times a learned scale; and *words*, a weighted sum of the retriever's own word vectors, as in deep
structured semantic models. Both use the same weights, one learned weight for each word.

Shapes: B texts, T tokens of the longest, V words, D width of a word vector, G vectors of runs of letters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import AWDLSTM, LayerGroup
from ulmfit_ray.model.description import Reading, pooled_width
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks

BLOCKS = ("context", "words")
"""The order in which the blocks lie in a vector, whatever the order in which they were asked for."""
INITIAL_SCALE = 0.3
"""Factor of the context block at the start. Its logarithm is learned, because a scale of 0 would have gradient 0: the
loss depends on the square of the scale."""
INITIAL_RANGE = 0.1
UNK_ID = 0
AS_TRAINED = Reading(pooling="idf-mean")
"""Of the context block."""
Tower = tuple[Tensor, Tensor, DropoutMasks]
"""Ids (B, T) of texts, longest first, how many of each are real (B,), and the masks of the backbone."""


class Bags(NamedTuple):
    """The distinct words of B texts, one text after the other, each text's in the order of their ids."""

    words: Tensor
    counts: Tensor
    """How often each of them stands in its text, float."""
    offsets: Tensor
    """Where each text's own begin, (B,)."""


def bags_of_words(token_ids: Tensor, num_tokens: Tensor) -> Bags:
    """Return the words of texts given as ids (B, T), of which num_tokens (B,) are real."""
    is_real = torch.arange(token_ids.shape[1], device=token_ids.device) < num_tokens[:, None]
    texts = torch.arange(len(token_ids), device=token_ids.device)[:, None]
    size = token_ids.max() + 1
    found, counts = (texts * size + token_ids)[is_real].unique(return_counts=True)
    lengths = torch.bincount(found // size, minlength=len(token_ids))
    return Bags(found % size, counts.float(), lengths.cumsum(0) - lengths)


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
        self.num_grams = 0
        if "context" in self.block_names:
            assert backbone is not None
            self.backbone = backbone
        if "words" in self.block_names:
            self.word_vectors = _random_vectors(vocab_size, word_dim)
            self.num_grams = num_grams
            if num_grams:
                self.gram_vectors = _random_vectors(num_grams, word_dim)
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
        """Return each token's weight in the mean of the context block."""
        return self.log_weights[token_ids].exp()

    def words(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (N, D) and the weights (N,) that some words have in the words block."""
        return self.word_vectors[ids], self.log_weights[ids].exp()

    def word_table(self) -> Tensor:
        """Return the words block's own vectors, else the backbone's: see model.kinds.VectorModel."""
        if self.backbone is None or "words" in self.block_names:
            return self.word_vectors
        return self.backbone.embedding.weight

    def blocks(
        self, token_ids: Tensor, num_tokens: Tensor, reading: Reading = AS_TRAINED, runner: AWDLSTM | None = None
    ) -> dict[str, Tensor]:
        """Return the normalized blocks of texts given as ids (B, T), longest first, of which num_tokens (B,) are real.

        A block is (B, its width). `reading` is of the context block.
        """
        blocks = {}
        if self.backbone is not None:
            blocks["context"] = self._context((token_ids, num_tokens, NO_DROPOUT), reading, runner)
        if "words" in self.block_names:
            (blocks["words"],) = self._words_blocks([bags_of_words(token_ids, num_tokens)])
        return blocks

    def _context(self, tower: Tower, reading: Reading = AS_TRAINED, runner: AWDLSTM | None = None) -> Tensor:
        assert self.backbone is not None
        token_ids, num_tokens, masks = tower
        weights = self.token_weights(token_ids) if reading.pooling == "idf-mean" else None
        pooled = self.backbone.pooled(token_ids, num_tokens, reading, weights=weights, masks=masks, runner=runner)
        return F.normalize(pooled, dim=1)

    def _words_blocks(self, towers: Sequence[Bags]) -> list[Tensor]:
        """Return the words block of each tower's texts.

        All at once: the gradient of the word vectors costs a pass over the whole table.
        """
        ids, rows = torch.cat([bags.words for bags in towers]).unique(return_inverse=True)
        vectors, weights = self.words(ids)
        blocks = []
        for bags, own in zip(towers, rows.split([len(bags.words) for bags in towers]), strict=True):
            factors = weights[own] * (1 + bags.counts.log() if self.saturated else bags.counts)
            sums = F.embedding_bag(own, vectors, bags.offsets, per_sample_weights=factors, mode="sum")
            blocks.append(F.normalize(sums, dim=1))
        return blocks

    def forward(self, towers: Sequence[Tower]) -> list[dict[str, Tensor]]:
        """Return the blocks of each tower's texts (see `blocks`) and, with two blocks, their "joint" vector.

        All towers are passed at once, because data-parallel training needs a single forward call per step.
        """
        found: list[dict[str, Tensor]] = [{} for _ in towers]
        if self.backbone is not None:
            for blocks, tower in zip(found, towers, strict=True):
                blocks["context"] = self._context(tower)
        if "words" in self.block_names:
            bags = [bags_of_words(token_ids, num_tokens) for token_ids, num_tokens, _ in towers]
            for blocks, words in zip(found, self._words_blocks(bags), strict=True):
                blocks["words"] = words
        return [tower if len(tower) == 1 else tower | {"joint": self.join(tower)} for tower in found]

    def vectors(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        reading: Reading,
        *,
        idf: Tensor | None = None,
        runner: AWDLSTM | None = None,
    ) -> Tensor:
        """Return vectors (B, D) of texts: see model.kinds.VectorModel.

        `reading` is of the context block. `idf` is not used: a retriever has learned weights of its own.
        """
        return self.join(self.blocks(token_ids, num_tokens, reading, runner))

    def vector_width(self, reading: Reading) -> int:
        """Return D for a way of reading, which is that of the context block."""
        widths = self.block_widths()
        own = widths.get("context", 0)
        return sum(widths.values()) - own + pooled_width(reading.pooling, own)

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

    def spelled(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return vectors (N, D) of words by their runs of letters: `rows`, of which each word has `lengths` (N,).

        The sum of n runs' vectors is divided by the root of n: at the start it is as long as a word's own vector, so
        that words of one stem are near each other before anything is learned. With the mean less is found.
        """
        sums = F.embedding_bag(rows, self.gram_vectors, lengths.cumsum(0) - lengths, mode="sum")
        return sums / lengths.clamp(min=1).sqrt()[:, None]


class SpellingRetriever(Retriever):
    """A retriever in training: a word's vector is its own plus that of its spelling (see `Retriever.spelled`).

    `offsets` (V + 1,) and `rows` are the words' runs: see text.letter_grams.Spelling.
    """

    def __init__(self, *args: object, offsets: Tensor, rows: Tensor, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        assert self.num_grams, "there are vectors to share"
        # No buffers: data-parallel training would send them to all workers in each step.
        self._offsets, self._rows = offsets, rows

    def words(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (N, D) and the weights (N,) that some words have in the words block."""
        if self._rows.device != ids.device:
            self._offsets, self._rows = self._offsets.to(ids.device), self._rows.to(ids.device)
        starts, lengths = self._offsets[ids], self._offsets[ids + 1] - self._offsets[ids]
        # The places of all runs: word by word, counted up from where its own begin.
        firsts = (starts - lengths.cumsum(0) + lengths).repeat_interleave(lengths)
        places = torch.arange(len(firsts), device=ids.device) + firsts
        vectors, weights = super().words(ids)
        return vectors + self.spelled(self._rows[places], lengths), weights

    @torch.no_grad()
    def finished(self) -> dict[str, Tensor]:
        """Return the tensors of a Retriever with the same vectors."""
        every = torch.arange(len(self.word_vectors), device=self.word_vectors.device)
        return self.state_dict() | {"word_vectors": self.words(every)[0]}


class QueryRetriever(Retriever):
    """A retriever that knows the words of some queries too, whose ids follow those of its vocabulary.

    A new word's vector is that of its spelling (`rows`, of which each word has `lengths`), with the mean length and the
    mean weight of the words `like`: the rarest, as a word outside the vocabulary is rare. To the context block it is
    xxunk. All weights are those of `model` itself.
    """

    @torch.no_grad()
    def __init__(self, model: Retriever, rows: Tensor, lengths: Tensor, like: Tensor) -> None:
        nn.Module.__init__(self)
        self.block_names, self.saturated, self.num_grams = model.block_names, model.saturated, model.num_grams
        self.backbone, self.log_weights, self.word_vectors = model.backbone, model.log_weights, model.word_vectors
        self.gram_vectors = model.gram_vectors
        if len(self.block_names) == 2:
            self.log_context_scale = model.log_context_scale
        vectors, weights = model.words(like)
        self._new_vectors = F.normalize(self.spelled(rows, lengths), dim=1) * vectors.norm(dim=1).mean()
        self._new_weight = weights.mean()

    def token_weights(self, token_ids: Tensor) -> Tensor:
        """Return each token's weight in the mean of the context block."""
        return super().token_weights(self._known(token_ids))

    def words(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (N, D) and the weights (N,) that some words have in the words block."""
        vectors, weights = super().words(self._known(ids))
        is_new = ids >= len(self.word_vectors)
        vectors[is_new] = self._new_vectors[ids[is_new] - len(self.word_vectors)]
        return vectors, weights.masked_fill(is_new, float(self._new_weight))

    def _known(self, ids: Tensor) -> Tensor:
        return ids.masked_fill(ids >= len(self.word_vectors), UNK_ID)


def _random_vectors(number: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(number, width).uniform_(-INITIAL_RANGE, INITIAL_RANGE))
