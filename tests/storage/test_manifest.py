"""What a finished output says of itself, and what a reader of an unfinished one is told."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import (
    FORMAT_VERSION,
    IncompleteDatasetError,
    Manifest,
    ShardRow,
    Totals,
    read_manifest,
    read_shards,
    write_dataset_manifest,
    write_manifest,
)
from ulmfit_ray.storage.plan import write_plan
from ulmfit_ray.storage.receipts import Receipt

MakeReceipt = Callable[..., Receipt]
Commit = Callable[..., Receipt]

TOTALS = Totals(num_shards=2, num_documents=5, num_tokens=70, num_quarantined=7, quarantined={"null text": 7})
DATA_SET = Manifest(
    job="tokenize",
    vocab="v",
    tokenizer="t",
    files={"shards.parquet": "00"},
    plan="p",
    totals=TOTALS,
    figures={"vocab_size": 60_000},
)
EMBEDDINGS = replace(DATA_SET, job="embed", model="m", pooling="concat", figures={"tokens_per_second": 1.5})
MODEL = Manifest(
    job="pretrain",
    vocab="v",
    tokenizer="t",
    files={"model.safetensors": "00"},
    figures={"perplexity": 30.5, "precision": "bf16", "num_steps": 9},
)


@pytest.mark.parametrize("manifest", [DATA_SET, EMBEDDINGS, MODEL], ids=lambda manifest: manifest.job)
def test_json_gives_the_manifest_back(manifest: Manifest) -> None:
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_totals_and_figures_stand_beside_the_other_fields_on_disk(folder: Folder) -> None:
    write_manifest(folder, DATA_SET)
    assert folder.read_json("manifest.json") == {
        "job": "tokenize",
        "vocab": "v",
        "tokenizer": "t",
        "files": {"shards.parquet": "00"},
        "plan": "p",
        "format_version": FORMAT_VERSION,
        "num_shards": 2,
        "num_documents": 5,
        "num_tokens": 70,
        "num_quarantined": 7,
        "quarantined": {"null text": 7},
        "vocab_size": 60_000,
    }


def test_what_a_model_does_not_have_is_not_in_its_manifest(folder: Folder) -> None:
    write_manifest(folder, MODEL)
    names = {"job", "vocab", "tokenizer", "files", "format_version", "perplexity", "precision", "num_steps"}
    assert set(folder.read_json("manifest.json")) == names


def test_only_data_sets_have_counts() -> None:
    assert DATA_SET.counts == TOTALS
    with pytest.raises(AssertionError, match="an output of pretrain has no shards"):
        _ = MODEL.counts


def test_totals_are_the_receipts_added_up(make_receipt: MakeReceipt) -> None:
    found = [
        make_receipt("a", num_documents=2, num_tokens=30, quarantined={"null text": 1}),
        make_receipt("b", num_documents=3, num_tokens=40, quarantined={"malformed JSON": 2, "null text": 4}),
    ]
    totals = asdict(Totals.of(found))
    assert totals == {
        "num_shards": 2,
        "num_documents": 5,
        "num_tokens": 70,
        "num_quarantined": 7,
        "quarantined": {"malformed JSON": 2, "null text": 5},
    }
    assert list(totals["quarantined"]) == ["malformed JSON", "null text"]
    assert Totals.of(iter(found)) == Totals.of(found)


def test_a_manifest_names_its_shards_in_order_with_their_figures_and_hashes(
    folder: Folder, make_receipt: MakeReceipt
) -> None:
    found = [
        make_receipt(
            f"part-000000{number}", num_tokens=number, files={f"shards/part-000000{number}.arrow": f"hash{number}"}
        )
        for number in (2, 0, 1)
    ]
    given = Manifest(job="tokenize", vocab="v", tokenizer="t", plan="plan", files={})
    manifest = write_dataset_manifest(folder, found, "arrow", given)
    assert read_manifest(folder, ["tokenize"]) == manifest
    assert (manifest.counts.num_shards, manifest.counts.num_tokens) == (3, 3)
    assert (manifest.plan, manifest.vocab) == ("plan", "v")
    assert manifest.files == {"shards.parquet": folder.sha256("shards.parquet")}
    rows = read_shards(folder)
    assert [(row.shard, row.num_tokens, row.sha256) for row in rows] == [
        (f"part-000000{number}", number, f"hash{number}") for number in (0, 1, 2)
    ]
    assert rows[1].file == "shards/part-0000001.arrow"


def test_files_that_no_receipt_names_stand_beside_the_table_of_shards(folder: Folder) -> None:
    manifest = write_dataset_manifest(folder, [], "arrow", replace(DATA_SET, files={"vocab.json": "00"}))
    assert manifest.files == {"vocab.json": "00", "shards.parquet": folder.sha256("shards.parquet")}


def test_a_data_set_without_shards_is_complete_too(folder: Folder) -> None:
    manifest = write_dataset_manifest(folder, [], "arrow", replace(DATA_SET, totals=None))
    assert read_manifest(folder) == manifest
    assert (manifest.counts.num_shards, manifest.counts.quarantined) == (0, {})
    assert read_shards(folder) == []


def test_the_row_of_a_shard_has_its_receipts_figures(folder: Folder, make_receipt: MakeReceipt) -> None:
    receipt = make_receipt(
        "a",
        quarantined={"null text": 3, "malformed row": 1},
        num_bytes=9,
        seconds=1.5,
        files={"quarantine/a.jsonl": "11", "shards/a.parquet": "22"},
    )
    write_dataset_manifest(folder, [receipt], "parquet", EMBEDDINGS)
    assert read_shards(folder) == [ShardRow("a", 2, 30, 4, 9, 1.5, "shards/a.parquet", "22")]


def test_a_directory_that_is_not_ours_is_named(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError, match="output is not an output of ulmfit-ray"):
        read_manifest(folder)


def test_an_unfinished_directory_is_refused_with_counts_and_the_command(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit
) -> None:
    folder.publish_json({"job": {"verb": "tokenize", "command": "ulmfit-ray tokenize --input a"}}, "config.json")
    with pytest.raises(IncompleteDatasetError, match="nothing is planned yet"):
        read_manifest(folder)
    plan = write_plan(folder, pa.table({"unit": [0, 1, 2], "streamed": [False, False, False]}), identity={})
    commit(make_receipt("part-0000001", plan=plan.fingerprint))
    commit(make_receipt("part-0000002", plan="another"))
    with pytest.raises(IncompleteDatasetError) as error:
        read_manifest(folder)
    assert "tokenize job has not finished (1 of 3 units done, 2 missing)" in str(error.value)
    assert str(error.value).endswith("to finish it: ulmfit-ray tokenize --input a")
    assert len(str(error.value).splitlines()) == 2


def test_an_unfinished_directory_made_from_shards_counts_them(
    folder: Folder, make_receipt: MakeReceipt, commit: Commit
) -> None:
    folder.publish_json({"job": {"verb": "embed", "command": "ulmfit-ray embed"}}, "config.json")
    plan = write_plan(folder, pa.table({"shard": ["part-0000000", "part-0000001-00000"]}), identity={})
    commit(make_receipt("part-0000001-00000", plan=plan.fingerprint))
    with pytest.raises(IncompleteDatasetError, match=r"embed job has not finished \(1 of 2 units done, 1 missing\)"):
        read_manifest(folder)


def test_an_unfinished_training_run_names_its_newest_checkpoint(folder: Folder) -> None:
    folder.publish_json({"job": {"verb": "pretrain", "command": "ulmfit-ray pretrain"}}, "config.json")
    folder.publish_bytes(b"", "checkpoints/step-0000020/state.safetensors")
    with pytest.raises(IncompleteDatasetError, match=r"pretrain job has not finished \(no checkpoint yet\)"):
        read_manifest(folder)
    content = {"step": 10, "is_last": False, "world_size": 1, "files": {}}
    folder.publish_json(content, "checkpoints/step-0000010/checkpoint.json")
    with pytest.raises(IncompleteDatasetError, match=r"its newest checkpoint is of step 10\)"):
        read_manifest(folder)


def test_a_folder_with_somebody_elses_config_is_no_output_of_ours(folder: Folder) -> None:
    folder.publish_json({"architectures": ["BertModel"]}, "config.json")
    with pytest.raises(FileNotFoundError, match="is not an output of ulmfit-ray"):
        read_manifest(folder)


def test_the_output_of_another_job_is_refused(folder: Folder) -> None:
    write_manifest(folder, EMBEDDINGS)
    with pytest.raises(ValueError, match="is an output of `embed`; needed is one of `pretrain`, `train-retriever`"):
        read_manifest(folder, ["pretrain", "train-retriever"])
    assert read_manifest(folder).job == "embed"


def test_the_output_of_a_newer_version_is_refused(folder: Folder) -> None:
    folder.publish_json({"format_version": FORMAT_VERSION + 1, "job": "embed"}, "manifest.json")
    with pytest.raises(ValueError, match="newer version of ulmfit-ray: upgrade"):
        read_manifest(folder)
