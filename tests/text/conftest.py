import pytest

from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer, TokenizerSettings


@pytest.fixture(scope="session")
def tokenizer() -> SpacyTokenizer:
    return SpacyTokenizer(TokenizerSettings())
