"""A wide layer trained step by step in bfloat16, beside nn.LSTM in float32 and in bfloat16."""

import pytest
import torch
from torch import Tensor, nn

from ulmfit_ray.model.lstm import WIDE, LSTMLayer, by_what_is_there

B, T, INPUT = 3, 7, 24


def outputs_and_gradients(layer: nn.Module, *, bfloat16: bool) -> dict[str, Tensor]:
    """Return what training needs of a layer: outputs, last state, gradients of weights, inputs and first state."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(B, T, INPUT, generator=generator).requires_grad_()
    h, c = (torch.randn(1, B, WIDE, generator=generator).requires_grad_() for _ in range(2))
    factors = torch.randn(B, T, WIDE, generator=generator)
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16), by_what_is_there(x):
        output, (last_h, last_c) = layer(x, (h, c))
    ((output.float() * factors).sum() + last_h.float().sum() + last_c.float().square().sum()).backward()
    found = {"output": output, "last_h": last_h, "last_c": last_c, "x": x.grad, "h": h.grad, "c": c.grad}
    return found | {name: parameter.grad for name, parameter in layer.named_parameters()}


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    return {
        name: float((found[name].detach().float() - value.detach()).abs().max() / value.detach().abs().max())
        for name, value in expected.items()
    }


@pytest.fixture
def layers() -> tuple[LSTMLayer, nn.LSTM]:
    torch.manual_seed(1)
    layer, lstm = LSTMLayer(INPUT, WIDE), nn.LSTM(INPUT, WIDE, batch_first=True)
    lstm.load_state_dict(layer.state_dict())
    return layer, lstm


def test_a_wide_layer_in_bfloat16_is_as_near_to_float32_as_torchs(layers: tuple[LSTMLayer, nn.LSTM]):
    layer, lstm = layers
    expected = outputs_and_gradients(lstm, bfloat16=False)
    ours = largest_difference(outputs_and_gradients(layer, bfloat16=True), expected)
    torchs = largest_difference(outputs_and_gradients(lstm, bfloat16=True), expected)
    assert max(ours.values()) < 0.02
    assert sum(ours.values()) <= sum(torchs.values())


def test_a_wide_layer_in_float32_is_torchs_to_the_last_bit(layers: tuple[LSTMLayer, nn.LSTM]):
    layer, lstm = layers
    expected = outputs_and_gradients(lstm, bfloat16=False)
    found = outputs_and_gradients(layer, bfloat16=False)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_wide_layer_without_gradients_is_torchs_to_the_last_bit(layers: tuple[LSTMLayer, nn.LSTM]):
    layer, lstm = layers
    x, state = torch.randn(B, T, INPUT), (torch.randn(1, B, WIDE), torch.randn(1, B, WIDE))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), by_what_is_there(x):
        assert torch.equal(layer(x, state)[0], lstm(x, state)[0])
