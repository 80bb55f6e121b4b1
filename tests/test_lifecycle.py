"""What a job may write to, and how finished, failed and missing shards are told."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ulmfit_ray.config import ConfigError, OutputRun, operational
from ulmfit_ray.lifecycle import (
    STORE_LOST_SECONDS,
    Outcome,
    Tally,
    claim_output,
    output_lease,
    refuse_output_inside,
)
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Manifest, write_manifest
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.storage.store_errors import StoreLostError


@dataclass(frozen=True, kw_only=True, slots=True)
class JobConfig(OutputRun):
    """A job with one field that matters and one that does not."""

    output: str = operational()
    size: int = 1
    speed: int = operational(1)


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def receipt(shard: str, num_documents: int = 1, bad: int = 0) -> Receipt:
    return Receipt(plan="p", shard=shard, num_documents=num_documents, num_tokens=5, quarantined={"bad": bad})


def tally(max_bad_fraction: float = 1.0, before: list[Receipt] | None = None) -> Tally:
    return Tally(Bar("stage", None, "shards"), Folder("/nowhere"), before or [], max_bad_fraction)


def test_a_store_that_a_worker_gives_up_is_lost_unless_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = Outcome(shard="b", receipt=None, problem="StoreLostError: s3://a/b: all in vain")
    good = Outcome(shard="a", receipt=Receipt(plan="p", shard="a", num_documents=1, num_tokens=1))
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    counted = tally()
    clock[0] = 100.0
    counted.add(good)
    counted.add(given_up)
    clock[0] += STORE_LOST_SECONDS + 1
    counted.add(Outcome(shard="c", receipt=None, problem="ValueError: no store's fault"))
    with pytest.raises(StoreLostError, match=r"^s3://a/b: all in vain$"):
        counted.add(given_up)


def finish(outcomes: list[Outcome], missing: dict[str, str], tmp_path: Path) -> str:
    """Return the message with which a phase fails."""
    counted = tally()
    for outcome in outcomes:
        counted.add(outcome)
    with pytest.raises(RuntimeError) as error:
        counted.finish(Folder(str(tmp_path)), missing)
    return str(error.value)


def test_a_new_output_is_claimed_with_its_resolved_config(output: str) -> None:
    folder, manifest = claim_output(
        "verb", JobConfig(output=output, size=2), inputs={"tokens": "abc"}, facts={"x": [1]}
    )
    assert manifest is None
    job = read_job(folder)
    assert (job.verb, job.inputs) == ("verb", {"tokens": "abc"})
    assert job.command == f"ulmfit-ray verb --output {output} --size 2"
    assert job.config["size"] == 2
    assert job.config["x"] == [1]


def test_the_same_job_may_go_on_with_other_operational_fields(output: str) -> None:
    claim_output("verb", JobConfig(output=output))
    folder, manifest = claim_output("verb", JobConfig(output=output, speed=9))
    assert manifest is None
    write_manifest(folder, Manifest(job="verb", vocab="v", tokenizer="t", files={}))
    _, manifest = claim_output("verb", JobConfig(output=output, speed=7))
    assert manifest is not None
    assert manifest.job == "verb"


@pytest.mark.parametrize(
    ("verb", "size", "inputs", "message"),
    [
        ("other", 1, {"tokens": "abc"}, "belongs to `verb`"),
        ("verb", 2, {"tokens": "abc"}, "belongs to another config (size: 1 -> 2)"),
        ("verb", 1, {"tokens": "xyz"}, "belongs to another config (inputs.tokens: 'abc' -> 'xyz')"),
    ],
)
def test_another_job_is_refused_with_what_differs(
    output: str, verb: str, size: int, inputs: dict[str, str], message: str
) -> None:
    claim_output("verb", JobConfig(output=output), inputs={"tokens": "abc"})
    with pytest.raises(ConfigError) as error:
        claim_output(verb, JobConfig(output=output, size=size), inputs=inputs)
    assert message in str(error.value)


def test_overwriting_deletes_our_layout_and_nothing_else(output: str) -> None:
    folder, _ = claim_output("verb", JobConfig(output=output))
    for name in ("manifest.json", "shards/part-0000000.arrow", "work/done/a.json", "notes.txt"):
        folder.publish_bytes(b"{}", name)
    claim_output("verb", JobConfig(output=output, size=2, overwrite=True))
    assert folder.names() == ["config.json", "notes.txt"]


def test_a_folder_of_somebody_else_is_refused_even_with_overwrite(output: str) -> None:
    Folder(output).publish_bytes(b"mine", "notes.txt")
    with pytest.raises(ConfigError, match="is not empty and not an output"):
        claim_output("verb", JobConfig(output=output, overwrite=True))
    Folder(output).publish_json({"model_type": "another tool's"}, "config.json")
    with pytest.raises(ConfigError, match=r"config\.json that is not of ulmfit-ray"):
        claim_output("verb", JobConfig(output=output, overwrite=True))
    assert Folder(output).names() == ["config.json", "notes.txt"]


def test_a_dry_run_writes_nothing(output: str) -> None:
    claim_output("verb", JobConfig(output=output, dry_run=True))
    assert not Path(output).exists()


def leases_seen(config: JobConfig) -> list[bool]:
    with output_lease("verb", config):
        return [Folder(config.output).exists("lease.json")]


@pytest.fixture(params=["local", "bucket", "folder in a bucket"])
def place(request: pytest.FixtureRequest, output: str) -> str:
    """A place for an output: a local one, a whole bucket, and one in a bucket."""
    if request.param == "local":
        return output
    bucket = request.getfixturevalue("bucket")
    return bucket if request.param == "bucket" else f"{bucket}/out"


def test_an_output_is_leased_while_it_is_written_and_not_while_it_is_looked_at(place: str) -> None:
    assert leases_seen(JobConfig(output=place)) == [True]
    assert leases_seen(JobConfig(output=place, dry_run=True)) == [False]
    folder, _ = claim_output("verb", JobConfig(output=place))
    assert leases_seen(JobConfig(output=place)) == [True]
    write_manifest(folder, Manifest(job="verb", vocab="v", tokenizer="t", files={}))
    assert leases_seen(JobConfig(output=place)) == [False]
    assert leases_seen(JobConfig(output=place, overwrite=True)) == [True]
    assert folder.names() == ["config.json", "manifest.json"]


def test_a_lease_does_not_make_a_folder_somebody_elses_nor_ours(output: str) -> None:
    with output_lease("verb", JobConfig(output=output)):
        claim_output("verb", JobConfig(output=output))
    other = f"{output}-other"
    Folder(other).publish_bytes(b"mine", "notes.txt")
    assert leases_seen(JobConfig(output=other)) == [False]


def said_to_nobody(config: JobConfig) -> str:
    """Return the error of leasing an output as a user who owns nothing: root may write everywhere."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            if os.geteuid() == 0:
                os.setegid(65534)
                os.seteuid(65534)
            leases_seen(config)
        except ConfigError as error:
            said = str(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, encoding="utf-8") as text:
        return text.read()


