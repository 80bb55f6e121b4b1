"""A result is never written over another file, unless that is asked for."""

from pathlib import Path

import pytest

from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError


def test_a_file_that_is_there_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    output = tmp_path / "hits.jsonl"
    refuse_existing(str(output), overwrite=False)
    output.write_text("mine")
    with pytest.raises(ConfigError, match=r"hits\.jsonl is there already: .* --overwrite"):
        refuse_existing(str(output), overwrite=False)
    refuse_existing(str(output), overwrite=True)
    refuse_existing(None, overwrite=False)
    assert output.read_text() == "mine"


def test_a_bare_name_is_a_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, name = place_of("hits.jsonl")
    assert (folder.uri, name) == (str(tmp_path), "hits.jsonl")
