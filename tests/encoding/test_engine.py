import pytest
import torch

from ulmfit_ray.encoding.engine import Engine, EngineLayer
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.lstm import LSTMLayer


@pytest.fixture
def backbone() -> AWDLSTM:
    torch.manual_seed(0)
    return AWDLSTM(Architecture(vocab_size=50, embedding_dim=12, hidden_size=22, num_layers=3))


@pytest.mark.parametrize("sizes", [(10, 22), (22, 22), (22, 10), (8, 10), (10, 16), (16, 8)])
@pytest.mark.parametrize("multiple", [1, 8])
def test_a_layer_that_is_widened_with_zeros_gives_what_it_gave(sizes: tuple[int, int], multiple: int):
    torch.manual_seed(0)
    layer = LSTMLayer(*sizes)
    wide = EngineLayer(layer, torch.float32, multiple)
    x, hidden = torch.randn(5, 7, sizes[0]), (torch.randn(1, 5, sizes[1]), torch.randn(1, 5, sizes[1]))
    with torch.no_grad():
        expected, found = layer(x, hidden), wide(x, hidden)
        # The state goes on from call to call.
        again = layer(x, expected[1]), wide(x, found[1])
    for (outputs, states), (own, own_states) in [(expected, found), again]:
        torch.testing.assert_close(own, outputs, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(own_states, states, atol=1e-6, rtol=1e-5)


def test_the_widths_inside_a_widened_layer_are_whole_multiples():
    layer = EngineLayer(LSTMLayer(10, 22), torch.bfloat16, 8)
    assert {name: tuple(value.shape) for name, value in layer.named_parameters()} == {
        "_lstm.weight_ih_l0": (96, 16),
        "_lstm.weight_hh_l0": (96, 24),
        "_lstm.bias_ih_l0": (96,),
        "_lstm.bias_hh_l0": (96,),
    }


def test_in_float32_an_engine_has_the_models_own_weights_and_no_copies(backbone: AWDLSTM):
    engine = Engine(backbone, Reading(pooling="mean"))
    own = {value.data_ptr() for value in backbone.parameters()}
    assert {value.data_ptr() for value in engine.parameters()} == own
    assert not any(value.requires_grad for value in engine.parameters())
    assert all(value.requires_grad for value in backbone.parameters())


@pytest.mark.parametrize("layer", [None, 1, 2, 3])
def test_an_engine_runs_the_layers_that_are_read(backbone: AWDLSTM, layer: int | None):
    engine = Engine(backbone, Reading(pooling="mean", layer=layer, precision="bfloat16"))
    assert len(engine.layers) == (layer or 3)
    assert engine.width() == backbone.width(layer) == (22 if layer in (1, 2) else 12)
    (outputs,) = engine.windows(torch.tensor([[3, 4, 60]]), torch.tensor([3]), 32)
    assert outputs.shape == (1, 3, engine.width())
    assert outputs.dtype is torch.bfloat16


def test_in_bfloat16_the_cells_state_does_not_lose_what_it_adds_up():
    torch.manual_seed(0)
    layer = LSTMLayer(16, 32)
    with torch.no_grad():
        # Forget gates that are nearly open: the state is a sum over hundreds of steps.
        layer.bias_ih_l0[32:64] = 6
    x, start = torch.randn(4, 2000, 16), (torch.zeros(1, 4, 32), torch.zeros(1, 4, 32))
    torchs = torch.nn.LSTM(16, 32, batch_first=True)
    torchs.load_state_dict(layer.state_dict())
    reduced = torchs.to(torch.bfloat16), EngineLayer(layer, torch.bfloat16)
    with torch.inference_mode():
        exact, _ = layer(x, start)
        errors = []
        for one in reduced:
            hidden: tuple[torch.Tensor, torch.Tensor] = (start[0].bfloat16(), start[1].bfloat16())
            outputs = []
            for window in x.bfloat16().split(32, dim=1):
                found, hidden = one(window, hidden)
                outputs.append(found.float())
            errors.append(float((torch.cat(outputs, 1) - exact).abs().mean()))
    assert errors[1] < 0.8 * errors[0]
