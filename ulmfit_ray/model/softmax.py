"""The softmax over the vocabulary, with its loss and gradient in one pass.

The logits of a step are the largest thing in training: 4,608 tokens x 60,000 words are a gigabyte, and torch keeps
several copies of them. Here they are computed some rows at a time, turned into loss and gradient, and not kept, so
their memory does not grow with the number of tokens (benchmarks/train_lm.py has the time beside torch's own).
"""

from typing import Any

import torch
from torch import Tensor

from ulmfit_ray.model.products import product, product_with

CHUNK_LOGITS, MIN_ROWS, MOST_LOGITS = 1 << 21, 1024, 1 << 26
"""Logits handled at once: two million, which stay in the cache, but at least 1,024 rows, or the matrix products are too
thin and the weight's gradient is read and written too often; and at most 64 million."""


def _rows_at_once(num_words: int) -> int:
    return max(1, CHUNK_LOGITS // num_words, min(MIN_ROWS, MOST_LOGITS // num_words))


def _summed_loss(logits: Tensor, of_target: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy of rows of logits (R, V), given the probabilities (R, 1) of their targets (R, 1).

    Where a probability is too small for a number, the logits say how large the loss is; on a GPU always, because to
    ask would make the host wait.
    """
    if logits.is_cuda or bool((of_target < torch.finfo(torch.float32).tiny).any()):
        return (logits.float().logsumexp(1) - logits.gather(1, targets).squeeze(1).float()).sum()
    return -of_target.float().log().sum()


class _LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `x @ weight.T + bias`; the gradient is computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        # Autocast would compute the softmax in float32, and copy the logits twice for it.
        with torch.autocast(x.device.type, enabled=False):
            total, *gradients = _loss_and_gradients(
                x.to(dtype), weight, bias, targets, needs_gradient=any(ctx.needs_input_grad)
            )
        ctx.save_for_backward(*gradients)
        return total / len(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        scale = grads[0] / len(grad_x)
        return grad_x * scale.to(grad_x.dtype), grad_weight.mul_(scale), grad_bias.mul_(scale), None, None


def _loss_and_gradients(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, needs_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the summed loss of x (N, E) and its gradients by x, weight and bias; products are in x's type."""
    matrix = weight.to(x.dtype)
    grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
    total = torch.zeros((), dtype=torch.float32, device=x.device)
    rows = _rows_at_once(len(weight))
    to_logits, to_inputs = product_with(matrix, rows, bias.to(x.dtype)), product_with(matrix.t(), rows)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        target = targets[start : start + rows, None]
        logits = to_logits(part)
        # One pass over a row while it is in the cache; in bfloat16 it is summed in float32 all the same.
        scores = torch.softmax(logits, 1)
        of_target = scores.gather(1, target)
        total += _summed_loss(logits, of_target, target)
        if needs_gradient:
            # scatter_ would copy all scores twice.
            gradient = scores.index_put_(
                (torch.arange(len(part), device=x.device), target.squeeze(1)), of_target.squeeze(1) - 1
            )
            grad_x[start : start + rows] = to_inputs(gradient)
            grad_weight += product(gradient.t(), part.t())
            grad_bias += gradient.sum(0)
    return total, grad_x, grad_weight, grad_bias


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy (nats per token) of the words `targets` (N,) under logits x @ weight.T + bias.

    x is (N, E), weight (V, E), bias (V,). Matrix products use autocast's type if autocast is on; sums are float32.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, bias, targets, dtype)
    return loss


@torch.no_grad()
def score_words(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy (nats, float64) and the number of words predicted right, without gradient.

    x is (N, E), weight (V, E), bias (V,), targets (N,).
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    correct = torch.zeros((), dtype=torch.int64, device=x.device)
    rows = _rows_at_once(len(weight))
    for start in range(0, len(x), rows):
        logits = torch.nn.functional.linear(x[start : start + rows], weight, bias).float()
        target = targets[start : start + rows]
        total += torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        correct += (logits.argmax(1) == target).sum()
    return total, correct


@torch.no_grad()
def word_losses(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy (nats, float32) of each of the words `targets` (N,), without gradient.

    x is (N, E), weight (V, E), bias (V,).
    """
    losses = torch.empty(len(x), device=x.device)
    rows = _rows_at_once(len(weight))
    for start in range(0, len(x), rows):
        logits = torch.nn.functional.linear(x[start : start + rows], weight, bias).float()
        target = targets[start : start + rows]
        losses[start : start + rows] = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return losses
