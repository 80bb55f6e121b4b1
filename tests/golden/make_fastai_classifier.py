"""Write fastai_classifier.pth and .json: a small classifier of fastai 2, and its logits of documents of many lengths.

    /path/to/fastai-environment/bin/python tests/golden/make_fastai_classifier.py

Runs in fastai's own environment, not in ours: torch==2.13.0, torchvision==0.28.0, fastai==2.8.12. Its words are those
of fastai_model.pkl. Two LSTM layers; weights of the head and statistics of its batch norms are random, as after a
training. The document of n tokens is the first n of "ids". "alone": its logits by itself, in evaluation; "batches":
the logits of documents that fastai gets wrong when they come together, padded as its data loader pads them.
"""

import json
import pickle
from itertools import chain
from pathlib import Path

import torch
from fastai.text.all import AWD_LSTM, Pad_Chunk, TensorText, awd_lstm_clas_config, get_text_classifier

HERE = Path(__file__).parent
NUM_WORDS = len(pickle.loads((HERE / "fastai_model.pkl").read_bytes()))
NUM_KNOWN = NUM_WORDS - 6
"""The last six are "xxfake"."""
LENGTHS = [1, 2, 71, 72, 73, 144, 200, 500, 1300, 1440]
BATCHES = [[200, 130, 60, 56], [1500, 30], [1900, 1500]]


def make_model() -> torch.nn.Module:
    config = awd_lstm_clas_config.copy() | {"emb_sz": 16, "n_hid": 24, "n_layers": 2}
    model = get_text_classifier(AWD_LSTM, NUM_WORDS, 3, config=config, lin_ftrs=[10]).eval()
    with torch.no_grad():
        # fastai begins with words so near to 0 that all documents are alike.
        model[0].module.encoder.weight.normal_()
        for module in model[1].modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.02, 0.2)
                module.num_batches_tracked.fill_(7)
    return model


def logits(model: torch.nn.Module, documents: list[list[int]]) -> list[list[float]]:
    padded = Pad_Chunk()([(TensorText(torch.tensor(document)),) for document in documents])
    with torch.no_grad():
        return model(torch.stack([torch.Tensor(row[0]).long() for row in padded]))[0].tolist()


def main() -> None:
    torch.manual_seed(11)
    model = make_model()
    ids = [2, *torch.randint(2, NUM_KNOWN, (max(map(max, BATCHES)) - 1,)).tolist()]
    torch.save(model.state_dict(), HERE / "fastai_classifier.pth")
    alone = {length: logits(model, [ids[:length]])[0] for length in sorted({*LENGTHS, *chain(*BATCHES)})}
    batches = [{"lengths": each, "logits": logits(model, [ids[:n] for n in each])} for each in BATCHES]
    found = {"ids": ids, "alone": alone, "batches": batches}
    (HERE / "fastai_classifier.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
