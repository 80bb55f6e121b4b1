"""What is done, what is missing, and what a reader is told about it."""

from dataclasses import asdict

import pyarrow as pa
import pytest

from ulmfit_ray.corpus.listing import InputFile
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import (
    FORMAT_VERSION,
    IncompleteDatasetError,
    read_manifest,
    read_shards,
    write_dataset_manifest,
    write_manifest,
)
from ulmfit_ray.storage.plan import Piece, Plan, Unit, cut_into_units, text_plan_table, write_plan
from ulmfit_ray.storage.receipts import Receipt, add_up, num_missing, pending_units, read_receipts, shards_of


def receipt(shard: str, plan: str = "plan", last: bool | None = None, **facts: object) -> Receipt:
    return Receipt(plan=plan, shard=shard, last=last, **({"num_documents": 2, "num_tokens": 30} | facts))  # type: ignore[arg-type]


def receipts(*some: Receipt) -> dict[str, Receipt]:
    return {one.shard: one for one in some}


def unit(number: int, streamed: bool = False) -> Unit:
    return Unit(number, (Piece("a", "a", 0, 1),), streamed)


def test_a_receipt_is_read_back_as_it_was_committed(folder: Folder) -> None:
    written = receipt("part-0000001", quarantined={"null text": 3}, files={"shards/x": "00"}, seconds=1.5, num_bytes=9)
    written.commit(folder)
    assert read_receipts(folder, "plan") == {"part-0000001": written}
    assert written.num_quarantined == 3


def test_receipts_of_another_plan_are_as_good_as_none(folder: Folder) -> None:
    receipt("part-0000001", plan="another").commit(folder)
    receipt("part-0000002").commit(folder)
    assert list(read_receipts(folder, "plan")) == ["part-0000002"]
    assert list(read_receipts(folder, "another")) == ["part-0000001"]


def test_each_phase_has_receipts_of_its_own(folder: Folder) -> None:
    receipt("part-0000001").commit(folder, "work/done")
    assert read_receipts(folder, "plan") == {}
    assert list(read_receipts(folder, "plan", "work/done")) == ["part-0000001"]


def test_a_unit_is_complete_with_its_receipt() -> None:
    assert shards_of(unit(1), receipts(receipt("part-0000001"))) == ["part-0000001"]
    assert shards_of(unit(2), receipts(receipt("part-0000001"))) is None


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([(0, False), (1, False), (2, True)], 3),
        ([(0, True)], 1),
        ([(0, False), (1, False)], None),
        ([(0, False), (2, True)], None),
        ([(1, False), (2, True)], None),
        ([], None),
    ],
)
def test_a_streamed_unit_is_complete_only_with_all_shards_up_to_the_last(
    there: list[tuple[int, bool]], expected: int | None
) -> None:
    found = receipts(*(receipt(f"part-0000004-{part:05d}", last=last) for part, last in there))
    shards = shards_of(unit(4, streamed=True), found)
    assert (None if shards is None else len(shards)) == expected


def test_pending_units_are_those_that_are_not_complete() -> None:
    units = [unit(0), unit(1), unit(2, streamed=True), unit(3, streamed=True)]
    found = receipts(
        receipt("part-0000001"), receipt("part-0000002-00000", last=True), receipt("part-0000003-00000", last=False)
    )
    assert pending_units(units, found) == [units[0], units[3]]


def test_missing_units_are_counted_for_plans_of_text_and_of_shards() -> None:
    files = [InputFile(name, name, 5, "0") for name in ("a.csv", "b.csv", "c.csv")]
    text_plan = Plan({}, text_plan_table(cut_into_units(files, "csv"), files))
    assert num_missing(text_plan, receipts(receipt("part-0000001-00000", last=True))) == (2, 3)
    shard_plan = Plan({}, pa.table({"shard": ["part-0000000", "part-0000001-00000"]}))
    assert num_missing(shard_plan, receipts(receipt("part-0000001-00000"))) == (1, 2)


def test_totals_are_the_receipts_added_up() -> None:
    found = [
        receipt("a", num_documents=2, num_tokens=30, quarantined={"null text": 1}),
        receipt("b", num_documents=3, num_tokens=40, quarantined={"malformed JSON": 2, "null text": 4}),
    ]
    assert add_up(found) == {
        "num_shards": 2,
        "num_documents": 5,
        "num_tokens": 70,
        "num_quarantined": 7,
        "quarantined": {"malformed JSON": 2, "null text": 5},
    }


