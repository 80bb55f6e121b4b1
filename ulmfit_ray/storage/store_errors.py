"""What an object store's client says when a request fails: whether to ask again, and what to tell a person."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

SCHEME = "s3://"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
REFUSALS = (
    *("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "MISSING_AUTHENTICATION_TOKEN"),
    *("INVALID_CLIENT_TOKEN_ID", "INVALID_SIGNATURE", "REQUEST_EXPIRED", "UNRECOGNIZED_CLIENT"),
)
PASSING = (
    *("NETWORK_CONNECTION", "SLOW_DOWN", "SERVICE_UNAVAILABLE", "INTERNAL_FAILURE", "REQUEST_TIMEOUT", "THROTTLING"),
    # An upload whose end was made, and the answer lost; an answer that is no XML.
    *("NO_SUCH_UPLOAD", "UNKNOWN"),
)
"""Kinds of errors that may be gone at another attempt."""
PASSING_STATUSES = ("408", "429")
OPTIONS = re.compile(r"\?(region|scheme|endpoint_override)=")
"""What pyarrow reads behind a URI. It would be lost on the way to the files of a folder."""
AWS_ERROR = re.compile(r"AWS Error (\w+)(?: \(HTTP status (-?\d+)\))? during \w+ operation: (.*)", re.DOTALL)


class StoreLostError(ConnectionError):
    """A store that was asked again and again, and has not answered as it should."""


class ShortAnswerError(OSError):
    """A store has sent, or has kept, fewer bytes than it was asked for."""


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


def endpoint() -> str | None:
    """Return where the store is, if it is not Amazon's."""
    return next(filter(None, map(os.environ.get, ENDPOINTS)), None)


def is_passing(error: OSError) -> bool:
    """Tell whether another attempt may go well: not where a store refuses, or says that something is not there."""
    if isinstance(error, ShortAnswerError):
        return True
    found = AWS_ERROR.search(str(error))
    if found is None:
        return False
    kind, status = found[1], found[2] or ""
    return status in PASSING_STATUSES if status.startswith("4") else kind in PASSING or status.startswith("5")


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
        said = words_for(uri, error)
        if said is error:
            raise
        raise said from error


def words_for(uri: str, error: OSError) -> OSError:
    """Return the error to raise in place of one of the client's: itself if there are no better words."""
    found = AWS_ERROR.search(str(error))
    if found is None:
        # What resolve_s3_region says.
        return no_bucket(uri) if str(error).startswith("Bucket ") else error
    kind, status, detail = found[1], found[2] or "", found[3].rpartition("Details: ")[2].partition(" (Request ID")[0]
    if kind == "NO_SUCH_BUCKET":
        return no_bucket(uri)
    if kind == "NETWORK_CONNECTION":
        where, check = (f" at {endpoint()}", "AWS_ENDPOINT_URL and ") if endpoint() else ("", "")
        return ConnectionError(f"{uri}: the object store does not answer{where} ({detail}): check {check}the network")
    if status in ("401", "403") or kind in REFUSALS:
        keys = " and ".join(KEYS)
        remedy = f"check {keys}, and what they may do there"
        if not all(map(os.environ.get, KEYS)):
            remedy = f"{keys} are not set here: set them, or give this machine a role that may"
        return PermissionError(f"{uri}: the object store refuses access ({kind}): {remedy}")
    return error


def lost(uri: str, error: OSError, seconds: float) -> StoreLostError:
    """Return the error that says in one line that a store was asked for so many seconds in vain."""
    said = str(words_for(uri, error)).removeprefix(f"{uri}: ")
    return StoreLostError(f"{uri}: for {seconds:.0f} seconds all in vain: {' '.join(said.split())}")


def no_bucket(uri: str) -> FileNotFoundError:
    """Return the error that says that a bucket is not there."""
    return FileNotFoundError(f"{uri}: there is no bucket {bucket_of(uri)}: make it, or correct its name")
