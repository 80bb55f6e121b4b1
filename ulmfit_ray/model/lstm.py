"""One LSTM layer whose recurrent weights can be masked for a call (DropConnect), and its training in bfloat16 on CPUs.

torch's own LSTM (oneDNN) is used everywhere but there: its backward pass in bfloat16 takes as long as in float32, four
times its forward pass. Written as single steps over matrices that are packed once, forward and backward together take
about two thirds of the time of torch's for wide layers; for narrow ones the calls themselves cost more than they save
(benchmarks/train_lm.py). Sums of gates and all states between the products are float32, so results lie nearer
to float32 than torch's.

Shapes: B batch rows, T time steps, I input width, H hidden_size. Gate order i, f, g, o.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ulmfit_ray.model.products import onednn_has_bfloat16, product_with

WIDE = 384
"""Layers of at least this width are trained step by step."""
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


class LSTMLayer(nn.Module):
    """An LSTM layer with nn.LSTM's parameter names."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def forward(
        self, x: Tensor, hidden: tuple[Tensor, Tensor], weight_mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs (B, T, H) for x (B, T, I) and the state, two of (1, B, H), after the last step."""
        recurrent = self.weight_hh_l0 if weight_mask is None else self.weight_hh_l0 * weight_mask
        weights = (self.weight_ih_l0, recurrent, self.bias_ih_l0, self.bias_hh_l0)
        if self._is_trained_by_steps(x):
            with torch.autocast("cpu", enabled=False):
                output, h, c = _LSTMBySteps.apply(x.transpose(0, 1), *hidden, *weights)
            return output.transpose(0, 1), (h, c)
        with by_what_is_there(x):
            # nn.LSTM calls the same function, but takes only parameters as weights, and a masked weight is none.
            output, h, c = torch.lstm(x, hidden, weights, True, 1, 0.0, self.training, False, True)
        return output, (h, c)

    def _is_trained_by_steps(self, x: Tensor) -> bool:
        return torch.is_grad_enabled() and _is_bfloat16_on_cpu(x) and self.hidden_size >= WIDE


def by_what_is_there(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which torch's LSTM runs on x: it asks oneDNN for bfloat16 even where that has none."""
    has_not = _is_bfloat16_on_cpu(x) and not onednn_has_bfloat16()
    return torch.backends.mkldnn.flags(enabled=False) if has_not else nullcontext()


def _is_bfloat16_on_cpu(x: Tensor) -> bool:
    is_cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    return x.device.type == "cpu" and is_cast


class _LSTMBySteps(torch.autograd.Function):
    """(x (T, B, I), h, c, weights and biases) -> outputs (T, B, H) in bfloat16, h, c; products are in bfloat16."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, input_weight: Tensor, weight: Tensor, *biases: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, rows, _ = x.shape
        x = x.bfloat16().contiguous()
        input_weight, weight = input_weight.bfloat16(), weight.bfloat16()
        bias = (biases[0] + biases[1]).bfloat16()
        from_input = product_with(input_weight, steps * rows, bias)(x.flatten(0, 1)).unflatten(0, (steps, rows))
        to_gates = product_with(weight, rows)
        gates = torch.empty(from_input.shape)
        cells = torch.empty(steps + 1, *c.shape[1:])
        outputs = torch.empty(cells.shape, dtype=torch.bfloat16)
        cells[0], outputs[0] = c[0], h[0]
        for t in range(steps):
            gates[t].copy_(to_gates(outputs[t], from_input[t]))
            i, f, g, o = gates[t].chunk(4, 1)
            for gate in (i, f, o):
                gate.sigmoid_()
            _tanh(g, out=g)
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            outputs[t + 1].copy_(_tanh(cells[t + 1]).mul_(o))
        ctx.save_for_backward(x, input_weight, weight, gates, cells, outputs)
        return outputs[1:], outputs[-1:].clone(), cells[-1:].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, input_weight, weight, gates, cells, outputs = ctx.saved_tensors
        grad_gates, grad_bias, grad_h, grad_c = _backward_through_time(weight, gates, cells, *grads)
        flat = grad_gates.flatten(0, 1)
        grad_x = product_with(input_weight.t(), len(flat))(flat).view_as(x)
        by_gate = flat.t().contiguous()
        grad_input_weight, grad_weight = (
            product_with(inputs.flatten(0, 1).t(), len(by_gate))(by_gate).float() for inputs in (x, outputs[:-1])
        )
        return grad_x, grad_h, grad_c, grad_input_weight, grad_weight, grad_bias, grad_bias


def _tanh(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the tanh of x by way of the sigmoid, which torch computes in a fifth of the time; to 2e-7."""
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)


def _backward_through_time(
    weight: Tensor, gates: Tensor, cells: Tensor, grad_outputs: Tensor, grad_h: Tensor, grad_c: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the gates before their activation (T, B, 4H), of a bias (4H,), and of the first state.

    gates (T, B, 4H) are i, f, g, o after their activation; cells (T + 1, B, H) begin with the first state's.
    """
    steps, rows, width = gates.shape
    to_output = product_with(weight.t(), rows)
    before = torch.empty(gates.shape, dtype=torch.bfloat16)
    bias = torch.zeros(rows, width)
    now = torch.empty(rows, width)
    grad_i, grad_f, grad_g, grad_o = now.chunk(4, 1)
    dh, dc = grad_h[0].float(), grad_c[0].float().clone()
    for t in reversed(range(steps)):
        i, f, g, o = gates[t].chunk(4, 1)
        dh = dh + grad_outputs[t]
        tanh_c = _tanh(cells[t + 1])
        of_tanh = dh * o
        dc.add_(_tanh_backward(of_tanh, tanh_c, grad_input=of_tanh))
        _sigmoid_backward(torch.mul(dh, tanh_c, out=grad_o), o, grad_input=grad_o)
        _sigmoid_backward(torch.mul(dc, g, out=grad_i), i, grad_input=grad_i)
        _sigmoid_backward(torch.mul(dc, cells[t], out=grad_f), f, grad_input=grad_f)
        _tanh_backward(torch.mul(dc, i, out=grad_g), g, grad_input=grad_g)
        dc.mul_(f)
        bias.add_(now)
        dh = to_output(before[t].copy_(now)).float()
    return before, bias.sum(0), dh[None], dc[None]
