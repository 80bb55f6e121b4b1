"""The model directory: everything needed to use a model, nothing pickled, the manifest last."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ulmfit_ray.storage.folder import Folder, scratch_directory, to_json_bytes
from ulmfit_ray.storage.manifest import read_manifest, write_manifest

JOBS = ("pretrain", "train-retriever")


class ModelDirectory:
    """A finished model directory, opened for reading.

    Raises:
        FileNotFoundError, IncompleteDatasetError, ValueError: see `read_manifest`.
    """

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)
        self.manifest = read_manifest(self.folder, JOBS)
        config = self.folder.read_json("config.json")
        self.job: dict[str, Any] = config["job"]
        self.model: dict[str, Any] = config["model"]
        self.vocab: dict[str, Any] = self.folder.read_json("vocab.json")
        self.tokenizer: dict[str, Any] = self.folder.read_json("tokenizer.json")

    @property
    def vocab_fingerprint(self) -> str:
        """Return the fingerprint of the vocabulary that the model's ids belong to."""
        return str(self.manifest["vocab"])

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the weights."""
        return str(self.manifest["files"]["model.safetensors"])

    def check_tokens(self, vocab_fingerprint: str, tokens_uri: str) -> None:
        """Raise ValueError if token ids of another vocabulary are about to be fed to this model."""
        if vocab_fingerprint != self.vocab_fingerprint:
            raise ValueError(
                f"the vocabulary of {tokens_uri} ({vocab_fingerprint[:12]}) does not fit model {self.folder.uri}"
                f" ({self.vocab_fingerprint[:12]}):\n"
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
    job: dict[str, Any],
    model: dict[str, Any],
    weights: Path,
    vocab: dict[str, Any],
    tokenizer: dict[str, Any],
    log: list[dict[str, Any]],
    card: str,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Publish all files of a trained model, the manifest last, and return it."""
    lines = "".join(json.dumps(row) + "\n" for row in log)
    folder.publish(weights, "model.safetensors")
    small = {
        "config.json": to_json_bytes({"job": job, "model": model}),
        "vocab.json": to_json_bytes(vocab),
        "tokenizer.json": to_json_bytes(tokenizer),
        "training_log.jsonl": lines.encode(),
        "README.md": card.encode(),
    }
    for name, content in small.items():
        folder.publish_bytes(content, name)
    files = {name: folder.sha256(name) for name in ("model.safetensors", *small)}
    return write_manifest(folder, job["verb"], facts, files)
