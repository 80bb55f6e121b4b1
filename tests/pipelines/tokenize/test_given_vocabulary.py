"""Tokenizing with a vocabulary that is given."""

import shutil
from pathlib import Path

import pytest
from token_datasets import documents, tokenized

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.token_dataset import TokenDataset

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_a_given_vocabulary_is_used_as_it_is(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells qwertyuiop")
    manifest = tokenized(TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=tokens))
    assert manifest.vocab == TokenDataset(tokens).manifest.vocab
    assert documents(str(tmp_path / "out")) == {"in.txt#0": ["xxbos", "the", "cells", "xxunk"]}
    assert manifest.figures["num_unknown"] == 1
    # There is one phase, which adds up no types.
    assert "num_types" not in manifest.figures


def test_a_vocabulary_of_words_that_were_cut_otherwise_is_refused(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells")
    config = TokenizeConfig(
        input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=tokens, lang="de", rules=("none",)
    )
    with pytest.raises(ConfigError, match=r"were cut otherwise \(lang 'en' there and 'de' here, rules .*'none'"):
        run(config)
    assert not (tmp_path / "out").exists()


def test_a_finished_output_needs_its_given_vocabulary_no_more(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells")
    shutil.copytree(tokens, tmp_path / "vocab")
    config = TokenizeConfig(
        input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=str(tmp_path / "vocab")
    )
    first = tokenized(config)
    shutil.rmtree(tmp_path / "vocab")
    assert tokenized(config) == first


def test_an_output_begun_with_another_vocabulary_is_not_gone_on_with(tokens: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cells qwertyuiop")
    config = TokenizeConfig(input=(str(tmp_path / "in.txt"),), output=str(tmp_path / "out"), vocab=tokens)
    tokenized(config)
    (tmp_path / "out/manifest.json").unlink()
    vocab = Folder(config.output).read_json("vocab.json")
    Folder(config.output).publish_json(vocab | {"tokens": vocab["tokens"][:-1]}, "vocab.json")
    with pytest.raises(ConfigError, match="was begun with another vocabulary than --vocab has now"):
        run(config)
