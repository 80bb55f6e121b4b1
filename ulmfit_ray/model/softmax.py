"""The softmax over the vocabulary, with its loss and gradient in one pass.

The logits of a step are the largest thing in training: 1,000 tokens x 14,542 words are 58 MB, and torch keeps several
copies of them. Here they are computed a few rows at a time, turned into loss and gradient, and not kept, so their
memory does not grow with the number of tokens. On two cores this halves the time of a small model's training step
under glibc's defaults; if the allocator keeps its memory (training.memory), torch's own softmax is about as fast
(benchmarks/training_step.py).
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS, MIN_ROWS, MOST_LOGITS = 1 << 21, 512, 1 << 26
"""Logits handled at once: two million, which stay in the cache, but at least 512 rows, or the matrix products are too
thin and the weight's gradient is read and written too often; and at most 64 million."""


def _rows_at_once(num_words: int) -> int:
    return max(1, CHUNK_LOGITS // num_words, min(MIN_ROWS, MOST_LOGITS // num_words))


class _LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `x @ weight.T + bias`; the gradient is computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        inputs, matrix, offset = x.detach().to(dtype), weight.detach().to(dtype), bias.detach().to(dtype)
        needs_gradient = any(ctx.needs_input_grad)
        grad_x = torch.empty_like(inputs)
        grad_weight = torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias)
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        rows = max(1, CHUNK_LOGITS // len(weight))
        for start in range(0, len(inputs), rows):
            part = inputs[start : start + rows]
            target = targets[start : start + rows, None]
            logits = torch.addmm(offset, part, matrix.t()).float()
            largest = logits.amax(1, keepdim=True)
            of_target = logits.gather(1, target)
            scores = logits.sub_(largest).exp_()
            norm = scores.sum(1, keepdim=True)
            total += (norm.log() + largest - of_target).sum()
            if needs_gradient:
                gradient = scores.div_(norm)
                gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1.0))
                gradient = gradient.to(dtype)
                grad_x[start : start + rows] = gradient @ matrix
                grad_weight += gradient.t() @ part
                grad_bias += gradient.sum(0)
        ctx.save_for_backward(grad_x, grad_weight, grad_bias)
        return total / len(inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        scale = grads[0] / len(grad_x)
        return grad_x * scale.to(grad_x.dtype), grad_weight.mul_(scale), grad_bias.mul_(scale), None, None


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
    rows = max(1, CHUNK_LOGITS // len(weight))
    for start in range(0, len(x), rows):
        logits = torch.nn.functional.linear(x[start : start + rows], weight, bias).float()
        target = targets[start : start + rows]
        total += torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        correct += (logits.argmax(1) == target).sum()
    return total, correct
