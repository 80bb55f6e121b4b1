"""What the tokenize job does with documents, and files, that cannot be read."""

import gzip
import json
from pathlib import Path

import pytest
from token_datasets import documents, tokenized

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_broken_documents_are_quarantined_with_place_and_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    broken = [b'{"text": \n', b'{"text": "\xff"}\n', b'{"text": null}\n']
    lines = [b'{"text": "good"}\n', *broken, b'{"text": "also good"}']
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    manifest = tokenized(
        TokenizeConfig(input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"), max_bad_fraction=0.9)
    )
    assert manifest.counts.num_documents == 2
    assert manifest.counts.quarantined == {"invalid UTF-8": 1, "malformed JSON": 1, "null text": 1}
    rows = [json.loads(line) for line in (tmp_path / "out/quarantine/part-0000000.jsonl").read_text().splitlines()]
    assert [row["offset"] for row in rows] == [17, 27, 41]
    assert list(documents(str(tmp_path / "out"))) == ["in.jsonl#0", "in.jsonl#56"]
    assert verify.run(VerifyConfig(input=str(tmp_path / "out")))["num_quarantined"] == 3


def test_too_many_broken_documents_stop_the_job_and_nothing_looks_finished(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n' * 9 + "broken\n")
    config = TokenizeConfig(input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"))
    with pytest.raises(RuntimeError, match=r"1 of 10 documents cannot be read.*max-bad-fraction 0.01"):
        run(config)
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_damaged_compressed_file_costs_what_stands_behind_the_damage(tmp_path: Path) -> None:
    good, bad = tmp_path / "in/a.jsonl.gz", tmp_path / "in/b.jsonl.gz"
    good.parent.mkdir()
    whole = gzip.compress(b"".join(b'{"text": "some words and %d"}\n' % number for number in range(5000)))
    good.write_bytes(whole)
    bad.write_bytes(whole[: len(whole) // 2])
    output = str(tmp_path / "out")
    manifest = tokenized(TokenizeConfig(input=(str(tmp_path / "in"),), output=output))
    assert manifest.counts.quarantined == {"corrupt file": 1}
    assert 6_000 < manifest.counts.num_documents < 9_000
    (line,) = (tmp_path / "out/quarantine/part-0000000.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["path"], row["reason"], row["detail"][:9]) == ("b.jsonl.gz", "corrupt file", "EOFError:")
    assert verify.run(VerifyConfig(input=output))["num_quarantined"] == 1


def test_a_corpus_without_documents_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    with pytest.raises(ConfigError, match=r"in\.csv has a header and no rows"):
        run(TokenizeConfig(input=(str(tmp_path / "in.csv"),), output=str(tmp_path / "out"), id_column="id"))
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_which_no_document_can_be_read_is_an_error_whatever_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": null}\n')
    config = TokenizeConfig(input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"), max_bad_fraction=1.0)
    with pytest.raises(RuntimeError, match="no document that can be read"):
        run(config)
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_column_that_a_later_file_lacks_fails_that_file_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("title,text\none,two\n")
    (tmp_path / "in/b.csv").write_text("name,text\none,two\n")
    config = TokenizeConfig(
        input=(str(tmp_path / "in"),), output=str(tmp_path / "out"), text_columns=("title", "text"), min_freq=1
    )
    message = r"part-0000000 \(from .*a\.csv\): ValueError: .*b\.csv has no column title; its columns are"
    with pytest.raises(RuntimeError, match=message):
        run(config)


HOSTILE_IDS = ["../../escaped", "/escaped", "a\0b", "a\nb", "..", "shards/part-0000000.arrow", "\x1b[2J", ""]
HOSTILE_NAMES = ["a\nb.jsonl", "a..\\..\\b.jsonl", " .jsonl", "a%2e%2e%2fescaped.jsonl", "a;touch escaped.jsonl"]


def test_no_id_and_no_file_name_leads_out_of_the_output(tmp_path: Path) -> None:
    corpus, output = tmp_path / "deep/down/in", tmp_path / "deep/down/out"
    corpus.mkdir(parents=True)
    lines = "".join(json.dumps({"id": doc_id, "text": "word"}) + "\n" for doc_id in HOSTILE_IDS)
    for name in HOSTILE_NAMES:
        (corpus / name).write_text(lines + '{"id": "../escaped", "text": null}\n')
    before = {path for path in tmp_path.rglob("*") if output not in path.parents} | {output}
    config = TokenizeConfig(input=(str(corpus),), output=str(output), id_column="id", max_bad_fraction=0.5)
    manifest = tokenized(config)
    assert manifest.counts.quarantined == {"null text": len(HOSTILE_NAMES)}
    assert sorted(documents(str(output))) == sorted(set(HOSTILE_IDS))
    assert {path for path in tmp_path.rglob("*") if output not in path.parents} == before
    assert not Path("/escaped").exists()
    names = {path.name for path in output.rglob("*")}
    assert not [name for name in names if "escaped" in name or "\n" in name]
    rows = [json.loads(line) for path in (output / "quarantine").iterdir() for line in path.read_text().splitlines()]
    assert sorted(row["path"] for row in rows) == sorted(HOSTILE_NAMES)
