"""Classifiers that nobody trained, for tests of what is done with one."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.classifier import POOLING, Classifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.model.files import save_tensors
from ulmfit_ray.model.kinds import describe
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import write_model_directory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.vocab import Vocab

SENTIMENT = ClassifierHead(objective="single-label", labels=("neg", "neutral", "pos"), hidden_sizes=(7,))
TOPICS = ClassifierHead(objective="multi-label", labels=("cells", "genes", "mice", "men"), hidden_sizes=(9, 5))
RATING = ClassifierHead(objective="regression", hidden_sizes=(6,), norm="layer", has_bias=True)


def random_classifier(head: ClassifierHead, shape: Architecture, seed: int = 0) -> Classifier:
    """Return a classifier whose weights and statistics are random, and large enough to tell documents apart."""
    torch.manual_seed(seed)
    model = Classifier(AWDLSTM(shape), head)
    for name, parameter in model.named_parameters():
        if "layers" in name or "embedding" in name:
            nn.init.normal_(parameter, std=0.4)
    for module in model.head.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.01, 0.1)
    if head.objective == "multi-label":
        model.thresholds.uniform_(0.3, 0.7)
    if head.objective == "regression":
        model.target_mean.fill_(3.5)
        model.target_std.fill_(2)
    return model.eval()


def write_classifier(
    place: Path, model: Classifier, vocab: Vocab, tokenizer: dict[str, Any], *, direction: str = "forward"
) -> str:
    """Write a model directory into the folder `place`, which it makes, and return its URI."""
    place.mkdir(parents=True)
    weights, folder = place / "weights", Folder(str(place / "model"))
    save_tensors(model.state_dict(), weights)
    write_model_directory(
        folder,
        job=JobRecord("train-classifier", "ulmfit-ray train-classifier ...", {}, {}),
        model=describe(model, direction=direction, pooling=POOLING, precision="float32"),
        weights=weights,
        vocab=vocab.to_json(),
        tokenizer=tokenizer,
        tokenizer_model=None,
        log=[],
        card="",
        manifest=Manifest(
            job="train-classifier", vocab=vocab.fingerprint, tokenizer=tokenizer["fingerprint"], files={}
        ),
    )
    return folder.uri


def classifier_of(
    tokens: str, place: Path, head: ClassifierHead = SENTIMENT, *, direction: str = "forward", seed: int = 0
) -> str:
    """Write a classifier of random weights with the vocabulary and the tokenizer of a token dataset."""
    folder = TokenDataset(tokens).folder
    vocab = Vocab.from_json(folder.read_json("vocab.json"))
    shape = Architecture(vocab_size=2000, embedding_dim=32, hidden_size=48, num_layers=2).without_dropout()
    model = random_classifier(head, shape, seed)
    return write_classifier(place, model, vocab, folder.read_json("tokenizer.json"), direction=direction)
