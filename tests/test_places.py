"""What becomes of the paths and URIs in a config."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import Command
from job_config import parsed

from ulmfit_ray import places
from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.train.config import TrainRetrieverConfig
from ulmfit_ray.places import settled
from ulmfit_ray.storage import remote
from ulmfit_ray.storage.folder import Folder

if TYPE_CHECKING:
    from s3 import Proxy


def test_local_places_are_made_absolute_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = settled(parsed("--input", "a", "file:///b/c", "--output", "o", "--name", "n"))
    assert config.input == (str(tmp_path / "a"), "file:///b/c")
    assert config.output == str(tmp_path / "o")
    assert config.name == "n"


@pytest.mark.parametrize("given", ["a/m", "./a/m", "a/../a/m/"])
def test_an_output_that_is_read_too_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"--output and --input are both {tmp_path}/a/m: name another output"):
        settled(parsed("--input", "other", given, "--output", "a/m", "--name", "n"))


def test_a_file_of_pairs_is_a_place_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainRetrieverConfig(tokens="t", output="o", blocks=("words",), pairs_file="p.jsonl")
    assert settled(config).pairs_file == str(tmp_path / "p.jsonl")


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


SECRET = "S3CRET"


@pytest.mark.parametrize(
    "place",
    [
        f"s3://key:{SECRET}@bucket/in",
        f"s3://{SECRET}@bucket/in",
        f"https://user:{SECRET}@host.org/a.txt",
        f"https://host.org/a.txt?X-Amz-Credential=x&X-Amz-Signature={SECRET}",
        f"https://host.org/a.txt?sv=1&sig={SECRET}",
        f"hdfs://user:{SECRET}@host/in",
        f"abfss://container:{SECRET}@account.dfs.core.windows.net/in",
        f"gs://bucket/in?access_token={SECRET}",
        f"ftp://u:{SECRET}/x@host/in",
    ],
)
@pytest.mark.parametrize("option", ["--input", "--output", "--vocab"])
def test_a_place_with_a_user_or_a_key_in_it_is_refused_and_the_secret_is_not_repeated(
    command: Command, place: str, option: str
) -> None:
    places = {"--input": "a.txt", "--output": "out"} | {option: place}
    outcome = command("tokenize", *(part for pair in places.items() for part in pair))
    assert outcome.status == 2
    assert SECRET not in outcome.err + outcome.out
    assert place.partition("://")[0] in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    "place",
    ["s3://bucket/a@b.txt", "abfss://container@account.dfs.core.windows.net/in", "https://host.org/a?page=3", "a@b"],
)
def test_a_sign_that_is_no_users_is_let_pass(place: str) -> None:
    places.refuse_secrets(place)


@pytest.fixture
def text_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")


@pytest.mark.usefixtures("text_file")
@pytest.mark.parametrize("places", [("a.txt", "/somewhere/out"), ("/somewhere/a.txt", "out")])
def test_a_relative_path_in_a_submitted_job_is_refused_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, places: tuple[str, str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    outcome = command("tokenize", "--input", places[0], "--output", places[1])
    assert outcome.status == 2
    relative = next(place for place in places if not place.startswith("/"))
    assert f"{relative} is relative: a submitted job runs in a folder of Ray's cache" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.fixture
def input_in_bucket(bucket: str) -> str:
    """URI of a corpus of one file."""
    Folder(bucket).publish_bytes(b"text", "a.txt")
    return f"{bucket}/a.txt"


@pytest.mark.usefixtures("text_file")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["tokenize", "--output", "out", "--input", "a.txt", "s3://no-such-bucket/in"], "input"),
        (["tokenize", "--input", "a.txt", "--output", "s3://no-such-bucket/in"], "output"),
        (["tokenize", "--input", "a.txt", "--output", "out", "--vocab", "s3://no-such-bucket/in"], "vocab"),
        (["inspect", "s3://no-such-bucket/in"], "input"),
        (["search", "--embeddings", "s3://no-such-bucket/in", "--model", "m", "--query", "x"], "embeddings"),
    ],
)
def test_a_bucket_that_does_not_exist_is_told_in_one_line(
    command: Command, store: object, arguments: Sequence[str], name: str
) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    bucket = "there is no bucket no-such-bucket: make it, or correct its name"
    assert outcome.err == f"error: {name} s3://no-such-bucket/in: {bucket}\n"
    assert not Path("out").exists()


@pytest.mark.usefixtures("text_file")
@pytest.mark.parametrize("is_input", [True, False])
def test_a_store_that_does_not_answer_is_told_in_one_line_and_ends_with_1(
    command: Command, input_in_bucket: str, monkeypatch: pytest.MonkeyPatch, is_input: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    places = (input_in_bucket, "out") if is_input else ("a.txt", input_in_bucket)
    outcome = command("tokenize", "--input", places[0], "--output", places[1])
    assert outcome.status == 1
    said = f"{input_in_bucket}: the object store does not answer at http://127.0.0.1:9 (Failed to connect"
    assert outcome.err.startswith(f"error: {'input' if is_input else 'output'} {said}")
    assert outcome.err.count("\n") == 1


@pytest.mark.usefixtures("text_file")
def test_an_output_that_may_only_be_read_is_told_in_one_line(
    command: Command, input_in_bucket: str, store: "Proxy", monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3

    key_id, secret = s3.user(store.target, ["s3:GetObject", "s3:ListBucket"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    remote._client.cache_clear()
    output = f"{input_in_bucket.removesuffix('/a.txt')}/out"
    with s3.asking_for_keys(store.target):
        outcome = command("tokenize", "--input", input_in_bucket, "--output", output)
    assert outcome.status == 2
    assert outcome.err == (
        f"error: output {output} cannot be written: {output}: the object store refuses access (ACCESS_DENIED):"
        " check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do there\n"
    )
