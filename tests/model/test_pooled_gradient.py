"""The gradient of recomputed windows against that of a plain graph over whole documents."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model import pooled_gradient
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.dropout import DropoutMasks, draw_masks
from ulmfit_ray.model.pooled_gradient import GradientReach, pooled_with_activity

LENGTHS = (100, 37, 16, 16, 9, 1)
SHAPE = Architecture(
    vocab_size=50,
    embedding_dim=8,
    hidden_size=12,
    num_layers=3,
    embedding_dropout=0.1,
    input_dropout=0.2,
    hidden_dropout=0.2,
    weight_dropout=0.3,
)
Pooled = Callable[[], tuple[Tensor, Tensor]]
REACHES = pytest.mark.parametrize("window", [7, 16, 72, 200])


@pytest.fixture
def backbone() -> AWDLSTM:
    torch.manual_seed(0)
    return AWDLSTM(SHAPE).train()


@pytest.fixture
def documents() -> tuple[Tensor, Tensor, DropoutMasks]:
    """Ids (6, 100) with words that the model does not know and noise behind each document's own; lengths; masks."""
    rows = len(LENGTHS)
    masks = draw_masks(SHAPE, seed=3, global_batch_size=rows, rows=slice(0, rows), device=torch.device("cpu"))
    ids = torch.randint(0, 60, (rows, LENGTHS[0]), generator=torch.Generator().manual_seed(1))
    return ids, torch.tensor(LENGTHS), masks


def plainly(backbone: AWDLSTM, ids: Tensor, num_tokens: Tensor, masks: DropoutMasks) -> tuple[Tensor, Tensor]:
    """Return vectors and activity by one graph over whole padded documents, each pooled by itself."""
    outputs, _ = backbone.run_layers(backbone.embed(ids, masks), backbone.initial_hidden(len(ids)), masks)
    vectors, activity = [], []
    for row, length in enumerate(num_tokens.tolist()):
        own = outputs[row, :length]
        vectors.append(torch.cat([own[-1], own.max(0).values, own.mean(0)]))
        changes = (own[1:] - own[:-1]).square().mean(1).sum()
        activity.append(torch.stack([own.square().mean(1).sum(), changes]))
    return torch.stack(vectors), torch.stack(activity)


