"""`ulmfit-ray submit VERB`: a verb as a job on a cluster, through Ray's job server.

Nothing of this machine's environment goes along: Ray writes a job's runtime environment into its logs, so the nodes
have credentials of their own. The package that runs here is sent unless the nodes have it (`upload.py`).
"""

import logging
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.cluster.command import entrypoint
from ulmfit_ray.pipelines.cluster.config import SubmitConfig
from ulmfit_ray.pipelines.cluster.follow import Following, exit_status
from ulmfit_ray.pipelines.cluster.upload import check_size, folder_files, megabytes, package_files, write_zip

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that name a cluster, the first one first; Ray's client prefers them to the address that it is given."""
STOP_SECONDS = 60
"""How long a job that is stopped may take for its last checkpoint until it is killed; Ray's own 3 are too few."""


def run(own: SubmitConfig, verb: str, config: Any) -> None:
    """Submit `verb` with its config, print the job's log, and return if it ends well.

    Raises:
        SystemExit: with the job's own exit status, if that is not 0.
        ConfigError: no cluster is named, it demands a token, or the upload is too large.
        ConnectionError: the cluster's job server does not answer.
        RuntimeError: the job was lost, or never began.
        KeyboardInterrupt: the job was stopped, or is left running.
    """
    command, address = entrypoint(verb, config), _address(own)
    job = f"{verb.replace(' ', '-')}-{secrets.token_hex(6)}"
    told = f"--address {shlex.quote(address)} {job}"
    commands = f"    its log:  ray job logs --follow {told}\n    its end:  ray job stop {told}"
    with tempfile.TemporaryDirectory() as scratch:
        runtime_env = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}} | _upload(own, Path(scratch))
        client = _connected(address)
        try:
            client.submit_job(
                entrypoint=command,
                submission_id=job,
                runtime_env=runtime_env,
                entrypoint_num_cpus=own.submit.num_cpus or None,
                entrypoint_num_gpus=own.submit.num_gpus or None,
                entrypoint_memory=own.submit.memory_bytes or None,
            )
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(
                f"interrupted while job {job} was sent: it may have begun\n{commands}"
            ) from interrupt
    print(f"job {job} is submitted\n{commands}", flush=True)
    if own.submit.follow:
        ask = _ask if sys.stdin is not None and sys.stdin.isatty() else None
        _end_like(job, Following(client, job, ask, commands).run())


def _end_like(job: str, info: "JobDetails") -> None:
    """Return if the job ended well, else raise what ends this command as the job ended."""
    status = exit_status(info)
    if info.status.value == "STOPPED":
        raise KeyboardInterrupt(f"job {job} was stopped; submit the same command again to go on from here")
    if status is None:
        raise RuntimeError(f"job {job} was lost: {info.message}")
    if status:
        print(f"job {job} ended with exit status {status}", file=sys.stderr)
        raise SystemExit(status)


def _ask(question: str) -> str:
    # input() would write the question to standard output, which may go into a file.
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _address(own: SubmitConfig) -> str:
    address = own.ray.address or next((os.environ[name] for name in ADDRESSES if os.environ.get(name)), None)
    if address is None:
        raise ConfigError("name the cluster's job server: --ray.address http://HEAD:8265")
    if "@" in urlsplit(address).netloc:
        raise ConfigError("--ray.address holds a user or a password, which Ray would log: use Ray's tokens")
    return address.rstrip("/")


def _upload(own: SubmitConfig, scratch: Path) -> dict[str, str]:
    """Return the part of the runtime environment that says what the job takes along."""
    if not own.submit.upload:
        print("nothing is sent: the nodes run the ulmfit-ray that is installed on them", flush=True)
        return {}
    folder = own.submit.working_dir
    files, what = (folder_files(folder), folder) if folder else (package_files(), "the package ulmfit_ray")
    num_bytes = check_size(files, what)
    archive = scratch / "upload.zip"
    write_zip(files, archive)
    size = f"{megabytes(num_bytes)}, packed {megabytes(archive.stat().st_size)}"
    print(f"sending {what}: {len(files):,} files, {size}", flush=True)
    return {"working_dir": str(archive)}


def _connected(address: str) -> "JobSubmissionClient":
    """Return a client of the job server at `address`.

    Raises:
        ConfigError: it demands a token that this machine has not.
        ConnectionError: it does not answer.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for module in ("dashboard_sdk", "job.sdk"):
        # Lines about packages and sockets, among those of the job.
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
    try:
        with _without(ADDRESSES):
            return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ConfigError(
            f"the cluster at {address} demands its token: put the file of its head's RAY_AUTH_TOKEN_PATH"
            " (~/.ray/auth_token) on this machine, and set RAY_AUTH_MODE=token"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(f"no job server answers at {address}: {error}") from error


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Take variables out of the environment while the block runs."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
