"""A trial on the first documents: what the command makes of it, and what it says."""

import gzip
import json
from pathlib import Path

import pytest

from ulmfit_ray.cli import main
from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import claim_output
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.token_dataset import TokenDataset


@pytest.fixture
def corpus(abstracts: list[dict[str, str]], tmp_path: Path) -> Path:
    """200 abstracts, seven times over, in each of three files; every hundredth line is broken."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl"):
        lines = [json.dumps({"text": row["text"]}) for row in abstracts * 7]
        lines[100::100] = ["broken"] * len(lines[100::100])
        content = "\n".join(lines).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return folder


def tokenized(corpus: Path, output: Path, limit: int) -> Manifest:
    manifest = run(TokenizeConfig(input=(str(corpus),), output=str(output), limit=limit, min_freq=1))
    assert manifest is not None
    return manifest


def documents(output: Path) -> list[tuple[str, list[str]]]:
    dataset = TokenDataset(str(output))
    itos = dataset.folder.read_json("vocab.json")["tokens"]
    return [
        (row["doc_id"], [itos[token] for token in row["tokens"]])
        for table in dataset.tables()
        for row in table.to_pylist()
    ]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_trial_has_the_first_documents_of_the_whole_in_the_same_shards(corpus: Path, tmp_path: Path) -> None:
    tokenized(corpus, tmp_path / "whole", 0)
    whole = documents(tmp_path / "whole")
    for limit, num_files in ((150, 1), (2222, 2)):
        output = tmp_path / str(limit)
        counts = tokenized(corpus, output, limit).counts
        assert counts.num_documents + counts.num_quarantined == limit
        assert documents(output) == whole[: counts.num_documents]
        shards = [row.shard for row in TokenDataset(str(output)).shards]
        assert shards == [row.shard for row in TokenDataset(str(tmp_path / "whole")).shards][: len(shards)]
        assert verify.run(VerifyConfig(input=str(output)))["num_documents"] == counts.num_documents
        assert json.loads((output / "plan.json").read_text())["corpus"]["num_files"] == num_files


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_trial_that_was_stopped_goes_on_with_its_plan(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tokenized(corpus, tmp_path / "out", 150)
    (tmp_path / "out/manifest.json").unlink()
    (corpus / "0.jsonl").write_text('{"text": "added in front"}')
    assert tokenized(corpus, tmp_path / "out", 150).counts == first.counts
    # Files that the trial does not need were never part of it.
    assert "left out" not in capsys.readouterr().out


def test_a_dry_run_says_how_much_of_the_corpus_is_needed(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tokenize", "--input", str(corpus), "--output", str(tmp_path / "out"), "--dry-run"]
    assert main([*arguments, "--limit", "1500"]) == 0
    assert "plan: the first 1,500 documents, of 2 files in 3 units, 0 shards written" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "plan: 3 files in 5 units, 0 shards written" in capsys.readouterr().out


def test_another_limit_is_another_dataset_and_a_negative_one_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--limit must not be negative"):
        TokenizeConfig(input=(str(corpus),), output=str(tmp_path / "out"), limit=-1)
    claim_output("tokenize", TokenizeConfig(input=(str(corpus),), output=str(tmp_path / "out"), limit=5))
    with pytest.raises(ConfigError, match="limit: 5 -> 6"):
        run(TokenizeConfig(input=(str(corpus),), output=str(tmp_path / "out"), limit=6))