def test_a_manifest_names_its_shards_in_order_with_their_figures_and_hashes(folder: Folder) -> None:
    found = [
        receipt(f"part-000000{number}", num_tokens=number, files={f"shards/part-000000{number}.arrow": f"hash{number}"})
        for number in (2, 0, 1)
    ]
    manifest = write_dataset_manifest(folder, "tokenize", found, "arrow", {"vocab": "v"})
    assert read_manifest(folder, ["tokenize"]) == manifest
    assert (manifest["num_shards"], manifest["num_tokens"], manifest["plan"], manifest["vocab"]) == (3, 3, "plan", "v")
    assert manifest["files"] == {"shards.parquet": folder.sha256("shards.parquet")}
    rows = read_shards(folder)
    assert [(row["shard"], row["num_tokens"], row["sha256"]) for row in rows] == [
        (f"part-000000{number}", number, f"hash{number}") for number in (0, 1, 2)
    ]
    assert rows[1]["file"] == "shards/part-0000001.arrow"


def test_a_directory_that_is_not_ours_is_named(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError, match="output is not an output of ulmfit-ray"):
        read_manifest(folder)


def test_an_unfinished_directory_is_refused_with_counts_and_the_command(folder: Folder) -> None:
    folder.publish_json({"job": {"verb": "tokenize", "command": "ulmfit-ray tokenize --input a"}}, "config.json")
    with pytest.raises(IncompleteDatasetError, match="nothing is planned yet"):
        read_manifest(folder)
    files = [InputFile(name, name, 5, "0") for name in ("a", "b", "c")]
    plan = write_plan(folder, text_plan_table(cut_into_units(files, "lines"), files), {"identity": {}})
    receipt("part-0000001", plan=plan.fingerprint).commit(folder)
    receipt("part-0000002", plan="another").commit(folder)
    with pytest.raises(IncompleteDatasetError) as error:
        read_manifest(folder)
    assert "tokenize job has not finished (1 of 3 units done, 2 missing)" in str(error.value)
    assert str(error.value).endswith("to finish it: ulmfit-ray tokenize --input a")
    assert len(str(error.value).splitlines()) == 2


def test_an_unfinished_training_run_names_its_newest_checkpoint(folder: Folder) -> None:
    folder.publish_json({"job": {"verb": "pretrain", "command": "ulmfit-ray pretrain"}}, "config.json")
    folder.publish_bytes(b"", "checkpoints/step-0000020/state.safetensors")
    with pytest.raises(IncompleteDatasetError, match=r"pretrain job has not finished \(no checkpoint yet\)"):
        read_manifest(folder)
    folder.publish_json({"step": 10, "files": {}}, "checkpoints/step-0000010/checkpoint.json")
    with pytest.raises(IncompleteDatasetError, match=r"its newest checkpoint is of step 10\)"):
        read_manifest(folder)


def test_a_folder_with_somebody_elses_config_is_no_output_of_ours(folder: Folder) -> None:
    folder.publish_json({"architectures": ["BertModel"]}, "config.json")
    with pytest.raises(FileNotFoundError, match="is not an output of ulmfit-ray"):
        read_manifest(folder)


def test_the_output_of_another_job_is_refused(folder: Folder) -> None:
    write_manifest(folder, "embed", {}, {})
    with pytest.raises(ValueError, match="is an output of `embed`; needed is one of `pretrain`, `train-retriever`"):
        read_manifest(folder, ["pretrain", "train-retriever"])
    assert read_manifest(folder)["job"] == "embed"


def test_the_output_of_a_newer_version_is_refused(folder: Folder) -> None:
    folder.publish_json({"format_version": FORMAT_VERSION + 1, "job": "embed"}, "manifest.json")
    with pytest.raises(ValueError, match="newer version of ulmfit-ray: upgrade"):
        read_manifest(folder)


def test_a_receipt_holds_nothing_that_json_changes() -> None:
    assert Receipt(**asdict(receipt("a", last=True))) == receipt("a", last=True)
