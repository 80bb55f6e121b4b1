"""Small models to encode with, and the plain recurrence they are held against."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.retriever import Retriever

NUM_WORDS, KNOWN_WORDS = 120, 100

MakeEncoder = Callable[..., TokenEncoder]
PlainVector = Callable[[TokenEncoder, np.ndarray], np.ndarray]


@pytest.fixture(scope="session")
def idf() -> np.ndarray:
    """Pooling weights of the vocabulary."""
    return np.random.default_rng(0).uniform(0.02, 8, NUM_WORDS).astype(np.float32)


@pytest.fixture(scope="session")
def make_encoder(idf: np.ndarray) -> MakeEncoder:
    """Build an encoder of an "lm" or a "retriever" of three layers, 20-28-28-20, with the same weights each time.

    One layer's input is as wide as its output: there oneDNN sums a lone row in another order.
    """

    def make(kind: str, pooling: str, **options: Any) -> TokenEncoder:
        torch.manual_seed(0)
        shape = Architecture(vocab_size=KNOWN_WORDS, embedding_dim=20, hidden_size=28, num_layers=3)
        model: LanguageModel | Retriever = LanguageModel(shape)
        if kind == "retriever":
            model = Retriever(("context", "words"), vocab_size=NUM_WORDS, word_dim=12, backbone=AWDLSTM(shape))
            torch.nn.init.normal_(model.log_weights)
        for name, parameter in model.named_parameters():
            if "layers" in name or "embedding" in name:
                torch.nn.init.normal_(parameter, std=0.4)
        reading = {name: options.pop(name) for name in ("last_tokens", "layer", "precision") if name in options}
        return TokenEncoder(model, Reading(pooling=pooling, **reading), idf=idf, **options)

    return make


def weighted_mean(vectors: Tensor, weights: Tensor) -> Tensor:
    return (vectors * weights[:, None]).sum(0) / weights.sum()


@pytest.fixture(scope="session")
def plain_vector(idf: np.ndarray) -> PlainVector:
    """Encode one document whole: one call over all of its tokens, then the textbook's pooling."""

    @torch.no_grad()
    def encode(encoder: TokenEncoder, document: np.ndarray) -> np.ndarray:
        model, ids = encoder.model, torch.from_numpy(document)
        is_retriever = isinstance(model, Retriever)
        weights = model.log_weights[ids].exp() if is_retriever else torch.from_numpy(idf)[ids]
        x = model.backbone.embed(ids[None])
        hidden = model.backbone.initial_hidden(1)
        for layer, state in list(zip(model.backbone.layers, hidden, strict=True))[: encoder.reading.layer]:
            x, _ = layer(x, state)
        # A document that is shorter than the last tokens asked for is taken whole.
        last = slice(-(encoder.reading.last_tokens or 0), None)
        outputs, all_weights = x[0][last], weights
        weights = weights[last]
        pooled = {
            "last": lambda: outputs[-1],
            "mean": lambda: outputs.mean(0),
            "idf-mean": lambda: weighted_mean(outputs, weights),
            "max": lambda: outputs.amax(0),
            "concat": lambda: torch.cat([outputs[-1], outputs.amax(0), outputs.mean(0)]),
        }[encoder.reading.pooling]()
        if is_retriever:
            words = weighted_mean(model.word_vectors[ids], all_weights)
            scale = model.log_context_scale.exp()
            joint = torch.cat([scale * pooled / pooled.norm(), words / words.norm()])
            pooled = joint / joint.norm()
        return pooled.numpy()

    return encode
