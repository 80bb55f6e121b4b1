"""Write fastai_rates.json: sweeps of learning rates by fastai 2, and the rates that it suggests.

    /path/to/fastai-environment/bin/python tests/golden/make_fastai_rates.py

Runs in fastai's own environment, not in ours: torch==2.13.0, torchvision==0.28.0, fastai==2.8.12. `learn.lr_find()` on
small models of random data, of several sizes and losses; most sweeps end before their last step because the loss
diverges. Recorded are the rate, the loss and the smoothed loss of each step, and what Valley suggests.
"""

import json
import tempfile
from pathlib import Path

import fastai.callback.schedule  # noqa: F401, gives Learner its lr_find
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD, Adam
from torch import nn

HERE = Path(__file__).parent
SWEEPS = [
    {"seed": 1, "optimizer": "adam", "num_it": 100, "start_lr": 1e-7, "end_lr": 10},
    {"seed": 2, "optimizer": "sgd", "num_it": 100, "start_lr": 1e-7, "end_lr": 10},
    {"seed": 3, "optimizer": "adam", "num_it": 60, "start_lr": 1e-6, "end_lr": 1},
    {"seed": 4, "optimizer": "sgd", "num_it": 150, "start_lr": 1e-5, "end_lr": 100},
    {"seed": 5, "optimizer": "adam", "num_it": 100, "start_lr": 1e-4, "end_lr": 1e-2},
]


class Losses(Callback):
    """Keeps the loss of every step as it is."""

    def before_fit(self) -> None:
        self.found: list[float] = []

    def after_loss(self) -> None:
        self.found.append(self.learn.loss.item())


def sweep(seed: int, optimizer: str, num_it: int, start_lr: float, end_lr: float) -> dict:
    torch.manual_seed(seed)
    inputs = torch.randn(2_000, 10)
    classes = (inputs @ torch.randn(10, 6)).argmax(1)
    loader = DataLoader(list(zip(inputs, classes, strict=True)), bs=16, shuffle=True)
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, 6))
    losses = Losses()
    kind = {"adam": Adam, "sgd": SGD}[optimizer]
    loaders = DataLoaders(loader, loader)
    with tempfile.TemporaryDirectory() as scratch:
        learner = Learner(loaders, model, nn.CrossEntropyLoss(), opt_func=kind, cbs=losses, path=scratch)
        found = learner.lr_find(start_lr=start_lr, end_lr=end_lr, num_it=num_it, show_plot=False)
    return {
        "num_steps": num_it,
        "first": start_lr,
        "last": end_lr,
        "rates": [float(rate) for rate in learner.recorder.lrs],
        "losses": losses.found,
        "smoothed": [float(loss) for loss in learner.recorder.losses],
        "suggested": found.valley,
    }


def main() -> None:
    found = [sweep(**settings) for settings in SWEEPS]
    (HERE / "fastai_rates.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
