"""The five dropouts as Merity et al. (2017) and fastai define them: what is drawn together, and what is left alone."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import PAD_ID, LanguageModel
from ulmfit_ray.model.dropout import DropoutMasks, draw_masks

ROWS, STEPS = 40, 9
PROBABILITIES = {
    "embedding_dropout": 0.1,
    "input_dropout": 0.2,
    "hidden_dropout": 0.3,
    "output_dropout": 0.4,
    "weight_dropout": 0.5,
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A model wide enough for what is dropped to be counted."""
    torch.manual_seed(0)
    shape = Architecture(vocab_size=3000, embedding_dim=100, hidden_size=120, num_layers=3)
    return LanguageModel(shape.without_dropout(**PROBABILITIES))


@pytest.fixture(scope="module")
def masks(model: LanguageModel) -> DropoutMasks:
    whole = slice(0, ROWS)
    return draw_masks(model.architecture, seed=1, global_batch_size=ROWS, rows=whole, device=torch.device("cpu"))


def independent(mask: Tensor, probability: float) -> bool:
    """Tell whether about as many entries of (N, M) are 0 as there should be, in each row and column."""
    dropped = (mask == 0).double()
    # Five standard deviations, of means over rows and over columns.
    return all(
        bool(((dropped.mean(axis) - probability).abs() < 5 * (probability / dropped.shape[axis]) ** 0.5).all())
        and float(dropped.mean(axis).std()) > 0
        for axis in (0, 1)
    )


def test_each_word_is_dropped_by_itself_and_whole(masks: DropoutMasks) -> None:
    dropped = (masks.embedding == 0).double().mean().item()
    assert masks.embedding.shape == (3008, 1)
    assert dropped == pytest.approx(PROBABILITIES["embedding_dropout"], abs=0.03)


def test_each_recurrent_weight_is_dropped_by_itself_in_each_layer(masks: DropoutMasks) -> None:
    assert all(independent(mask, 0.5) for mask in masks.weight)
    assert not torch.equal(masks.weight[0], masks.weight[1])


def test_each_feature_of_each_row_is_dropped_by_itself_in_front_of_between_and_behind_layers(
    masks: DropoutMasks,
) -> None:
    assert independent(masks.input[:, 0], 0.2)
    assert all(independent(mask[:, 0], 0.3) for mask in masks.hidden)
    assert independent(masks.output[:, 0], 0.4)
    assert not torch.equal(masks.hidden[0], masks.hidden[1])


def test_what_is_dropped_for_a_row_is_dropped_at_every_step(model: LanguageModel, masks: DropoutMasks) -> None:
    ids, hidden = torch.randint(2, 3000, (ROWS, STEPS)), model.backbone.initial_hidden(ROWS)
    _, output, raw_output, _ = model(ids, ids, hidden, DropoutMasks(output=masks.output))
    kept, dropped = output[:, :, :] != 0, masks.output == 0
    assert not kept[dropped.expand_as(kept)].any()
    assert_close(output[kept], raw_output[kept] / 0.6)
    vectors = model.backbone.embed(ids, DropoutMasks(input=masks.input))
    assert torch.equal(vectors == 0, (masks.input == 0).expand_as(vectors))


def test_the_recurrent_mask_touches_nothing_but_the_recurrent_weights(
    model: LanguageModel, masks: DropoutMasks
) -> None:
    """At the first step the state is zero: the recurrent weights do nothing, dropped or not."""
    ids, hidden = torch.randint(2, 3000, (ROWS, STEPS)), model.backbone.initial_hidden(ROWS)
    plain, _ = model.backbone(ids, hidden)
    masked, _ = model.backbone(ids, hidden, DropoutMasks(weight=masks.weight))
    assert torch.equal(masked[:, 0], plain[:, 0])
    assert not torch.allclose(masked[:, 1], plain[:, 1])


@pytest.mark.parametrize("with_dropout", [False, True])
def test_xxpad_and_dropped_words_get_no_gradient_from_the_input_side(
    model: LanguageModel, masks: DropoutMasks, with_dropout: bool
) -> None:
    ids = torch.randint(2, 3000, (ROWS, STEPS))
    ids[:, 0] = PAD_ID
    embedding = torch.full((3008, 1), 1.25)
    embedding[ids[0, 1]] = 0
    used = DropoutMasks(embedding=embedding) if with_dropout else DropoutMasks()
    model.zero_grad()
    model.backbone(ids, model.backbone.initial_hidden(ROWS), used)[0].square().sum().backward()
    gradient = model.backbone.embedding.weight.grad
    assert gradient[PAD_ID].abs().max() == 0
    assert (gradient[ids[0, 1]].abs().max() == 0) == with_dropout
    assert gradient[ids[0, 2]].abs().max() > 0


def test_a_dropped_word_is_still_trained_as_a_target(model: LanguageModel) -> None:
    ids = torch.full((ROWS, STEPS), 7)
    model.zero_grad()
    loss, *_ = model(ids, ids, model.backbone.initial_hidden(ROWS), DropoutMasks(embedding=torch.zeros(3008, 1)))
    loss.backward()
    assert model.backbone.embedding.weight.grad[7].abs().max() > 0


def test_without_masks_nothing_is_dropped_whatever_mode_the_model_is_in(model: LanguageModel) -> None:
    ids, hidden = torch.randint(2, 3000, (ROWS, STEPS)), model.backbone.initial_hidden(ROWS)
    plain = LanguageModel(model.architecture.without_dropout())
    plain.load_state_dict(model.state_dict())
    expected = plain.eval().score(ids, ids, hidden)[0]
    assert torch.equal(model.train().score(ids, ids, hidden)[0], expected)
    assert torch.equal(model.eval().score(ids, ids, hidden)[0], expected)