def gradients(backbone: AWDLSTM, pooled: Pooled) -> dict[str, Tensor]:
    """Return the gradient of random weights times vectors and activity by each parameter that has one."""
    vectors, activity = pooled()
    generator = torch.Generator().manual_seed(7)
    backbone.zero_grad()
    of_vectors, of_activity = (torch.randn(part.shape, generator=generator) for part in (vectors, activity))
    ((vectors * of_vectors).sum() + (activity * of_activity).sum()).backward()
    return {name: parameter.grad for name, parameter in backbone.named_parameters() if parameter.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        largest = float(gradient.abs().max())
        assert largest > 0
        assert_close(found[name], gradient, rtol=0, atol=1e-5 * largest)


@REACHES
@pytest.mark.parametrize("tokens_in_memory", [0, 40, 150, 32_768])
def test_vectors_activity_and_gradients_are_those_of_a_plain_graph(backbone, documents, window, tokens_in_memory):
    reach = GradientReach(window=window, tokens_in_memory=tokens_in_memory)
    for found, expected in zip(
        pooled_with_activity(backbone, *documents, reach), plainly(backbone, *documents), strict=True
    ):
        assert_close(found, expected, rtol=1e-5, atol=1e-6)
    expected_gradients = {
        name: value.clone() for name, value in gradients(backbone, lambda: plainly(backbone, *documents)).items()
    }
    found_gradients = gradients(backbone, lambda: pooled_with_activity(backbone, *documents, reach))
    assert_same_gradients(found_gradients, expected_gradients)


@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_frozen_groups_get_no_gradient_and_change_that_of_no_other(backbone, documents, frozen: int):
    for _, parameters in backbone.layer_groups()[:frozen]:
        for parameter in parameters:
            parameter.requires_grad_(False)
    expected = {name: g.clone() for name, g in gradients(backbone, lambda: plainly(backbone, *documents)).items()}
    reach = GradientReach(window=16, tokens_in_memory=40)
    assert_same_gradients(gradients(backbone, lambda: pooled_with_activity(backbone, *documents, reach)), expected)


def test_with_everything_frozen_vectors_are_the_same_and_nothing_is_kept(backbone, documents):
    expected = plainly(backbone, *documents)
    backbone.requires_grad_(False)
    vectors, activity = pooled_with_activity(backbone, *documents, GradientReach(window=16))
    assert_close(vectors, expected[0], rtol=1e-5, atol=1e-6)
    assert not vectors.requires_grad
    assert not activity.requires_grad


def cut_at_windows(backbone: AWDLSTM, ids: Tensor, num_tokens: Tensor, masks: DropoutMasks, window: int) -> Pooled:
    """Return what pools with the state detached at each window's end, as fastai does, and without activity."""

    def pooled() -> tuple[Tensor, Tensor]:
        hidden, parts = backbone.initial_hidden(len(ids)), []
        for start in range(0, ids.shape[1], window):
            hidden = [(h.detach(), c.detach()) for h, c in hidden]
            outputs, hidden = backbone.run_layers(backbone.embed(ids[:, start : start + window], masks), hidden, masks)
            parts.append(outputs)
        outputs = torch.cat(parts, 1)
        own = [outputs[row, :length] for row, length in enumerate(num_tokens.tolist())]
        vectors = [torch.cat([one[-1], one.max(0).values, one.mean(0)]) for one in own]
        return torch.stack(vectors), torch.zeros(len(ids), 2)

    return pooled


def test_a_gradient_that_stops_at_windows_is_that_of_a_state_detached_at_each(backbone, documents):
    reach = GradientReach(window=16, stops_at_windows=True, tokens_in_memory=40)
    expected = {name: g.clone() for name, g in gradients(backbone, cut_at_windows(backbone, *documents, 16)).items()}

    def pooled() -> tuple[Tensor, Tensor]:
        return pooled_with_activity(backbone, *documents, reach)[0], torch.zeros(len(LENGTHS), 2)

    assert_same_gradients(gradients(backbone, pooled), expected)


def test_a_gradient_through_the_last_tokens_alone_leaves_earlier_words_untouched(backbone):
    ids = torch.arange(2, 42)[None]  # Forty different words.
    masks = DropoutMasks()
    reach = GradientReach(window=8, num_tokens=10, tokens_in_memory=16)
    vectors, _ = pooled_with_activity(backbone, ids, torch.tensor([40]), masks, reach)
    vectors.sum().backward()
    moved = backbone.embedding.weight.grad.abs().sum(1).nonzero()[:, 0].tolist()
    # The last 10 tokens lie in the last two windows of eight: tokens 24 to 39, words 26 to 41.
    assert moved == list(range(26, 42))
    whole, _ = pooled_with_activity(backbone, ids, torch.tensor([40]), masks, replace(reach, num_tokens=0))
    assert_close(vectors, whole)


@pytest.mark.parametrize(("tokens_in_memory", "again"), [(16, []), (8, [4]), (0, [4, 3])])
def test_what_lies_before_the_reach_is_neither_kept_nor_computed_again(
    backbone, tokens_in_memory: int, again: list[int], monkeypatch: pytest.MonkeyPatch
):
    computed: list[int] = []
    compute = pooled_gradient._Documents.compute

    def note(documents, number: int, state, *, with_graph: bool):
        computed.append(number)
        return compute(documents, number, state, with_graph=with_graph)

    monkeypatch.setattr(pooled_gradient._Documents, "compute", note)
    reach = GradientReach(window=8, num_tokens=10, tokens_in_memory=tokens_in_memory)
    vectors, _ = pooled_with_activity(backbone, torch.arange(2, 42)[None], torch.tensor([40]), DropoutMasks(), reach)
    assert computed == [0, 1, 2, 3, 4]
    vectors.sum().backward()
    assert computed[5:] == again


def test_rows_in_several_parts_give_what_they_give_together(backbone, documents):
    together = GradientReach(window=16)
    apart = GradientReach(window=16, tokens_in_memory=33)  # Two rows at a time.
    expected = {
        name: g.clone()
        for name, g in gradients(backbone, lambda: pooled_with_activity(backbone, *documents, together)).items()
    }
    assert_same_gradients(gradients(backbone, lambda: pooled_with_activity(backbone, *documents, apart)), expected)


def test_in_bfloat16_the_second_computation_is_that_of_the_first(backbone, documents):
    """Kept and recomputed windows give the same bits: the same functions run, in the same number format."""
    found = []
    for tokens_in_memory in (600, 100_000):

        def pooled(tokens_in_memory: int = tokens_in_memory) -> tuple[Tensor, Tensor]:
            reach = GradientReach(window=16, tokens_in_memory=tokens_in_memory)
            with torch.autocast("cpu", torch.bfloat16):
                return pooled_with_activity(backbone, *documents, reach)

        found.append({name: g.clone() for name, g in gradients(backbone, pooled).items()})
    assert all(torch.equal(found[0][name], gradient) for name, gradient in found[1].items())
