"""Language models and retrievers that nobody trained, for tests of what is done with one; see also classifiers.py."""

from pathlib import Path

import numpy as np
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.files import save_tensors
from ulmfit_ray.model.kinds import describe
from ulmfit_ray.model.retriever import Retriever
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import write_model_directory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.vocab import Vocab

SMALL = Architecture(vocab_size=2000, embedding_dim=32, hidden_size=48, num_layers=2).without_dropout()


def untrained_model(
    place: Path, tokens: str, kind: str = "lm", direction: str = "forward", shape: Architecture = SMALL
) -> str:
    """Write a model with random weights and the vocabulary of a token dataset below `place`, and return its URI.

    A retriever weighs words by their idf, as one does before its training.
    """
    dataset = TokenDataset(tokens)
    vocab = Vocab.from_json(dataset.folder.read_json("vocab.json"))
    torch.manual_seed(0)
    model: LanguageModel | Retriever = LanguageModel(shape)
    if kind == "retriever":
        model = Retriever(("context", "words"), vocab_size=len(vocab), word_dim=64, backbone=AWDLSTM(shape))
        model.log_weights.data.copy_(torch.from_numpy(np.log(vocab.idf())))
        model.log_context_scale.data.fill_(-6)
    save_tensors(model.state_dict(), place / "weights")
    verb, pooling = ("train-retriever", "idf-mean") if kind == "retriever" else ("pretrain", "mean")
    folder = Folder(str(place / kind))
    write_model_directory(
        folder,
        job=JobRecord(verb, f"ulmfit-ray {verb} ...", {}, {}),
        model=describe(model, direction=direction, pooling=pooling, precision="float32"),
        weights=place / "weights",
        vocab=vocab.to_json(),
        tokenizer=dataset.folder.read_json("tokenizer.json"),
        tokenizer_model=None,
        log=[],
        card="",
        manifest=Manifest(job=verb, vocab=vocab.fingerprint, tokenizer=dataset.manifest.tokenizer, files={}),
    )
    return folder.uri
