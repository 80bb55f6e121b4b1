"""A model directory is everything needed to use a model, and is refused while it is not."""

from pathlib import Path

import pytest

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.job_record import JobRecord, read_job
from ulmfit_ray.storage.manifest import IncompleteDatasetError, Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory, write_model_directory

MODEL = ModelDescription(
    kind="lm",
    direction="forward",
    pooling="mean",
    dimension=400,
    architecture=Architecture(vocab_size=60_000),
    precision="float32",
)


def write(folder: Folder, tmp_path: Path, verb: str = "pretrain", tokenizer_model: bytes | None = None) -> Manifest:
    (tmp_path / "weights").write_bytes(b"weights")
    return write_model_directory(
        folder,
        job=JobRecord(verb, "ulmfit-ray pretrain", {"output": "lm"}, {"tokens": "00"}),
        model=MODEL,
        weights=tmp_path / "weights",
        vocab={"tokens": ["xxunk"]},
        tokenizer={"kind": "spacy"},
        tokenizer_model=tokenizer_model,
        log=[{"step": 1}, {"step": 2}],
        card="# A model\n",
        manifest=Manifest(job=verb, vocab="v" * 64, tokenizer="t" * 64, files={}, figures={"perplexity": 30.5}),
    )


def test_everything_that_was_written_is_read_back(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path)
    directory = ModelDirectory(folder.uri)
    assert directory.manifest == manifest
    assert (directory.description, directory.vocab) == (MODEL, {"tokens": ["xxunk"]})
    assert (directory.tokenizer, read_job(directory.folder).verb) == ({"kind": "spacy"}, "pretrain")
    assert directory.manifest.vocab == "v" * 64
    with directory.weights() as path:
        assert directory.fingerprint == sha256_file(path)
    assert folder.read_bytes("training_log.jsonl") == b'{"step": 1}\n{"step": 2}\n'
    assert folder.read_bytes("README.md") == b"# A model\n"


def test_the_manifest_has_the_hash_of_every_other_file(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path)
    assert manifest.files == {name: folder.sha256(name) for name in folder.names() if name != "manifest.json"}
    assert len(manifest.files) == 6


def test_a_tokenizers_own_model_is_kept_beside_it_and_hashed(folder: Folder, tmp_path: Path) -> None:
    manifest = write(folder, tmp_path, tokenizer_model=b"pieces")
    assert ModelDirectory(folder.uri).tokenizer_model == b"pieces"
    assert manifest.files["tokenizer.model"] == folder.sha256("tokenizer.model")
    write(Folder(f"{folder.uri}2"), tmp_path)
    assert ModelDirectory(f"{folder.uri}2").tokenizer_model is None


def test_the_manifest_is_published_last(folder: Folder, tmp_path: Path, published: list[str]) -> None:
    write(folder, tmp_path)
    assert sorted(published) == folder.names()
    assert published[-1] == "manifest.json"


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
