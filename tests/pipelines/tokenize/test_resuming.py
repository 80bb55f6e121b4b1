"""The tokenize job run again over what is there: gone on with, left alone, cleared away or refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from token_datasets import shard_hashes, tokenized

from ulmfit_ray.config import ConfigError
from ulmfit_ray.lifecycle import LAYOUT, claim_output
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.manifest import IncompleteDatasetError
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.text.tokenizers.kinds import make_tokenizer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_lost_shards_are_made_again_with_the_same_bytes(tokens: str, corpus: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "tokens")
    shutil.copytree(tokens, output)
    before = shard_hashes(output)
    for name in ("manifest.json", "done/part-0000001.json", "shards/part-0000001.arrow", "vocab.json"):
        Path(output, name).unlink()
    Path(output, "shards/part-0000002.arrow").write_bytes(b"half a shard")
    Path(output, "done/part-0000002.json").unlink()
    with pytest.raises(IncompleteDatasetError, match=r"2 of 4 units done, 2 missing.*\n.*ulmfit-ray tokenize --input"):
        TokenDataset(output)
    inputs = TokenDataset(tokens).job.config["input"]
    manifest = tokenized(
        TokenizeConfig(
            input=tuple(inputs),
            output=output,
            text_columns=("title", "text"),
            id_column="_id",
            keep_columns=("title",),
            mark_fields="no",
            min_freq=1,
        )
    )
    assert shard_hashes(output) == before
    assert manifest.counts.num_documents == 200
    assert not Path(output, "work").exists()


def test_a_finished_output_is_left_alone_and_another_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = {"input": (str(tmp_path / "in.txt"),), "output": str(tmp_path / "out")}
    first = run(TokenizeConfig(**config, min_freq=1))
    written = (tmp_path / "out/manifest.json").stat().st_mtime_ns
    assert run(TokenizeConfig(**config, min_freq=1, max_bad_fraction=0.5)) == first
    assert (tmp_path / "out/manifest.json").stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match="min_freq: 1 -> 2"):
        run(TokenizeConfig(**config, min_freq=2))
    assert tokenized(TokenizeConfig(**config, min_freq=2, overwrite=True)).figures["vocab_size"] == 9


def test_an_input_that_was_only_touched_is_gone_on_with_and_a_changed_one_is_not(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "one two three"}\n')
    config = TokenizeConfig(input=(str(source),), output=str(tmp_path / "out"), min_freq=1)
    tokenized(config)
    (tmp_path / "out/manifest.json").unlink()
    os.utime(source, (0, 0))
    assert tokenized(config).counts.num_documents == 1
    (tmp_path / "out/manifest.json").unlink()
    source.write_text('{"text": "one two FOUR!"}\n')
    with pytest.raises(ValueError, match=r"in\.jsonl has changed since the plan was made"):
        run(config)


def test_a_file_that_is_added_later_is_left_out_whatever_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.jsonl").write_text('{"text": "one two"}\n')
    config = TokenizeConfig(input=(str(tmp_path / "in"),), output=str(tmp_path / "out"), min_freq=1)
    tokenized(config)
    (tmp_path / "out/manifest.json").unlink()
    (tmp_path / "in/a.jsonl").write_text('{"title": "no text here"}\n')
    (tmp_path / "in/README.md").write_text("notes")
    assert tokenized(config).counts.num_documents == 1
    assert "left out: 2 files added since the plan was made" in capsys.readouterr().out


def test_a_run_begun_with_another_tokenizer_is_not_mixed_with_this_one(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), min_freq=1)
    claim_output("tokenize", config)
    other = make_tokenizer(config.tokenizer_settings()).to_json() | {"fingerprint": "another"}
    Folder(config.output).publish_json(other, "tokenizer.json")
    with pytest.raises(ConfigError, match="begun with another tokenizer"):
        run(config)


def test_what_a_kill_after_the_manifest_left_is_cleared_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), min_freq=1)
    run(config)
    (tmp_path / "out/work").mkdir()
    (tmp_path / "in.txt").unlink()
    run(config)
    assert not (tmp_path / "out/work").exists()


def test_overwriting_that_is_interrupted_can_be_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("one two three")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), min_freq=1, overwrite=True)
    run(config)
    for last in LAYOUT:
        delete = Folder.delete

        def interrupted(folder: Folder, name: str, last: str = last, delete: Any = delete) -> None:
            delete(folder, name)
            if name == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "delete", interrupted)
            with pytest.raises(KeyboardInterrupt):
                claim_output("tokenize", config)
        left = {path.name for path in (tmp_path / "out").iterdir()}
        assert "config.json" in left or not left
        assert "shards" in left or "done" not in left
    assert tokenized(config).counts.num_documents == 1
