import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.description import pooled_width
from ulmfit_ray.model.pooling import Pool, pool_windows

LENGTHS = [9, 7, 7, 4, 1]
T, E = 10, 3
JUNK = 1e6
POOLINGS = pytest.mark.parametrize("pooling", ["last", "mean", "idf-mean", "max", "concat"])
WINDOWS = pytest.mark.parametrize("window", [1, 2, 3, 7, 10, 16])


@pytest.fixture
def outputs() -> Tensor:
    """All negative, so that a maximum that starts at 0 shows; behind a document's end lies junk."""
    torch.manual_seed(0)
    values = -1 - torch.rand(len(LENGTHS), T, E)
    for row, length in enumerate(LENGTHS):
        values[row, length:] = JUNK
    return values.requires_grad_()


@pytest.fixture
def weights() -> Tensor:
    return torch.rand(len(LENGTHS), T, generator=torch.Generator().manual_seed(1)) + 0.1


def pool_slowly(pooling: str, outputs: Tensor, weights: Tensor) -> Tensor:
    """Return one vector for the outputs (length, E) of one document."""
    last, largest, mean = outputs[-1], outputs.max(0).values, outputs.mean(0)
    weighted = sum(weight * output for weight, output in zip(weights, outputs, strict=True)) / weights.sum()
    by_name = {"last": last, "mean": mean, "idf-mean": weighted, "max": largest}
    return torch.cat([last, largest, mean]) if pooling == "concat" else by_name[pooling]


def slow_vectors(pooling: str, outputs: Tensor, weights: Tensor) -> Tensor:
    rows = zip(outputs, weights, LENGTHS, strict=True)
    return torch.stack([pool_slowly(pooling, row[:length], weight[:length]) for row, weight, length in rows])


def in_windows(outputs: Tensor, window: int) -> list[Tensor]:
    return [
        outputs[: sum(length > start for length in LENGTHS), start : start + window]
        for start in range(0, max(LENGTHS), window)
    ]


def own_weights(pooling: str, weights: Tensor) -> Tensor | None:
    return weights if pooling == "idf-mean" else None


@POOLINGS
def test_one_call_equals_a_loop_over_documents_in_any_order(pooling: str, outputs: Tensor, weights: Tensor):
    order = torch.tensor([3, 0, 4, 2, 1])
    pool = Pool(pooling, len(LENGTHS), E)
    own = own_weights(pooling, weights)
    pool.add(outputs[order], torch.tensor(LENGTHS)[order], None if own is None else own[order])
    assert_close(pool.vectors(), slow_vectors(pooling, outputs, weights)[order])


@POOLINGS
@WINDOWS
def test_windows_equal_a_loop_over_documents(pooling: str, window: int, outputs: Tensor, weights: Tensor):
    pool = Pool(pooling, len(LENGTHS), E)
    found = pool_windows(
        pool, in_windows(outputs, window), torch.tensor(LENGTHS), window, own_weights(pooling, weights)
    )
    assert found.shape == (len(LENGTHS), pooled_width(pooling, E))
    assert_close(found, slow_vectors(pooling, outputs, weights))


@POOLINGS
@WINDOWS
def test_gradients_are_those_of_the_plain_expression(pooling: str, window: int, outputs: Tensor, weights: Tensor):
    weights.requires_grad_()
    pool = Pool(pooling, len(LENGTHS), E)
    found = pool_windows(
        pool, in_windows(outputs, window), torch.tensor(LENGTHS), window, own_weights(pooling, weights)
    )
    expected = slow_vectors(pooling, outputs, weights)
    coefficients = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    inputs = [outputs, weights] if pooling == "idf-mean" else [outputs]
    gradients = torch.autograd.grad((found * coefficients).sum(), inputs)
    references = torch.autograd.grad((expected * coefficients).sum(), inputs)
    for gradient, reference in zip(gradients, references, strict=True):
        assert reference.abs().max() > 0
        assert_close(gradient, reference)
    for row, length in enumerate(LENGTHS):
        assert gradients[0][row, length:].abs().max() == 0


def test_concat_is_last_then_max_then_mean(outputs: Tensor, weights: Tensor):
    found = slow_vectors("concat", outputs, weights)
    pool = Pool("concat", len(LENGTHS), E)
    pool.add(outputs, torch.tensor(LENGTHS))
    last, largest, mean = pool.vectors().split(E, 1)
    assert_close(torch.cat([last, largest, mean], 1), found)
    for name, part in (("last", last), ("max", largest), ("mean", mean)):
        single = Pool(name, len(LENGTHS), E)
        single.add(outputs, torch.tensor(LENGTHS))
        assert torch.equal(single.vectors(), part)


@POOLINGS
@pytest.mark.parametrize("time_first", [False, True])
def test_a_vector_has_the_same_bits_whoever_else_is_pooled_and_however_outputs_lie_in_memory(
    pooling: str, time_first: bool
):
    outputs = torch.randn(37, 32, 21, generator=torch.Generator().manual_seed(3))
    weights = torch.rand(37, 32, generator=torch.Generator().manual_seed(4))
    if time_first:
        outputs = outputs.transpose(0, 1).contiguous().transpose(0, 1)

    def pooled(rows: slice) -> Tensor:
        own = own_weights(pooling, weights[rows])
        pool = Pool(pooling, len(outputs[rows]), 21)
        pool.add(outputs[rows], torch.full((len(outputs[rows]),), 29), own)
        return pool.vectors()

    together = pooled(slice(0, 37))
    for row in range(37):
        assert torch.equal(pooled(slice(row, row + 1))[0], together[row])
    assert torch.equal(pooled(slice(5, 12)), together[5:12])


def test_outputs_of_reduced_precision_are_pooled_in_float32(outputs: Tensor):
    pool = Pool("mean", len(LENGTHS), E)
    reduced = outputs.detach().bfloat16()
    pool.add(reduced, torch.tensor(LENGTHS))
    vectors = pool.vectors()
    assert vectors.dtype == torch.float32
    assert_close(vectors[1], reduced[1, :7].float().mean(0))


def test_only_concat_makes_vectors_wider():
    widths = [pooled_width(pooling, 5) for pooling in ("last", "mean", "idf-mean", "max", "concat")]
    assert widths == [5, 5, 5, 5, 15]


def test_an_unknown_pooling_is_refused():
    with pytest.raises(KeyError, match="median"):
        Pool("median", 1, 1)
