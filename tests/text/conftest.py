import pytest

from ulmfit_ray.text.tokenizers.kinds import Tokenizer, TokenizerSettings, make_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return make_tokenizer(TokenizerSettings())
