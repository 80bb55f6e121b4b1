"""The model directory: everything needed to use a model, nothing pickled, the manifest last."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ulmfit_ray.model.description import ClassifierHead, ModelDescription
from ulmfit_ray.storage.cache import local_file
from ulmfit_ray.storage.folder import Folder, to_json_bytes
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, read_manifest, write_manifest

JOBS = ("pretrain", "finetune", "train-retriever", "train-classifier", "import-fastai")
WEIGHTS = "model.safetensors"
LogRow = dict[str, float]
"""One row of training_log.jsonl: step, epoch, and what was measured there."""


def read_tokenizer_model(folder: Folder) -> bytes | None:
    """Return the trained model of a tokenizer that has one, which lies beside tokenizer.json; else None."""
    return folder.read_bytes("tokenizer.model") if folder.exists("tokenizer.model") else None


class ModelDirectory:
    """A finished model directory, opened for reading.

    Raises:
        FileNotFoundError, IncompleteDatasetError, ValueError: see `read_manifest`.
    """

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)
        self.manifest = read_manifest(self.folder, JOBS)
        self.description = ModelDescription.from_json(self.folder.read_json("config.json")["model"])
        self.vocab: dict[str, Any] = self.folder.read_json("vocab.json")
        """Content of vocab.json: see text.vocab.Vocab."""
        self.tokenizer: dict[str, Any] = self.folder.read_json("tokenizer.json")
        """Content of tokenizer.json: see text.tokenizers.kinds."""
        self.tokenizer_model = read_tokenizer_model(self.folder)

    @property
    def fingerprint(self) -> str:
        """Return a SHA-256 of the weights and of what they mean: the direction of reading, the pooling, the labels."""
        head = self.description.head
        meaning = {
            "weights": self.manifest.files[WEIGHTS],
            "direction": self.description.direction,
            "pooling": self.description.pooling,
            "objective": head.objective if head else "",
            "labels": head.labels if head else (),
        }
        return hashlib.sha256(to_json_bytes(meaning)).hexdigest()

    def check_tokens(self, vocab_fingerprint: str, tokens_uri: str, *, or_text: bool = False) -> None:
        """Raise ValueError if token ids of another vocabulary are about to be fed to this model.

        `or_text`: raw text would do instead of tokens.
        """
        if vocab_fingerprint != self.manifest.vocab:
            other = ", or give the raw text" if or_text else ""
            raise ValueError(
                f"the vocabulary of {tokens_uri} ({vocab_fingerprint[:12]}) does not fit model {self.folder.uri}"
                f" ({self.manifest.vocab[:12]}):\n"
                f"    tokenize the text with the model's vocabulary: ulmfit-ray tokenize ... --vocab {self.folder.uri}"
                f"{other}"
            )

    @contextmanager
    def weights(self) -> Iterator[Path]:
        """Give the weights as a local file: a model in an object store is fetched once to each node (see cache.py)."""
        with ExitStack() as stack:
            path = stack.enter_context(local_file(self.folder, WEIGHTS, self.manifest.files[WEIGHTS]))
            yield path or stack.enter_context(self.folder.local_files([WEIGHTS])) / WEIGHTS


def common_head(directories: Sequence[ModelDirectory]) -> ClassifierHead:
    """Return the head of the first of these classifiers; all have its objective and labels.

    Raises:
        ValueError: one is no classifier, or differs from the first in objective or labels.
    """
    heads = []
    for directory in directories:
        if directory.description.head is None:
            raise ValueError(
                f"model {directory.folder.uri} is no classifier, but of kind {directory.description.kind}:"
                " `ulmfit-ray train-classifier` makes one"
            )
        heads.append(directory.description.head)
    for directory, head in zip(directories, heads, strict=True):
        difference = _first_difference(heads[0], head)
        if difference:
            raise ValueError(
                f"models {directories[0].folder.uri} and {directory.folder.uri} cannot predict together: {difference}"
            )
    return heads[0]


def _first_difference(first: ClassifierHead, other: ClassifierHead) -> str:
    """Return in which objective or label two heads differ ("" if in none)."""
    if first.objective != other.objective:
        return f"the first is for {first.objective}, the second for {other.objective}"
    for number, names in enumerate(zip_longest(first.labels, other.labels)):
        if names[0] != names[1]:
            one, two = ("missing" if name is None else repr(name) for name in names)
            return f"label {number} is {one} in the first and {two} in the second"
    return ""


def write_model_directory(
    folder: Folder,
    *,
    job: JobRecord,
    model: ModelDescription,
    weights: Path,
    vocab: dict[str, Any],
    tokenizer: dict[str, Any],
    tokenizer_model: bytes | None,
    log: list[LogRow],
    curves: bytes | None = None,
    card: str,
    manifest: Manifest,
) -> Manifest:
    """Publish all files of a model, the manifest with their hashes last, and return the manifest.

    `curves` is a picture of the training, PNG.
    """
    lines = "".join(json.dumps(row) + "\n" for row in log)
    folder.publish(weights, WEIGHTS)
    small = {
        "config.json": to_json_bytes({"job": job.to_json(), "model": model.to_json()}),
        "vocab.json": to_json_bytes(vocab),
        "tokenizer.json": to_json_bytes(tokenizer),
        **({} if tokenizer_model is None else {"tokenizer.model": tokenizer_model}),
        "training_log.jsonl": lines.encode(),
        **({} if curves is None else {"curves.png": curves}),
        "README.md": card.encode(),
    }
    for name, content in small.items():
        folder.publish_bytes(content, name)
    files = {name: folder.sha256(name) for name in (WEIGHTS, *small)}
    return write_manifest(folder, replace(manifest, files=files))
