import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks, draw_masks, keep_mask

G = 8


@pytest.fixture
def dropping(architecture: Architecture) -> Architecture:
    return architecture.without_dropout(
        embedding_dropout=0.1, input_dropout=0.2, hidden_dropout=0.3, output_dropout=0.4, weight_dropout=0.5
    )


def draw(architecture: Architecture, rows: slice = slice(0, G), seed: int = 5) -> DropoutMasks:
    return draw_masks(architecture, seed=seed, global_batch_size=G, rows=rows, device=torch.device("cpu"))


def tensors(masks: DropoutMasks) -> list[Tensor]:
    return [masks.embedding, masks.input, *masks.hidden, masks.output, *masks.weight]


def per_row(masks: DropoutMasks) -> list[Tensor]:
    return [masks.input, *masks.hidden, masks.output]


@pytest.mark.parametrize("probability", [0.02, 0.25, 0.5, 0.9])
def test_what_is_kept_is_scaled_so_that_the_expectation_stays_one(probability: float):
    mask = keep_mask((200_000,), probability, torch.Generator().manual_seed(0))
    kept = mask[mask != 0]
    assert_close(kept, torch.full_like(kept, 1 / (1 - probability)), rtol=2e-4, atol=0)
    assert 1 - len(kept) / len(mask) == pytest.approx(probability, abs=0.005)
    assert mask.double().mean().item() == pytest.approx(1.0, abs=0.02)


def test_nothing_is_drawn_where_nothing_is_dropped():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert keep_mask((5, 5), 0.0, generator) is None
    assert torch.equal(generator.get_state(), before)


def test_masks_have_one_entry_per_word_row_and_recurrent_weight(dropping: Architecture):
    masks = draw(dropping)
    assert masks.embedding.shape == (64, 1)
    assert masks.input.shape == (G, 1, 6)
    assert [mask.shape for mask in masks.hidden] == [(G, 1, 10), (G, 1, 10)]
    assert masks.output.shape == (G, 1, 6)
    assert [mask.shape for mask in masks.weight] == [(40, 10), (40, 10), (24, 6)]


def test_each_mask_has_its_own_probability(dropping: Architecture):
    masks = draw(dropping)
    largest = [mask.max().item() for mask in tensors(masks)]
    expected = [0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.5, 0.5]
    assert largest == pytest.approx([1 / (1 - p) for p in expected], rel=1e-4)


def test_masks_are_drawn_with_the_scaled_dropouts():
    masks = draw(Architecture(vocab_size=50, embedding_dim=6, hidden_size=10, dropout_scale=0.5))
    assert masks.weight[0].max().item() == pytest.approx(1 / 0.9, rel=1e-4)
    assert masks.output.max().item() == pytest.approx(1 / 0.95, rel=1e-4)


def test_the_same_seed_draws_the_same_masks_and_another_seed_others(dropping: Architecture):
    first, again, other = draw(dropping), draw(dropping), draw(dropping, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(tensors(first), tensors(other), strict=True))


def test_masks_do_not_touch_the_global_random_state(dropping: Architecture):
    before = torch.get_rng_state()
    draw(dropping)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rows", [slice(0, 4), slice(4, 8), slice(2, 3)])
def test_a_workers_masks_are_its_rows_of_the_global_batchs(dropping: Architecture, rows: slice):
    own, whole = draw(dropping, rows), draw(dropping)
    assert all(torch.equal(part, mask[rows]) for part, mask in zip(per_row(own), per_row(whole), strict=True))
    assert torch.equal(own.embedding, whole.embedding)
    assert all(torch.equal(a, b) for a, b in zip(own.weight, whole.weight, strict=True))


def test_masks_without_dropout_are_none(architecture: Architecture):
    assert tensors(draw(architecture)) == [None] * 8


def test_rows_can_be_cut_and_reordered(dropping: Architecture):
    masks, order = draw(dropping), torch.tensor([3, 0, 7])
    chosen = masks.rows(order)
    assert all(torch.equal(part, mask[order]) for part, mask in zip(per_row(chosen), per_row(masks), strict=True))
    assert chosen.embedding is masks.embedding
    assert chosen.weight is masks.weight
    assert NO_DROPOUT.rows(order) == NO_DROPOUT
