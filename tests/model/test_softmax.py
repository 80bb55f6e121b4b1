import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model import softmax
from ulmfit_ray.model.softmax import linear_cross_entropy, score_words, word_losses

N, V, E = 23, 31, 5
CHUNKS = pytest.mark.parametrize("chunk_logits", [1, V, 7 * V, 8 * V - 1, N * V, 1 << 22])


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    targets = torch.randint(V, (N,))
    targets[:2] = torch.tensor([0, V - 1])
    x, weight, bias = torch.randn(N, E), torch.randn(V, E), torch.randn(V)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets


def gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, inputs)


@CHUNKS
def test_loss_and_gradients_are_those_of_the_plain_softmax(problem, chunk_logits: int, monkeypatch):
    monkeypatch.setattr(softmax, "CHUNK_LOGITS", chunk_logits)
    x, weight, bias, targets = problem
    loss = linear_cross_entropy(x, weight, bias, targets)
    expected = F.cross_entropy(F.linear(x, weight, bias), targets)
    assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    found, wanted = (gradients(3 * value, x, weight, bias) for value in (loss, expected))
    for gradient, reference in zip(found, wanted, strict=True):
        assert gradient.dtype == torch.float32
        assert_close(gradient, reference, rtol=1e-5, atol=1e-7)


def test_very_large_logits_neither_overflow_nor_lose_the_loss(problem):
    x, weight, bias, targets = problem
    loss = linear_cross_entropy(1000 * x, weight, bias, targets)
    expected = F.cross_entropy(F.linear(1000 * x, weight, bias), targets)
    assert_close(loss, expected)
    assert_close(gradients(loss, x, weight), gradients(expected, x, weight))


def test_a_matrix_cut_out_of_a_larger_one_passes_the_gradient_on(problem):
    x, weight, bias, targets = problem
    rows = torch.cat([weight, torch.randn(9, E)]).detach().requires_grad_()
    linear_cross_entropy(x, rows[:V], bias, targets).backward()
    expected, *_ = gradients(F.cross_entropy(F.linear(x, weight, bias), targets), weight)
    assert_close(rows.grad[:V], expected)
    assert rows.grad[V:].abs().max() == 0


@CHUNKS
def test_under_bfloat16_autocast_it_is_near_the_float32_result(problem, chunk_logits: int, monkeypatch):
    monkeypatch.setattr(softmax, "CHUNK_LOGITS", chunk_logits)
    x, weight, bias, targets = problem
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(x, weight, bias, targets)
    expected = F.cross_entropy(F.linear(x, weight, bias), targets)
    assert loss.dtype == torch.float32
    assert_close(loss, expected, rtol=0.01, atol=0.01)
    found, wanted = (gradients(value, x, weight, bias) for value in (loss, expected))
    for gradient, reference in zip(found, wanted, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - reference).norm() < 0.02 * reference.norm()
    assert not torch.equal(found[0], wanted[0])


def test_without_gradient_the_loss_is_the_same(problem):
    x, weight, bias, targets = problem
    with torch.no_grad():
        loss = linear_cross_entropy(x, weight, bias, targets)
    assert torch.equal(loss, linear_cross_entropy(x, weight, bias, targets).detach())


@CHUNKS
def test_score_words_sums_the_loss_and_counts_the_most_likely_words(problem, chunk_logits: int, monkeypatch):
    monkeypatch.setattr(softmax, "CHUNK_LOGITS", chunk_logits)
    x, weight, bias, targets = problem
    logits = F.linear(x, weight, bias)
    targets[:9] = logits[:9].argmax(1)
    total, correct = score_words(x, weight, bias, targets)
    assert total.dtype == torch.float64
    assert total.item() == pytest.approx(F.cross_entropy(logits.double(), targets, reduction="sum").item(), rel=1e-6)
    assert correct == (logits.argmax(1) == targets).sum() >= 9


@CHUNKS
def test_each_words_loss_is_that_of_the_plain_softmax(problem, chunk_logits: int, monkeypatch):
    monkeypatch.setattr(softmax, "CHUNK_LOGITS", chunk_logits)
    x, weight, bias, targets = problem
    losses = word_losses(x, weight, bias, targets)
    assert_close(losses, F.cross_entropy(F.linear(x, weight, bias), targets, reduction="none").detach())
    assert not losses.requires_grad
    assert word_losses(x[:0], weight, bias, targets[:0]).shape == (0,)
