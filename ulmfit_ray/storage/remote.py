"""Buckets behind s3:// URIs: pyarrow's client with settings of ours, and its errors in a person's words.

`FileSystem.from_uri` opens a bucket, too. But its client makes three requests to upload a small file, asks a store that
says "slow down" again every 0.2 seconds, and waits 100 seconds for one that does not answer at all.
"""

import functools
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.fs

SCHEME = "s3://"
CONNECTIONS = 64
"""Requests of one process at once."""
SMALL_BYTES = 8 << 20
"""What is smaller is uploaded by one PUT, and read by one GET. pyarrow's limit for a PUT is 10 MB."""
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
REFUSALS = (
    *("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "MISSING_AUTHENTICATION_TOKEN"),
    *("INVALID_CLIENT_TOKEN_ID", "INVALID_SIGNATURE", "REQUEST_EXPIRED", "UNRECOGNIZED_CLIENT"),
)
OPTIONS = re.compile(r"\?(region|scheme|endpoint_override)=")
"""What pyarrow reads behind a URI. It would be lost on the way to the files of a folder."""
AWS_ERROR = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during \w+ operation: (.*)", re.DOTALL)


def bucket_of(uri: str) -> str:
    """Return the bucket of an s3:// URI.

    Raises:
        ValueError: there is none, or credentials stand before it, or options behind it.
    """
    bucket = uri.removeprefix(SCHEME).partition("/")[0]
    if "@" in bucket:
        raise ValueError(
            f"{SCHEME}...@{bucket.rpartition('@')[2]}: credentials in a URI would be written into config.json;"
            f" set {' and '.join(KEYS)} instead"
        )
    if OPTIONS.search(uri):
        raise ValueError(f"{uri}: options in a URI are not read; set {ENDPOINTS[1]} and {REGIONS[0]} instead")
    if not bucket:
        raise ValueError(f"{uri} names no bucket: s3://BUCKET/PATH")
    return bucket


def s3_file_system(bucket: str) -> pyarrow.fs.S3FileSystem:
    """Return the client for a bucket. The environment says where the store is, and who asks.

    A request is made six times at most, with growing pauses, 15 seconds in all.
    """
    return _client(bucket, max_attempts=6, timeout_seconds=10, puts_whole=True)


def upload(filesystem: pyarrow.fs.FileSystem, content: pa.Buffer, path: str) -> None:
    """Put a file in its place, whole or not at all; raises unless the store says that it has everything.

    When an exception leaves a block that writes to pyarrow's output stream, pyarrow completes the upload, and half a
    file has the final name. So a thread of its own writes, where no Ctrl-C arrives, and writes all at once.
    `pyarrow.fs.copy_files` does not say when an upload fails at its end.
    """
    if isinstance(filesystem, pyarrow.fs.S3FileSystem) and content.size >= SMALL_BYTES:
        # A client that may put a file as a whole puts an empty one when an upload in parts cannot begin.
        bucket = path.partition("/")[0]
        filesystem = _client(bucket, max_attempts=6, timeout_seconds=10, puts_whole=False)

    def write() -> None:
        # Without None it would compress what has a name like a.gz.
        stream = filesystem.open_output_stream(path, compression=None)
        stream.write(content)
        stream.close()

    with ThreadPoolExecutor(1) as uploading:
        uploading.submit(write).result()


def read_whole(file: pa.NativeFile) -> bytes:
    """Return all bytes of an open file."""
    return read_part(file, file.size(), 0)


def read_part(file: pa.NativeFile, num_bytes: int, start: int) -> bytes:
    """Return some bytes of an open file.

    pyarrow does not ask again when a store says "slow down" in more bytes than it was asked for.
    """
    for seconds in PAUSES_SECONDS:
        try:
            return file.read_at(num_bytes, start)
        except OSError as error:
            if "Failed to flush response stream" not in str(error):
                raise
        time.sleep(seconds)
    return file.read_at(num_bytes, start)


@functools.lru_cache
def _client(bucket: str, *, max_attempts: int, timeout_seconds: float, puts_whole: bool) -> pyarrow.fs.S3FileSystem:
    # pyarrow has a connection for each thread of this pool; a thread is started when it is needed.
    pa.set_io_thread_count(max(CONNECTIONS, pa.io_thread_count()))
    endpoint = _endpoint()
    return pyarrow.fs.S3FileSystem(
        endpoint_override=endpoint,
        region=None if endpoint else _region(bucket),
        request_timeout=timeout_seconds,
        allow_delayed_open=puts_whole,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=max_attempts),
    )


def _region(bucket: str) -> str | None:
    """Return Amazon's region of a bucket; None for that of the environment, where only a private network leads out."""
    try:
        return pyarrow.fs.resolve_s3_region(bucket)
    except OSError:
        if not any(map(os.environ.get, REGIONS)):
            raise
        return None


def _endpoint() -> str | None:
    return next(filter(None, map(os.environ.get, ENDPOINTS)), None)


def check_place(uri: str) -> None:
    """Raise one of the errors of `in_words` if an s3:// URI cannot be looked up; within 15 seconds."""
    bucket = bucket_of(uri)
    with in_words(uri):
        filesystem = _client(bucket, max_attempts=3, timeout_seconds=3, puts_whole=True)
        filesystem.get_file_info(uri.removeprefix(SCHEME).rstrip("/"))
        try:
            found = filesystem.get_file_info(bucket)
        except OSError:
            # Who may read a file may perhaps not ask about its bucket.
            return
    if found.type == pyarrow.fs.FileType.NotFound:
        raise _no_bucket(uri)


@contextmanager
def in_words(uri: str) -> Iterator[None]:
    """Raise the client's errors as one line that says what is wrong at `uri`, and what to do.

    Raises:
        ConnectionError: the store does not answer.
        PermissionError: it refuses.
        FileNotFoundError: there is no such bucket.
    """
    try:
        yield
    except OSError as error:
        said = _in_words(uri, error)
        if said is None:
            raise
        raise said from error


def _in_words(uri: str, error: OSError) -> OSError | None:
    """Return the error to raise in place of one of the client's; None if there are no better words."""
    found = AWS_ERROR.search(str(error))
    if found is None:
        # What resolve_s3_region says.
        return _no_bucket(uri) if str(error).startswith("Bucket ") else None
    kind, status, detail = found[1], found[2] or "", found[3].rpartition("Details: ")[2].partition(" (Request ID")[0]
    if kind == "NO_SUCH_BUCKET":
        return _no_bucket(uri)
    if kind == "NETWORK_CONNECTION":
        endpoint = _endpoint()
        where, check = (f" at {endpoint}", "AWS_ENDPOINT_URL and ") if endpoint else ("", "")
        return ConnectionError(f"{uri}: the object store does not answer{where} ({detail}): check {check}the network")
    if status in ("401", "403") or kind in REFUSALS:
        keys = " and ".join(KEYS)
        remedy = f"check {keys}, and what they may do there"
        if not all(map(os.environ.get, KEYS)):
            remedy = f"{keys} are not set here: set them, or give this machine a role that may"
        return PermissionError(f"{uri}: the object store refuses access ({kind}): {remedy}")
    return None


def _no_bucket(uri: str) -> FileNotFoundError:
    return FileNotFoundError(f"{uri}: there is no bucket {bucket_of(uri)}: make it, or correct its name")
