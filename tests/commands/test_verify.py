"""A sound directory agrees with itself; whatever is changed in it is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import DamagedError, VerifyConfig


def problems_of(path: Path) -> str:
    with pytest.raises(DamagedError) as error:
        verify.run(VerifyConfig(input=str(path)))
    return str(error.value)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def copied(tokens: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tokens, tmp_path / "tokens"))


def test_what_is_as_it_was_written_agrees(tokens: str, embeddings: str, language_model: str) -> None:
    found = verify.run(VerifyConfig(input=tokens))
    assert (found["shards"], found["num_documents"], found["equal document ids"]) == (4, 200, 0)
    assert verify.run(VerifyConfig(input=embeddings))["num_tokens"] == found["num_tokens"]
    assert verify.run(VerifyConfig(input=language_model)) == {"files": 6}


Change = Callable[[Path], None]
CHANGES: list[tuple[Change, str]] = [
    (lambda path: flip_byte(path / "shards/part-0000003.arrow"), "shards/part-0000003.arrow has changed"),
    (lambda path: (path / "shards/part-0000001.arrow").unlink(), "shards/part-0000001.arrow is missing"),
    (lambda path: (path / "done/part-0000002.json").unlink(), "receipts and shards.parquet name different shards"),
    (lambda path: flip_byte(path / "shards.parquet"), "shards.parquet has changed"),
    (lambda path: edit_json(path / "manifest.json", num_documents=199), "num_documents 199, counted 200"),
    (lambda path: edit_json(path / "manifest.json", vocab_size=100), "holds ids beyond the vocabulary"),
    (lambda path: edit_json(path / "done/part-0000000.json", num_tokens=1), "its receipt says num_tokens 1, counted"),
    (lambda path: edit_json(path / "plan.json", fingerprint="x"), "plan.json is not the one"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message for _, message in CHANGES])
def test_what_has_changed_is_named(copied: Path, change: Change, message: str) -> None:
    change(copied)
    if "shards.parquet has changed" in message:
        # It may not open any more; its hash is looked at first, and that it cannot be read is a finding too.
        content = (copied / "shards.parquet").read_bytes()
        assert content
    assert message in problems_of(copied)


def test_a_vocabulary_with_another_word_is_named(copied: Path) -> None:
    vocab = json.loads((copied / "vocab.json").read_text())
    vocab["tokens"][20] += "s"
    (copied / "vocab.json").write_text(json.dumps(vocab))
    assert "vocab.json does not have the fingerprint" in problems_of(copied)


def edit_vocab(path: Path, name: str) -> None:
    content = json.loads((path / "vocab.json").read_text())
    content[name][20] += 1
    (path / "vocab.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["counts", "documents"])
def test_a_vocabulary_is_recounted_from_the_shards(copied: Path, name: str) -> None:
    edit_vocab(copied, name)
    assert f"vocab.json has wrong {name} of 1 entries: of " in problems_of(copied)


def test_a_vocabulary_that_lost_tokens_in_the_counting_is_named(copied: Path) -> None:
    edit_json(copied / "vocab.json", num_tokens=5)
    assert "vocab.json says 5 tokens, the shards have" in problems_of(copied)


def test_a_vocabulary_that_was_given_is_not_counted_here(copied: Path) -> None:
    edit_vocab(copied, "counts")
    config = json.loads((copied / "config.json").read_text())
    config["job"]["vocab"] = "another/dataset"
    (copied / "config.json").write_text(json.dumps(config))
    verify.run(VerifyConfig(input=str(copied)))


def test_a_changed_model_is_named(language_model: str, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(language_model, tmp_path / "model"))
    flip_byte(copied / "model.safetensors")
    assert "model.safetensors has changed" in problems_of(copied)
