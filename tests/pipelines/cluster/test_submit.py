"""`ulmfit-ray submit VERB` as a command, with a job server that is only played."""

import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn
from zipfile import ZipFile

import pytest
from command_line import Command
from fake_client import FakeClient, info

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.cluster import submit
from ulmfit_ray.pipelines.cluster.config import Cluster, Submission, SubmitConfig

HEAD = ["--ray.address", "http://head:8265"]
TOKENIZE = ["submit", "tokenize", "--input", "/in/a b.txt", "--output", "s3://bucket/out"]
SECRET = "wJalrXUtnFEMI-secret"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The job server's client that the command gets; the zip that is sent is looked at when it is submitted."""
    fake = FakeClient([["documents: 3\n"]], log="documents: 3\n")
    monkeypatch.setattr(submit, "_connected", lambda address: fake)
    for name in submit.ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job server is to be asked."""

    def refuse(address: str) -> NoReturn:
        raise AssertionError("the cluster was asked")

    monkeypatch.setattr(submit, "_connected", refuse)
    for name in submit.ADDRESSES:
        monkeypatch.delenv(name, raising=False)


def test_a_job_runs_the_verb_with_its_options_and_its_log_is_printed(command: Command, client: FakeClient) -> None:
    outcome = command(*TOKENIZE, *HEAD, "--overwrite")
    assert (outcome.status, outcome.err) == (0, "")
    assert shlex.split(client.submitted["entrypoint"]) == [
        *("python", "-m", "ulmfit_ray.cli", "tokenize", "--input", "/in/a b.txt", "--output", "s3://bucket/out"),
        "--overwrite",
    ]
    job = client.submitted["submission_id"]
    assert job.startswith("tokenize-")
    assert f"ray job logs --follow --address http://head:8265 {job}" in outcome.out
    assert f"ray job stop --address http://head:8265 {job}" in outcome.out
    assert outcome.out.endswith("\ndocuments: 3\n")


def test_a_config_file_of_this_machine_travels_as_options(command: Command, client: FakeClient) -> None:
    Path("job.toml").write_text(
        'input = ["/in/*.txt"]\ntext_columns = ["title", "it\'s"]\n[tokenizer]\nkind = "whitespace"\n'
    )
    assert command("submit", "tokenize", "job.toml", "--output", "/out", *HEAD).status == 0
    words = shlex.split(client.submitted["entrypoint"])[4:]
    assert words[:6] == ["--input", "/in/*.txt", "--output", "/out", "--text-columns", "title"]
    assert words[6:] == ["it's", "--tokenizer.kind", "whitespace"]


def test_a_verb_of_one_process_and_of_two_words_can_be_submitted(command: Command, client: FakeClient) -> None:
    words = ["evaluate", "lm", "--model", "/lm", "--tokens", "/t"]
    assert command("submit", *words, *HEAD, "--submit.num-gpus", "1", "--submit.memory-bytes", "1000").status == 0
    assert client.submitted["entrypoint"] == "python -m ulmfit_ray.cli evaluate lm --model /lm --tokens /t"
    assert client.submitted["submission_id"].startswith("evaluate-lm-")
    assert [client.submitted[f"entrypoint_{name}"] for name in ("num_cpus", "num_gpus", "memory")] == [None, 1.0, 1000]


def test_a_place_that_stands_without_its_option_does_so_on_the_cluster(command: Command, client: FakeClient) -> None:
    assert command("submit", "inspect", "/tokens", "-n", "5", *HEAD).status == 0
    assert client.submitted["entrypoint"] == "python -m ulmfit_ray.cli inspect /tokens --rows 5"


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [
        (info("FAILED", 1), 1, "ended with exit status 1"),
        (info("FAILED", 2), 2, "ended with exit status 2"),
        (info("FAILED", -9), 137, "ended with exit status 137"),
        (info("FAILED", message="its node is gone"), 1, "was lost: its node is gone"),
        (info("STOPPED"), 130, "was stopped; submit the same command again to go on from here"),
    ],
)
def test_the_command_ends_as_the_job_did(
    command: Command, client: FakeClient, ended: SimpleNamespace, status: int, said: str
) -> None:
    client.infos = [ended]
    outcome = command(*TOKENIZE, *HEAD)
    assert outcome.status == status
    assert said in outcome.err
    assert len(outcome.err.splitlines()) <= 2


def test_a_job_that_is_not_followed_is_only_submitted(command: Command, client: FakeClient) -> None:
    client.infos = [info("FAILED", 1)]
    outcome = command(*TOKENIZE, *HEAD, "--submit.no-follow")
    assert outcome.status == 0
    assert "documents" not in outcome.out


def test_an_interruption_while_the_job_is_sent_says_that_it_may_have_begun(
    command: Command, client: FakeClient
) -> None:
    def interrupted(**options: object) -> NoReturn:
        raise KeyboardInterrupt

    client.submit_job = interrupted  # type: ignore[method-assign]
    outcome = command(*TOKENIZE, *HEAD)
    assert outcome.status == 130
    assert "it may have begun\n    its log:  ray job logs" in outcome.err


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "/a", "--output", "/o"], "name the cluster's job server: --ray.address http://HEAD:8265"),
        (["--input", "a", "--output", "/o", *HEAD], "--input a is relative: the job runs on other machines"),
        (["--input", "/a", "--output", "~/o", *HEAD], "--output ~/o is in a home folder"),
        (
            ["--input=/a", "--output=/o", "--tokenizer.kind=sentencepiece", "--tokenizer.model=m", *HEAD],
            "--tokenizer.model m is relative",
        ),
        (["--input", f"https://me:{SECRET}@host/a", "--output", "/o", *HEAD], "a user, a password or a key in a URI"),
        (["--input", "/a", "--output", "/o", "--ray.address", f"http://me:{SECRET}@h:1"], "holds a user or a password"),
        (["--input", "/a", "--output", "/o", "--max-vocabs", "9", *HEAD], "did you mean --max-vocab?"),
        (["--input", "/a", "--output", "/o", "--max-vocab", "9", *HEAD], "--max-vocab must be over 9"),
        (["--input", "/a", "--output", "/o", "--submit.no-uplod", *HEAD], "did you mean --submit.no-upload?"),
        (
            ["--input", "/a", "--output", "/o", "--submit.num-cpus", "-1", *HEAD],
            "--submit.num-cpus must not be negative",
        ),
        (["--input", "/a", "--output", "/o", "--submit.working-dir", "missing", *HEAD], "missing is no folder"),
        (
            ["--input", "/a", "--output", "/o", "--submit.working-dir", ".", "--submit.no-upload", *HEAD],
            "leave one out",
        ),
        (["--input", *["/a" * 30] * 3000, "--output", "/o", *HEAD], "name folders or globs (in quotes)"),
    ],
)
def test_a_mistake_ends_here_with_2_and_the_cluster_is_not_asked(
    command: Command, arguments: list[str], message: str
) -> None:
    outcome = command("submit", "tokenize", *arguments)
    assert outcome.status == 2
    assert message in " ".join(outcome.err.replace("\u2502", " ").split())
    assert SECRET not in outcome.err + outcome.out


@pytest.mark.usefixtures("unreachable")
def test_an_upload_that_is_too_large_is_refused_before_the_cluster_is_asked(command: Command, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").touch()
    os.truncate(tmp_path / "corpus.txt", 200_000_000)
    outcome = command(*TOKENIZE, *HEAD, "--submit.working-dir", ".")
    assert outcome.status == 2
    assert ". has 200.0 MB in 1 files; Ray takes at most 104.9 MB: largest are corpus.txt (200.0 MB)" in outcome.err


def test_nothing_of_the_environment_and_no_secret_goes_along(
    command: Command, client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    (tmp_path / "ours.py").write_text("")
    (tmp_path / ".env").write_text(SECRET)
    names = []
    keep = client.submit_job

    def look_into(**options: object) -> str:
        with ZipFile(options["runtime_env"]["working_dir"]) as archive:  # type: ignore[index]
            names.extend(archive.namelist())
        return keep(**options)

    client.submit_job = look_into  # type: ignore[method-assign]
    outcome = command(*TOKENIZE, *HEAD, "--submit.working-dir", str(tmp_path))
    assert outcome.status == 0
    assert names == ["ours.py"]
    assert SECRET not in json.dumps(client.submitted) + outcome.out + outcome.err
    assert list(client.submitted["runtime_env"]["env_vars"]) == ["RAY_JOB_STOP_WAIT_TIME_S"]


def test_nothing_is_sent_where_the_nodes_have_the_package(command: Command, client: FakeClient) -> None:
    outcome = command(*TOKENIZE, *HEAD, "--submit.no-upload")
    assert outcome.status == 0
    assert "working_dir" not in client.submitted["runtime_env"]
    assert "nothing is sent" in outcome.out


def address_of(given: str | None) -> str:
    return submit._address(SubmitConfig(ray=Cluster(address=given), submit=Submission()))


def test_the_address_that_is_given_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "other:6379")
    assert address_of(None) == "other:6379"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:8265/")
    assert address_of(None) == "http://other:8265"
    assert address_of("http://given:8265") == "http://given:8265"


def test_rays_client_does_not_take_another_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.job_submission

    seen = []
    monkeypatch.setattr(
        ray.job_submission,
        "JobSubmissionClient",
        lambda address: seen.append((address, [name in os.environ for name in submit.ADDRESSES])),
    )
    for name in submit.ADDRESSES:
        monkeypatch.setenv(name, "http://other:8265")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    submit._connected("http://given:8265")
    assert seen == [("http://given:8265", [False, False])]
    assert all(os.environ[name] == "http://other:8265" for name in submit.ADDRESSES)


@pytest.mark.parametrize(
    ("problem", "kind", "said"),
    [
        (ConnectionError("Failed to connect"), ConnectionError, "no job server answers at http://given:8265: Failed"),
        (
            RuntimeError("status code 502"),
            ConnectionError,
            "no job server answers at http://given:8265: status code 502",
        ),
        ("AuthenticationError", ConfigError, "demands its token: put the file of its head's RAY_AUTH_TOKEN_PATH"),
    ],
)
def test_a_server_that_does_not_answer_or_demands_a_token_is_told(
    monkeypatch: pytest.MonkeyPatch, problem: Exception | str, kind: type[Exception], said: str
) -> None:
    import ray.exceptions
    import ray.job_submission

    error = ray.exceptions.AuthenticationError("401") if isinstance(problem, str) else problem

    def refuse(address: str) -> NoReturn:
        raise error

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", refuse)
    with pytest.raises(kind, match=said):
        submit._connected("http://given:8265")
