"""Tiny architectures and models for the tests of the mathematics."""

from collections.abc import Iterator

import pytest
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny matrices are no work for two threads that wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    torch.nn.init.normal_(model.encoder.embedding.weight)
    return model
