"""The softmax over a sample of the vocabulary, for vocabularies so large that all logits take too long.

Jean et al. (2015), section 3: in training each next word is compared with some words that are drawn for the step, all
of whose logits are corrected by how likely they were to be drawn. Ids are frequency ranks, so words are drawn from a
log-uniform distribution, which is close to that of words in text (as TensorFlow's `log_uniform_candidate_sampler`).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """The words that the next words of a step are compared with."""

    words: Tensor
    """(S,), each once"""
    draws: int
    """How often was drawn; some words came several times."""


def draw_words(vocab_size: int, draws: int, *, seed: int, device: torch.device) -> Sample:
    """Return the words of so many draws, in order of their ids."""
    generator = torch.Generator(device).manual_seed(seed)
    uniform = torch.rand(draws, generator=generator, device=device, dtype=torch.float64)
    words = (uniform * math.log(vocab_size + 1)).exp().long() - 1
    return Sample(words.clamp(0, vocab_size - 1).unique(), draws)


def log_chance(words: Tensor, vocab_size: int, draws: int) -> Tensor:
    """Return the logarithm of the chance of each word to be among those of so many draws (float32)."""
    of_a_draw = torch.log1p(1 / (words.double() + 1)) / math.log(vocab_size + 1)
    return torch.log(-torch.expm1(draws * torch.log1p(-of_a_draw))).float()


def sampled_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, sample: Sample) -> Tensor:
    """Return the mean loss (nats) of `targets` (N,) against the words drawn, which is smaller than that of all.

    x is (N, E), weight (V, E), bias (V,). A drawn word that is the target counts once.
    """
    words = sample.words
    own = (x.float() * weight[targets]).sum(1) + bias[targets] - log_chance(targets, len(weight), sample.draws)
    others = F.linear(x, weight[words]).float() + bias[words] - log_chance(words, len(weight), sample.draws)
    others = others.masked_fill(words[None] == targets[:, None], -torch.inf)
    return (torch.logaddexp(others.logsumexp(1), own) - own).mean()
