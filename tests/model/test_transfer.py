"""Weights moved to another vocabulary, beside a loop over the words."""

import pytest
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.transfer import rows_of, transfer, transfer_layers

KNOWN = ["_unk_", "_pad_", "the", "film", "t_up", "was"]
NAMES = {"_unk_": "xxunk", "_pad_": "xxpad", "t_up": "xxup"}
WORDS = ["xxunk", "xxpad", "xxup", "xxmaj", "was", "movie", "the"]


def model_of(num_words: int) -> LanguageModel:
    model = LanguageModel(Architecture(vocab_size=num_words, embedding_dim=6, hidden_size=10))
    torch.nn.init.normal_(model.decoder_bias)
    return model


@pytest.fixture
def source() -> LanguageModel:
    torch.manual_seed(1)
    return model_of(len(KNOWN))


@pytest.fixture
def target() -> LanguageModel:
    torch.manual_seed(2)
    return model_of(len(WORDS))


def test_words_find_their_places_by_name_and_by_their_older_names():
    assert rows_of(WORDS, KNOWN, NAMES).tolist() == [0, 1, 4, -1, 5, -1, 2]
    assert rows_of(KNOWN, WORDS, NAMES).tolist() == [0, 1, 6, -1, 2, 4]


def test_known_words_keep_vector_and_bias_and_new_ones_get_the_mean(source: LanguageModel, target: LanguageModel):
    transfer(source, target, rows_of(WORDS, KNOWN, NAMES))
    old = {word: place for place, word in enumerate(KNOWN)}
    names = {new: old_name for old_name, new in NAMES.items()}
    for place, word in enumerate(WORDS):
        for own, other in (
            (target.backbone.embedding.weight, source.backbone.embedding.weight),
            (target.decoder_bias, source.decoder_bias),
        ):
            known = old.get(names.get(word, word))
            # The source's own rows, without those that fill its matrix up to a multiple of 64.
            expected = other[: len(KNOWN)].mean(0) if known is None else other[known]
            torch.testing.assert_close(own[place], expected, msg=word)


def test_the_lstm_layers_move_as_they_are(source: LanguageModel, target: LanguageModel):
    embedding = target.backbone.embedding.weight.clone()
    transfer_layers(source, target)
    for name, value in source.backbone.layers.state_dict().items():
        assert torch.equal(target.backbone.layers.state_dict()[name], value)
    assert torch.equal(target.backbone.embedding.weight, embedding)


def test_the_same_words_in_the_same_order_give_the_same_model(source: LanguageModel, target: LanguageModel):
    same = model_of(len(KNOWN))
    transfer(source, same, rows_of(KNOWN, KNOWN, NAMES))
    token_ids = torch.randint(0, len(KNOWN), (2, 9))
    with torch.no_grad():
        ours, theirs = (model.score(token_ids, token_ids, model.backbone.initial_hidden(2)) for model in (same, source))
    assert torch.equal(ours[0], theirs[0])
