import pytest

from ulmfit_ray.text.tokenizer import SpacyTokenizer, TokenizerSettings


@pytest.fixture(scope="session")
def tokenizer() -> SpacyTokenizer:
    return SpacyTokenizer(TokenizerSettings())
