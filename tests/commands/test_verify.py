"""A sound directory agrees with itself; whatever is changed in it is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from classifiers import RATING, SENTIMENT, TOPICS

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import DamagedError, VerifyConfig
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.storage.folder import sha256_file

MakePredictions = Callable[[ClassifierHead], str]
Rewrite = Callable[[pa.Table], pa.Table]


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
    (lambda path: flip_byte(path / "census/part-0000002.parquet"), "census/part-0000002.parquet has changed"),
    (lambda path: edit_json(path / "manifest.json", num_duplicates=7), "says num_duplicates 7, counted 0"),
    (lambda path: edit_json(path / "manifest.json", document_lengths={}), "says document_lengths {}, counted {'min': "),
    (lambda path: edit_json(path / "manifest.json", num_types=5), "says 5 types, the shards have "),
    (
        lambda path: edit_json(path / "manifest.json", most_frequent_tokens={"the": 5, "unheard-of": 3}),
        "the manifest says 'the' 5 times, counted ",
    ),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message for _, message in CHANGES])
def test_what_has_changed_is_named(copied: Path, change: Change, message: str) -> None:
    change(copied)
    if "shards.parquet has changed" in message:
        # It may not open any more; its hash is looked at first, and that it cannot be read is a finding too.
        content = (copied / "shards.parquet").read_bytes()
        assert content
    assert message in problems_of(copied)


def test_a_census_of_other_documents_is_named_even_if_its_receipt_names_it(copied: Path) -> None:
    other, receipt = copied / "census/part-0000001.parquet", copied / "done/part-0000000.json"
    shutil.copy(other, copied / "census/part-0000000.parquet")
    files = json.loads(receipt.read_text())["files"]
    edit_json(receipt, files=files | {"census/part-0000000.parquet": sha256_file(other)})
    assert "census/part-0000000.parquet has other lengths than the documents of the shard" in problems_of(copied)


@pytest.mark.parametrize(("num_types", "is_possible"), [(-1, False), (0, True)])
def test_types_are_at_least_the_known_ones(copied: Path, num_types: int, is_possible: bool) -> None:
    vocab = json.loads((copied / "vocab.json").read_text())
    edit_json(copied / "manifest.json", num_types=sum(count > 0 for count in vocab["counts"]) + num_types)
    if is_possible:
        verify.run(VerifyConfig(input=str(copied)))
    else:
        assert "types, the shards have" in problems_of(copied)


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


@pytest.mark.parametrize("head", [SENTIMENT, TOPICS, RATING], ids=lambda head: head.objective)
def test_predictions_as_they_were_written_agree(make_predictions: MakePredictions, head: ClassifierHead) -> None:
    found = verify.run(VerifyConfig(input=make_predictions(head)))
    assert (found["shards"], found["num_documents"]) == (4, 200)


def replaced(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    column = pa.array([*values, *table[name].to_pylist()[len(values) :]], table.schema.field(name).type)
    return table.set_column(table.schema.names.index(name), table.schema.field(name), column)


def with_probabilities(*values: object) -> Rewrite:
    return lambda table: replaced(table, "probabilities", list(values))


def with_another_label(table: pa.Table) -> pa.Table:
    return replaced(table, "prediction", ["pos" if table["prediction"][0].as_py() != "pos" else "neg"])


def of_labels_in_another_order(table: pa.Table) -> pa.Table:
    labels = json.dumps(SENTIMENT.labels[::-1])
    return table.replace_schema_metadata(table.schema.metadata | {b"labels": labels.encode()})


REWRITES: list[tuple[ClassifierHead, Rewrite, str]] = [
    (SENTIMENT, with_probabilities([float("nan"), 0.5, 0.5]), "holds numbers that are not finite"),
    (SENTIMENT, with_probabilities([-0.5, 0.5, 1.0]), "holds probabilities that are not between 0 and 1"),
    (TOPICS, with_probabilities([0.5, 0.5, 1.1, 0]), "holds probabilities that are not between 0 and 1"),
    (SENTIMENT, with_probabilities([0.2, 0.2, 0.5999]), "holds probabilities that do not add up to 1"),
    (SENTIMENT, with_another_label, "holds predictions other than its probabilities make"),
    (TOPICS, lambda table: replaced(table, "prediction", [["men", "cells"]]), "holds predictions other than"),
    (SENTIMENT, of_labels_in_another_order, "has other labels than config.json"),
    (RATING, lambda table: replaced(table, "prediction", [float("inf")]), "holds numbers that are not finite"),
]


@pytest.mark.parametrize(("head", "rewrite", "message"), REWRITES)
def test_predictions_that_cannot_be_are_named_even_if_the_receipt_names_them(
    make_predictions: MakePredictions, tmp_path: Path, head: ClassifierHead, rewrite: Rewrite, message: str
) -> None:
    copied = Path(shutil.copytree(make_predictions(head), tmp_path / "predictions"))
    shard, receipt = copied / "shards/part-0000001.parquet", copied / "done/part-0000001.json"
    pq.write_table(rewrite(pq.read_table(shard)), shard)
    edit_json(receipt, files={"shards/part-0000001.parquet": sha256_file(shard)})
    assert f"shards/part-0000001.parquet {message}" in problems_of(copied)
