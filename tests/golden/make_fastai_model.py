"""Write fastai_model.pth, .pkl and .json: a small language model of fastai 2, its words, and its logits.

    /path/to/fastai-environment/bin/python tests/golden/make_fastai_model.py

Runs in fastai's own environment, not in ours: torch==2.13.0, torchvision==0.28.0, fastai==2.8.12. Three layers, as all
of fastai's. The logits are those of evaluation, of two rows of 7 tokens, read in windows of 4 and 3 with the state
carried over; in float32 and in float64.
"""

import json
import pickle
from pathlib import Path

import torch
from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, get_language_model
from fastai.text.core import defaults

HERE = Path(__file__).parent
WORDS = [*defaults.text_spec_tok, *(f"word{number}" for number in range(41)), *["xxfake"] * 6]
IDS = [[2, 9, 30, 8, 10, 49, 0], [2, 11, 12, 9, 9, 44, 20]]


def logits(model: torch.nn.Module) -> list:
    model.reset()
    ids = torch.tensor(IDS)
    with torch.no_grad():
        return torch.cat([model(part)[0] for part in ids.split([4, 3], 1)], 1).tolist()


def main() -> None:
    torch.manual_seed(5)
    config = awd_lstm_lm_config.copy() | {"emb_sz": 12, "n_hid": 20, "n_layers": 3}
    model = get_language_model(AWD_LSTM, len(WORDS), config=config).eval()
    with torch.no_grad():
        # fastai begins with a bias of zeros.
        model[1].decoder.bias.normal_()
    torch.save(model.state_dict(), HERE / "fastai_model.pth")
    (HERE / "fastai_model.pkl").write_bytes(pickle.dumps(WORDS))
    found = {"ids": IDS, "float32": logits(model), "float64": logits(model.double())}
    (HERE / "fastai_model.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