def test_a_place_where_nothing_can_be_written_is_named_before_any_work(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    assert f"output {closed}/out cannot be written: " in said_to_nobody(JobConfig(output=f"{closed}/out"))
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        leases_seen(JobConfig(output=f"{file}/out"))


def test_what_a_kill_after_the_manifest_left_is_cleared(output: str) -> None:
    folder, _ = claim_output("verb", JobConfig(output=output))
    write_manifest(folder, Manifest(job="verb", vocab="v", tokenizer="t", files={}))
    folder.publish_bytes(b"", "work/part.arrow")
    claim_output("verb", JobConfig(output=output))
    assert not folder.exists("work")


def test_an_output_inside_its_input_is_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for given in (corpus, corpus / "*", corpus / "t*"):
        with pytest.raises(ConfigError, match="lies inside input"):
            refuse_output_inside(str(corpus / "tokens/new"), [str(given)])
    refuse_output_inside(str(corpus / "tokens"), [str(corpus / "*.jsonl"), str(corpus / "0.jsonl")])
    refuse_output_inside(f"{corpus}-tokens", [str(corpus)])


def test_failed_and_missing_shards_are_named_with_their_reasons(tmp_path: Path) -> None:
    failed = Outcome(shard="part-0000002", receipt=None, problem="OSError: gone")
    done = Outcome(shard="part-0000001", receipt=receipt("part-0000001"))
    message = finish([done, failed], {"part-0000002": "b.csv", "part-0000003": "c.csv"}, tmp_path)
    assert message.splitlines() == [
        f"2 units failed; tracebacks are in {tmp_path}/failed/",
        "    part-0000002 (from b.csv): OSError: gone",
        "    part-0000003 (from c.csv): no reason is known: the worker that held it was lost",
        "    Run the same command again to try them once more.",
    ]


def test_a_streamed_unit_is_not_named_again_beside_its_failed_shard(tmp_path: Path) -> None:
    failed = Outcome(shard="part-0000001-00004", receipt=None, problem="OSError: gone")
    message = finish([failed], {"part-0000001": "a.gz"}, tmp_path)
    assert message.startswith("1 units failed")
    assert "part-0000001-00004 (from a.gz): OSError: gone" in message


def test_what_failed_first_and_was_made_later_is_no_failure(tmp_path: Path) -> None:
    counted = tally()
    counted.add(Outcome(shard="part-0000001", receipt=None, problem="OSError: gone"))
    counted.add(Outcome(shard="part-0000001", receipt=receipt("part-0000001")))
    counted.finish(Folder(str(tmp_path)), {})


def test_of_many_failures_ten_are_named_and_the_others_counted(tmp_path: Path) -> None:
    message = finish([], {f"part-{number:07d}": "a.csv" for number in range(14)}, tmp_path)
    assert message.count("no reason is known") == 10
    assert "... and 4 more" in message


def test_too_many_bad_documents_end_the_phase_once_enough_were_seen(tmp_path: Path) -> None:
    counted = tally(0.01)
    counted.add(Outcome(shard="a", receipt=receipt("a", num_documents=5_000, bad=4_000)))
    with pytest.raises(RuntimeError, match=r"4,000 of 10,000 documents cannot be read, more than --max-bad-fraction"):
        counted.add(Outcome(shard="b", receipt=receipt("b", num_documents=1_000)))


def test_few_bad_documents_are_judged_at_the_end(tmp_path: Path) -> None:
    counted = tally(0.01, before=[receipt("a", num_documents=9, bad=1)])
    with pytest.raises(RuntimeError, match=r"1 of 10 documents cannot be read"):
        counted.finish(Folder(str(tmp_path)), {})
    tally(0.1, before=[receipt("a", num_documents=9, bad=1)]).finish(Folder(str(tmp_path)), {})


def test_a_config_of_a_previous_job_is_readable_json(output: str) -> None:
    claim_output("verb", JobConfig(output=output))
    content = json.loads(Path(output, "config.json").read_text())
    assert content["job"]["verb"] == "verb"
    assert content["job"]["speed"] == 1


def test_too_many_bad_documents_are_told_by_the_three_most_frequent_reasons_with_a_place(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    quarantined = {"null text": 3, "malformed JSON": 7, "null id": 1, "corrupt file": 2}
    rows = [{"path": "a.jsonl", "offset": 10 * n, "reason": r, "detail": f"why {r}"} for n, r in enumerate(quarantined)]
    folder.publish_bytes("".join(json.dumps(row) + "\n" for row in rows).encode(), "quarantine/a.jsonl")
    found = Receipt(plan="p", shard="a", num_documents=2, num_tokens=5, quarantined=quarantined)
    counted = Tally(Bar("stage", None, "shards"), folder, [found], 0.01)
    with pytest.raises(RuntimeError) as error:
        counted.finish(folder, {})
    assert str(error.value).splitlines()[1:] == [
        "    7 x malformed JSON, as in a.jsonl at byte 10: why malformed JSON",
        "    3 x null text, as in a.jsonl at byte 0: why null text",
        "    2 x corrupt file, as in a.jsonl at byte 30: why corrupt file",
    ]
