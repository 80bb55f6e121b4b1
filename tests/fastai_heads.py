"""Classifier heads as fastai 2, 1 and 0.7 build them, with random weights, on the encoder of the golden classifier."""

from pathlib import Path

import torch
from torch import Tensor, nn

STATE: dict[str, Tensor] = torch.load(Path(__file__).parent / "golden/fastai_classifier.pth", weights_only=True)


def version_1() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return fastai 1's head with random weights, and the state dict of a classifier with it."""
    torch.manual_seed(1)
    head = nn.Sequential(
        *(nn.BatchNorm1d(48), nn.Dropout(0.2), nn.Linear(48, 10), nn.ReLU()),
        *(nn.BatchNorm1d(10), nn.Dropout(0.1), nn.Linear(10, 3)),
    )
    # Its copy of the recurrent weights is stale.
    stale = {
        name.replace("weight_hh_l0_raw", "module.weight_hh_l0"): torch.zeros_like(value)
        for name, value in STATE.items()
        if name.endswith("_raw")
    }
    return head, encoder() | stale | trained(head)


class LinearBlock(nn.Module):
    """fastai 0.7's, by its names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lin = nn.Linear(inputs, outputs)
        self.drop = nn.Dropout(0.1)
        self.bn = nn.BatchNorm1d(inputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.lin(self.drop(self.bn(x)))
        return result


class Head07(nn.Module):
    """Of fastai 0.7's PoolingLinearClassifier what comes behind the pooling; its last ReLU is not in the result."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([LinearBlock(48, 10), LinearBlock(10, 3)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            outputs: Tensor = layer(x)
            x = outputs.relu()
        return outputs


def version_07() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return fastai 0.7's head with random weights, and the state dict of a classifier with it."""
    torch.manual_seed(2)
    head = Head07()
    own = {f"1.{name}": value for name, value in trained(head, front="").items() if "num_batches" not in name}
    names = {"0.module.encoder_dp.emb.weight": "0.encoder_with_dropout.embed.weight"}
    moved = {
        names.get(name, name.replace("0.module.", "0.", 1).replace(".weight_hh_l0_raw", ".module.weight_hh_l0_raw")): v
        for name, v in encoder().items()
    }
    return head, moved | own


def without_dropout() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return fastai 2's head where the first dropout is 0: its linear layer stands where the dropout would be."""
    torch.manual_seed(3)
    head = nn.Sequential(
        nn.Sequential(nn.BatchNorm1d(48), nn.Linear(48, 10, bias=False), nn.ReLU()),
        nn.Sequential(nn.BatchNorm1d(10), nn.Dropout(0.1), nn.Linear(10, 3, bias=False)),
    )
    return head, encoder() | trained(head)


def one_layer() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return fastai 2's head with `lin_ftrs=[]`."""
    torch.manual_seed(4)
    head = nn.Sequential(nn.Sequential(nn.BatchNorm1d(48), nn.Dropout(0.1), nn.Linear(48, 3, bias=False)))
    return head, encoder() | trained(head)


def many_blocks() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return fastai 1's head with so many layers that their numbers have two digits."""
    torch.manual_seed(5)
    blocks = [(nn.BatchNorm1d(i), nn.Dropout(0.1), nn.Linear(i, o), nn.ReLU()) for i, o in [(48, 9), (9, 8), (8, 7)]]
    head = nn.Sequential(*sum(blocks, ()), nn.BatchNorm1d(7), nn.Dropout(0.1), nn.Linear(7, 3))
    return head, encoder() | trained(head)


def encoder() -> dict[str, Tensor]:
    return {name: value for name, value in STATE.items() if name.startswith("0.")}


@torch.no_grad()
def trained(head: nn.Module, front: str = "1.layers.") -> dict[str, Tensor]:
    """Give batch norms random weights and statistics, and return the head's state dict."""
    for module in head.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
    return {f"{front}{name}": value for name, value in head.eval().state_dict().items()}
