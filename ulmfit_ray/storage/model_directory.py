"""The model directory: everything needed to use a model, nothing pickled, the manifest last."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.storage.folder import Folder, scratch_directory, to_json_bytes
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import Manifest, read_manifest, write_manifest

JOBS = ("pretrain", "finetune", "train-retriever", "import-fastai")
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
        """Return the SHA-256 of the weights."""
        return self.manifest.files["model.safetensors"]

    def check_tokens(self, vocab_fingerprint: str, tokens_uri: str) -> None:
        """Raise ValueError if token ids of another vocabulary are about to be fed to this model."""
        if vocab_fingerprint != self.manifest.vocab:
            raise ValueError(
                f"the vocabulary of {tokens_uri} ({vocab_fingerprint[:12]}) does not fit model {self.folder.uri}"
                f" ({self.manifest.vocab[:12]}):\n"
                f"    tokenize the text with the model's vocabulary: ulmfit-ray tokenize ... --vocab {self.folder.uri}"
            )

    @contextmanager
    def weights(self) -> Iterator[Path]:
        """Give the weights as a local file."""
        if self.folder.is_local:
            yield Path(self.folder.path("model.safetensors"))
            return
        with scratch_directory() as scratch:
            (scratch / "model.safetensors").write_bytes(self.folder.read_bytes("model.safetensors"))
            yield scratch / "model.safetensors"


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
    folder.publish(weights, "model.safetensors")
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
    files = {name: folder.sha256(name) for name in ("model.safetensors", *small)}
    return write_manifest(folder, replace(manifest, files=files))
