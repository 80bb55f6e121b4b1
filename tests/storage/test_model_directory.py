"""A model directory is everything needed to use a model, and is refused while it is not."""

from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.manifest import IncompleteDatasetError
from ulmfit_ray.storage.model_directory import ModelDirectory, write_model_directory


def write(folder: Folder, tmp_path: Path, verb: str = "pretrain") -> dict[str, Any]:
    (tmp_path / "weights").write_bytes(b"weights")
    return write_model_directory(
        folder,
        job={"verb": verb, "command": "ulmfit-ray pretrain"},
        model={"kind": "lm"},
        weights=tmp_path / "weights",
        vocab={"tokens": ["xxunk"]},
        tokenizer={"kind": "spacy"},
        log=[{"step": 1}, {"step": 2}],
        card="# A model\n",
        facts={"vocab": "v" * 64, "perplexity": 30.5},
    )


def test_everything_that_was_written_is_read_back(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    assert directory.manifest == manifest
    assert (directory.model, directory.vocab) == ({"kind": "lm"}, {"tokens": ["xxunk"]})
    assert (directory.tokenizer, directory.job["verb"]) == ({"kind": "spacy"}, "pretrain")
    assert directory.vocab_fingerprint == "v" * 64
    with directory.weights() as path:
        assert directory.fingerprint == sha256_file(path)
    assert folder.read_bytes("training_log.jsonl") == b'{"step": 1}\n{"step": 2}\n'


def test_the_manifest_has_the_hash_of_every_other_file(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path)
    assert manifest["files"] == {name: folder.sha256(name) for name in folder.names() if name != "manifest.json"}
    assert len(manifest["files"]) == 6


def test_weights_of_another_place_are_given_as_a_local_file(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    directory.folder.is_local = False
    with directory.weights() as path:
        assert path.read_bytes() == b"weights"
        assert str(path) != folder.path("model.safetensors")
    assert not path.exists()


def test_a_directory_whose_training_has_not_finished_is_refused(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path)
    folder.delete("manifest.json")
    with pytest.raises(IncompleteDatasetError, match="pretrain job has not finished"):
        ModelDirectory(folder.uri)


def test_the_output_of_another_job_is_no_model(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path, verb="tokenize")
    with pytest.raises(ValueError, match="is an output of `tokenize`; needed is one of `pretrain`"):
        ModelDirectory(folder.uri)


def test_tokens_of_another_vocabulary_are_refused_with_the_way_out(folder: Folder, tmp_path: Path) -> None:
    write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    directory.check_tokens("v" * 64, "tokens")
    with pytest.raises(
        ValueError, match=r"vocabulary of tokens \(wwwwwwwwwwww\) does not fit .*\n.*tokenize \.\.\. --vocab"
    ):
        directory.check_tokens("w" * 64, "tokens")
