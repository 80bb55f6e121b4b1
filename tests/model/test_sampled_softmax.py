"""The sampled softmax beside the full one, and its sample beside the distribution that it claims."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.sampled_softmax import draw_words, log_chance, sampled_cross_entropy

CPU = torch.device("cpu")
V = 50


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(30, 8), torch.randn(V, 8), torch.randn(V), torch.randint(0, V, (30,))


def test_with_all_words_certain_to_be_drawn_it_is_the_full_softmax(problem):
    x, weight, bias, targets = problem
    draws = 10**6
    sample = draw_words(V, draws, seed=0, device=CPU)
    assert sample.words.tolist() == list(range(V))
    loss = sampled_cross_entropy(x, weight, bias, targets, sample)
    assert_close(loss, F.cross_entropy(F.linear(x, weight, bias), targets))


def test_it_is_the_softmax_over_target_and_drawn_words_with_corrected_logits(problem):
    x, weight, bias, targets = problem
    draws = 20
    sample = draw_words(V, draws, seed=1, device=CPU)
    logits = F.linear(x, weight, bias) - log_chance(torch.arange(V), V, draws)
    expected = []
    for row, target in zip(logits, targets.tolist(), strict=True):
        company = sorted({target, *sample.words.tolist()})
        expected.append(F.cross_entropy(row[company][None], torch.tensor([company.index(target)])))
    assert_close(sampled_cross_entropy(x, weight, bias, targets, sample), torch.stack(expected).mean())


def test_words_are_drawn_as_often_as_their_chance_says():
    draws, rounds = 20, 4_000
    counts = torch.zeros(V)
    for seed in range(rounds):
        counts[draw_words(V, draws, seed=seed, device=CPU).words] += 1
    chance = log_chance(torch.arange(V), V, draws).exp()
    assert_close(counts / rounds, chance, atol=0.03, rtol=0)
    # By hand: the first word has log(2) / log(51) of the draws.
    assert chance[0].item() == pytest.approx(1 - (1 - math.log(2) / math.log(51)) ** draws)


def test_the_same_seed_draws_the_same_words_and_another_seed_others():
    first, again, other = (draw_words(1000, 50, seed=seed, device=CPU).words for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_following_its_gradient_lowers_the_full_loss(problem):
    x, weight, bias, targets = problem
    weight.requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def full_loss() -> float:
        with torch.no_grad():
            return F.cross_entropy(F.linear(x, weight, bias), targets).item()

    before = full_loss()
    for step in range(100):
        sample = draw_words(V, 10, seed=step, device=CPU)
        sampled_cross_entropy(x, weight, bias, targets, sample).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert full_loss() < before / 4
