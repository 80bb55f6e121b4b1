"""Tiny architectures and models for the tests of the mathematics."""

import pytest
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel


@pytest.fixture
def architecture() -> Architecture:
    """50 words (64 rows), three layers of 6-10-10-6, no dropout."""
    return Architecture(vocab_size=50, embedding_dim=6, hidden_size=10, num_layers=3).without_dropout()


@pytest.fixture
def language_model(architecture: Architecture) -> LanguageModel:
    """A model of that architecture; its decoder's bias is not zero, so that forgetting it shows."""
    torch.manual_seed(0)
    model = LanguageModel(architecture)
    torch.nn.init.normal_(model.decoder_bias)
    torch.nn.init.normal_(model.backbone.embedding.weight)
    return model
