"""Load what `export-fastai` wrote with fastai itself, in all its ways, and compare logits with those it gave before.

    /path/to/fastai-environment/bin/python tests/conformance/load_exported.py FOLDER

FOLDER/models has model.pth, encoder.pth and vocab.pkl of the golden model, imported and exported. Runs in fastai's own
environment, not in ours; `make conformance` does all of it.
"""

import json
import pickle
import sys
from pathlib import Path

import pandas as pd
import torch
from fastai.text.all import AWD_LSTM, TextDataLoaders, awd_lstm_lm_config, language_model_learner

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/fastai_model.json").read_text())


def largest_difference(model: torch.nn.Module, num_words: int) -> float:
    """Return it for real words: `load_pretrained` gives all "xxfake" the row of the last one."""
    model.eval().reset()
    with torch.no_grad():
        found = torch.cat([model(part)[0] for part in torch.tensor(GOLDEN["ids"]).split([4, 3], 1)], 1)
    return float((found - torch.tensor(GOLDEN["float32"]))[:, :, :num_words].abs().max())


def main(folder: Path) -> None:
    words = pickle.loads((folder / "models/vocab.pkl").read_bytes())
    num_words = words.index("xxfake")
    texts = pd.DataFrame({"text": ["word3 word4 word5 " * 40] * 20})
    data = TextDataLoaders.from_df(texts, text_col="text", is_lm=True, text_vocab=words, bs=2, seq_len=7)
    config = awd_lstm_lm_config.copy() | {"emb_sz": 12, "n_hid": 20, "n_layers": 3}
    learner = language_model_learner(data, AWD_LSTM, config=config, pretrained_fnames=["model", "vocab"], path=folder)
    differences = {"load_pretrained": largest_difference(learner.model, num_words)}
    fresh = language_model_learner(data, AWD_LSTM, config=config, pretrained=False, path=folder)
    fresh.load("model", with_opt=False)
    differences["load"] = largest_difference(fresh.model, num_words)
    fresh.load_encoder("encoder")
    differences["load_encoder"] = largest_difference(fresh.model, num_words)
    print(differences)
    if max(differences.values()) > 1e-6:
        sys.exit("fastai gives other logits with the exported files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
