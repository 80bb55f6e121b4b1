"""An AWD-LSTM made ready for one device and one precision: the same steps, the layers laid out as the library wants.

On a CPU torch's LSTM runs through oneDNN, in float32 or bfloat16; on a GPU through cuDNN, which wants the weights of a
layer in one contiguous buffer (it would copy them at every call), and in bfloat16 widths of whole multiples of 8. Short
windows suit a CPU, whose cache holds the gates of one; a GPU takes longer ones, so that its calls are few.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.lstm import LSTMLayer
from ulmfit_ray.model.products import onednn_has_bfloat16

CPU_WINDOW, GPU_WINDOW = 32, 128
CPU_ROWS, GPU_ROWS = 128, 2048
"""Documents in one micro-batch."""
GPU_MULTIPLE = 8
"""Of bfloat16 numbers, in a matrix that tensor cores multiply."""


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Let a GPU multiply float32 numbers as they are; its library would round the factors to ten bits (TF32)."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


class Engine(AWDLSTM):
    """The layers of a backbone up to the one that is read, in the precision asked for."""

    def __init__(self, backbone: AWDLSTM, reading: Reading, window: int | None = None) -> None:
        nn.Module.__init__(self)
        device = backbone.embedding.weight.device
        on_gpu = device.type == "cuda"
        dtype = getattr(torch, reading.precision)
        self.architecture = backbone.architecture
        self.window = window or (GPU_WINDOW if on_gpu else CPU_WINDOW)
        self.embedding = nn.Embedding.from_pretrained(backbone.embedding.weight.detach().to(dtype))
        multiple = GPU_MULTIPLE if on_gpu and dtype is torch.bfloat16 else 1
        layers = cast(Iterable[LSTMLayer], list(backbone.layers)[: reading.layer])
        self.layers = nn.ModuleList(EngineLayer(layer, dtype, multiple) for layer in layers)
        self.eval().requires_grad_(False)


class EngineLayer(nn.Module):
    """One LSTM layer with its weights in torch's own module, widened with zeros to a multiple of `multiple`.

    A unit whose weights and biases are zero stays at zero: its input gate lets in tanh(0).
    """

    def __init__(self, layer: LSTMLayer, dtype: torch.dtype, multiple: int = 1) -> None:
        super().__init__()
        self.hidden_size = layer.hidden_size
        self._inputs = layer.weight_ih_l0.shape[1]
        self._more_inputs, self._more = -self._inputs % multiple, -self.hidden_size % multiple
        sizes = self._inputs + self._more_inputs, self.hidden_size + self._more
        self._lstm = nn.LSTM(*sizes, batch_first=True, device="meta")
        on_cpu = layer.weight_ih_l0.device.type == "cpu"
        self._has_whole_cell = on_cpu and dtype is torch.bfloat16
        self._by_onednn = self._has_whole_cell and onednn_has_bfloat16()
        weights = {name: self._widened(value.detach()).to(dtype) for name, value in layer.named_parameters()}
        if self._has_whole_cell and not self._by_onednn:
            weights = {name: value.float() for name, value in weights.items()}
        # Not copied where nothing changes: float32 on a CPU shares the model's memory.
        self._lstm.load_state_dict(weights, assign=True)
        self._lstm.flatten_parameters()

    def _widened(self, weight: Tensor) -> Tensor:
        """Return a weight (4H, ...) or bias (4H,) with zeros for the units that are added to each gate."""
        if not self._more and not self._more_inputs:
            return weight
        more = self._more_inputs if weight.shape[-1] == self._inputs and weight.dim() == 2 else self._more
        gates = weight.unflatten(0, (4, self.hidden_size))
        pads = (0, more, 0, self._more) if weight.dim() == 2 else (0, self._more)
        return nn.functional.pad(gates, pads).flatten(0, 1)

    def forward(
        self, x: Tensor, hidden: tuple[Tensor, Tensor], weight_mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs (B, T, H) for x (B, T, I) and the state, two of (1, B, H), after the last step."""
        assert weight_mask is None, "an engine has no dropout"
        if self._more_inputs:
            x = nn.functional.pad(x, (0, self._more_inputs))
        if self._more:
            hidden = (nn.functional.pad(hidden[0], (0, self._more)), nn.functional.pad(hidden[1], (0, self._more)))
        outputs, (h, c) = (self._steps_with_whole_cell if self._has_whole_cell else self._lstm)(x, hidden)
        size = self.hidden_size
        return outputs[..., :size], (h[..., :size], c[..., :size])

    def _steps_with_whole_cell(self, x: Tensor, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return what torch's own LSTM would, but with the cell's state in float32 from step to step.

        The state adds up over the whole document. In bfloat16 that costs more than all else that is rounded: the
        smallest centred cosine to float32 is .997 instead of .9994 (last states; benchmarks/encode_precision.py).
        A processor without bfloat16 multiplies the rounded numbers in float32, which it does much faster.
        """
        if not self._by_onednn:
            outputs, (h, c) = self._lstm(x.float(), (hidden[0].float(), hidden[1].float()))
            return outputs.to(x.dtype), (h.to(x.dtype), c)
        h, c = hidden[0].contiguous(), hidden[1].float().contiguous()
        is_reverse, lstm, has_biases, is_bidirectional, is_batch_first, is_training = (
            False,
            2,
            True,
            False,
            False,
            False,
        )
        outputs, h, c, _ = torch.ops.aten.mkldnn_rnn_layer(
            x.transpose(0, 1).contiguous(),
            *(value for _, value in self._lstm.named_parameters()),
            h,
            c,
            is_reverse,
            [],
            lstm,
            h.shape[-1],
            1,
            has_biases,
            is_bidirectional,
            is_batch_first,
            is_training,
        )
        return outputs.transpose(0, 1), (h, c)
