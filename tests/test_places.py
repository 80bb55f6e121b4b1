"""What becomes of the paths and URIs in a config."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from job_config import parsed

from ulmfit_ray import places
from ulmfit_ray.config import ConfigError
from ulmfit_ray.places import settled


def test_local_places_are_made_absolute_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = settled(parsed("--input", "a", "file:///b/c", "--output", "o", "--name", "n"))
    assert config.input == (str(tmp_path / "a"), "file:///b/c")
    assert config.output == str(tmp_path / "o")
    assert config.name == "n"


@dataclass(frozen=True)
class Inner:
    model: str | None = "m"


@dataclass(frozen=True)
class Outer:
    tokenizer: Inner = field(default_factory=Inner)


def test_places_in_tables_are_settled_and_named_with_their_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settled(Outer()).tokenizer.model == str(tmp_path / "m")
    monkeypatch.setenv(places.SUBMITTED, "{}")
    with pytest.raises(ConfigError, match=r"--tokenizer\.model m is relative"):
        settled(Outer())
    assert settled(Outer(Inner(None))) == Outer(Inner(None))


@pytest.mark.parametrize("option", ["region=eu-west-1", "scheme=http&x=1", "endpoint_override=localhost:9"])
def test_options_in_the_uri_of_a_bucket_are_refused_because_they_would_be_lost(option: str) -> None:
    with pytest.raises(ConfigError, match="options in a URI are not read; set AWS_ENDPOINT_URL and AWS_REGION"):
        settled(Outer(Inner(f"s3://bucket/file?{option}")))
