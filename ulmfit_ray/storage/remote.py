"""Buckets behind s3:// URIs: pyarrow's client with settings of ours, which asks again where an answer fails.

`FileSystem.from_uri` opens a bucket, too. But its client makes three requests to upload a small file, asks a store that
says "slow down" again every 0.2 seconds, and waits 100 seconds for one that does not answer at all. That of
`S3FileSystem()` does not know AWS_ENDPOINT_URL.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.fs

from ulmfit_ray.storage.insistence import InsistentStore, insist
from ulmfit_ray.storage.store_errors import REGIONS, SCHEME, ShortAnswerError, bucket_of, endpoint, in_words, no_bucket

CONNECTIONS = 64
"""Requests of one process at once."""
SMALL_BYTES = 8 << 20
"""What is smaller is uploaded by one PUT, and read by one GET. pyarrow's limit for a PUT is 10 MB."""
TIMEOUT_SECONDS = 10.0
"""Silence after which a request is made again."""
PART_RETRIES = 5
"""Of a part of a large upload, within 0.8 seconds, before the whole upload is made again."""


def s3_file_system(bucket: str) -> pyarrow.fs.FileSystem:
    """Return the client for a bucket (see insistence.py). The environment says where the store is, and who asks."""
    client = _client(bucket, retries=0, timeout_seconds=TIMEOUT_SECONDS, puts_whole=True)
    return pyarrow.fs.PyFileSystem(InsistentStore(client))


def upload(content: pa.Buffer, path: str) -> None:
    """Put a file in its place in a bucket, whole or not at all; raises unless the store says that it has everything."""
    bucket = path.partition("/")[0]
    is_small = content.size < SMALL_BYTES
    # A client that may put a file as a whole puts an empty one when an upload in parts cannot begin.
    retries = 0 if is_small else PART_RETRIES
    client = _client(bucket, retries=retries, timeout_seconds=TIMEOUT_SECONDS, puts_whole=is_small)
    is_first = True

    def attempt() -> None:
        nonlocal is_first
        is_certain, is_first = is_small and is_first, False
        write_at_once(client, content, path)
        # One PUT that is answered is whole. Of what was begun before, or came in parts, the size is read back.
        size = content.size if is_certain else client.get_file_info(path).size or 0
        if size != content.size:
            raise ShortAnswerError(f"{size:,} bytes are there after {content.size:,} were sent")

    insist(SCHEME + path, attempt)


def write_at_once(filesystem: pyarrow.fs.FileSystem, content: pa.Buffer, path: str) -> None:
    """Write a file, once.

    When an exception leaves a block that writes to pyarrow's output stream, pyarrow completes the upload, and half a
    file has the final name. So a thread of its own writes, where no Ctrl-C arrives, and writes all at once.
    `pyarrow.fs.copy_files` does not say when an upload fails at its end.
    """

    def write() -> None:
        # Without None it would compress what has a name like a.gz.
        stream = filesystem.open_output_stream(path, compression=None)
        stream.write(content)
        stream.close()

    with ThreadPoolExecutor(1) as writing:
        writing.submit(write).result()


@functools.lru_cache
def _client(bucket: str, *, retries: int, timeout_seconds: float, puts_whole: bool) -> pyarrow.fs.S3FileSystem:
    # pyarrow has a connection for each thread of this pool; a thread is started when it is needed.
    pa.set_io_thread_count(max(CONNECTIONS, pa.io_thread_count()))
    place = endpoint()
    return pyarrow.fs.S3FileSystem(
        endpoint_override=place,
        region=None if place else _region(bucket),
        connect_timeout=timeout_seconds,
        request_timeout=timeout_seconds,
        allow_delayed_open=puts_whole,
        retry_strategy=pyarrow.fs.AwsDefaultS3RetryStrategy(max_attempts=retries),
    )


def _region(bucket: str) -> str | None:
    """Return Amazon's region of a bucket; None for that of the environment, where only a private network leads out."""
    try:
        return pyarrow.fs.resolve_s3_region(bucket)
    except OSError:
        if not any(map(os.environ.get, REGIONS)):
            raise
        return None


def check_place(uri: str) -> None:
    """Raise one of the errors of `in_words` if an s3:// URI cannot be looked up; within 15 seconds."""
    bucket = bucket_of(uri)
    with in_words(uri):
        client = _client(bucket, retries=2, timeout_seconds=3, puts_whole=True)
        client.get_file_info(uri.removeprefix(SCHEME).rstrip("/"))
        try:
            found = client.get_file_info(bucket)
        except OSError:
            # Who may read a file may perhaps not ask about its bucket.
            return
    if found.type == pyarrow.fs.FileType.NotFound:
        raise no_bucket(uri)
