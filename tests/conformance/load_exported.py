"""Load what `export-fastai` wrote with fastai itself, in all its ways, and compare logits with those it gave before.

    /path/to/fastai-environment/bin/python tests/conformance/load_exported.py FOLDER

FOLDER/models has model.pth, encoder.pth and vocab.pkl of the golden language model, imported and exported;
FOLDER/classifier/models those of the golden classifier, and its labels.json. Runs in fastai's own environment, not in
ours; `make conformance` does all of it.
"""

import json
import pickle
import sys
from pathlib import Path

import pandas as pd
import torch
from fastai.text.all import (
    AWD_LSTM,
    TextDataLoaders,
    awd_lstm_clas_config,
    awd_lstm_lm_config,
    language_model_learner,
    text_classifier_learner,
)

FILES = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FILES / "fastai_model.json").read_text())
CLASSIFIER = json.loads((FILES / "fastai_classifier.json").read_text())


def largest_difference(model: torch.nn.Module, num_words: int) -> float:
    """Return it for real words: `load_pretrained` gives all "xxfake" the row of the last one."""
    model.eval().reset()
    with torch.no_grad():
        found = torch.cat([model(part)[0] for part in torch.tensor(GOLDEN["ids"]).split([4, 3], 1)], 1)
    return float((found - torch.tensor(GOLDEN["float32"]))[:, :, :num_words].abs().max())


def language_model_differences(folder: Path) -> dict[str, float]:
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
    return differences


def largest_of_classifier(model: torch.nn.Module) -> float:
    """Return it for each golden document alone."""
    model.eval()
    ids = torch.tensor(CLASSIFIER["ids"])
    with torch.no_grad():
        return max(
            float((model(ids[None, : int(length)])[0][0] - torch.tensor(expected)).abs().max())
            for length, expected in CLASSIFIER["alone"].items()
        )


def classifier_differences(folder: Path) -> dict[str, float]:
    words = pickle.loads((folder / "models/vocab.pkl").read_bytes())
    labels = json.loads((folder / "models/labels.json").read_text())
    texts = pd.DataFrame({"text": ["word3 word4 word5"] * 30, "label": labels * 10})
    data = TextDataLoaders.from_df(texts, text_col="text", label_col="label", text_vocab=words, bs=2)
    if list(data.vocab[1]) != labels:
        sys.exit(f"fastai has the labels {data.vocab[1]}, and {labels} were exported")
    config = awd_lstm_clas_config.copy() | {"emb_sz": 16, "n_hid": 24, "n_layers": 2}
    learner = text_classifier_learner(data, AWD_LSTM, config=config, pretrained=False, lin_ftrs=[10], path=folder)
    if largest_of_classifier(learner.model) < 0.01:
        sys.exit("a new classifier gives the golden logits: they say nothing")
    # Strict: each name of the learner's model is in the file, and no other.
    learner.load("model", with_opt=False)
    differences = {"load, classifier": largest_of_classifier(learner.model)}
    with torch.no_grad():
        learner.model[0].module.encoder.weight.zero_()
    learner.load_encoder("encoder")
    differences["load_encoder, classifier"] = largest_of_classifier(learner.model)
    return differences


def main(folder: Path) -> None:
    differences = language_model_differences(folder) | classifier_differences(folder / "classifier")
    print(differences)
    if max(differences.values()) > 1e-6:
        sys.exit("fastai gives other logits with the exported files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
