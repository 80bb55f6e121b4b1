"""Buckets: an upload is whole or not at all, costs few requests, and what goes wrong is said in a line."""

import gc
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow.fs
import pytest
import s3
from s3 import Fault, Proxy

from ulmfit_ray.storage import remote
from ulmfit_ray.storage.folder import Folder, check_place, file_system
from ulmfit_ray.storage.store_errors import StoreLostError, bucket_of

PARTS = 11_000_000
"""Bytes of a file that is uploaded in two parts."""


def objects(proxy: Proxy, bucket: str) -> dict[str, int]:
    """Return the size of each object of a bucket, as another client sees them."""
    listed = s3.client(proxy.target).list_objects_v2(Bucket=bucket_of(bucket))
    return {found["Key"]: found["Size"] for found in listed.get("Contents", [])}


def write(path: Path, num_bytes: int) -> Path:
    path.write_bytes(b"x" * num_bytes)
    return path


def kinds(proxy: Proxy) -> list[str]:
    return [line.partition(" ")[0] for line in proxy.requests]


def test_a_small_file_is_one_put(proxy: Proxy, bucket: str, tmp_path: Path) -> None:
    Folder(bucket).publish(write(tmp_path / "small", remote.SMALL_BYTES - 1), "small")
    assert kinds(proxy) == ["PUT"]
    assert objects(proxy, bucket) == {"small": remote.SMALL_BYTES - 1}


def test_a_large_file_is_uploaded_in_parts(proxy: Proxy, bucket: str, tmp_path: Path) -> None:
    Folder(bucket).publish(write(tmp_path / "large", PARTS), "large")
    # At its end the size is read back.
    assert kinds(proxy) == ["POST", "PUT", "PUT", "POST", "HEAD"]
    assert objects(proxy, bucket) == {"large": PARTS}


def test_a_small_file_is_opened_by_one_get_and_of_a_large_one_what_is_asked_for(proxy: Proxy, bucket: str) -> None:
    folder = Folder(bucket)
    folder.publish_bytes(b"0123456789", "small")
    folder.publish_bytes(bytes(remote.SMALL_BYTES + 1), "large")
    proxy.requests.clear()
    with folder.open("small") as file:
        assert (file.read_at(3, 0), file.read_at(3, 7), file.size()) == (b"012", b"789", 10)
    assert kinds(proxy) == ["HEAD", "GET"]
    with folder.open("large") as file:
        assert kinds(proxy)[2:] == ["HEAD"]
        assert (file.read_at(3, 5), file.size()) == (b"\0\0\0", remote.SMALL_BYTES + 1)


def test_a_missing_file_is_found_missing_by_one_request(proxy: Proxy, bucket: str) -> None:
    assert Folder(bucket).find_json("nothing.json") is None
    Folder(bucket).delete_file("nothing.json")
    assert kinds(proxy) == ["HEAD", "HEAD"]


def test_a_store_that_says_slow_down_is_asked_again(proxy: Proxy, bucket: str) -> None:
    proxy.faults = [Fault(where="PUT", what="unavailable", times=2), Fault(where="GET", what="unavailable", times=2)]
    folder = Folder(bucket)
    folder.publish_bytes(b"content", "name")
    assert folder.read_bytes("name") == b"content"
    # After an upload that was made again the size is read back.
    assert kinds(proxy) == ["PUT"] * 3 + ["HEAD"] * 2 + ["GET"] * 3


@pytest.mark.usefixtures("impatient")
def test_a_store_that_says_slow_down_for_ever_is_an_error(proxy: Proxy, bucket: str) -> None:
    folder = Folder(bucket)
    folder.publish_bytes(b"content", "name")
    proxy.faults = [Fault(where="GET", what="unavailable")]
    with pytest.raises(StoreLostError, match=rf"^{bucket}/name: for 0 seconds all in vain: .*flush response stream"):
        folder.read_bytes("name")
    assert kinds(proxy).count("GET") > 2


@pytest.mark.parametrize(
    ("num_bytes", "where"),
    [
        (7, "PUT"),
        (PARTS, "POST"),
        (PARTS, "partNumber=1"),
        (PARTS, "partNumber=2"),
        (PARTS, "?uploadId="),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_an_upload_that_fails_is_an_error_and_leaves_the_old_file(
    proxy: Proxy, bucket: str, tmp_path: Path, num_bytes: int, where: str
) -> None:
    folder = Folder(bucket)
    folder.publish_bytes(b"old", "name")
    proxy.faults = [Fault(where=where, what="unavailable")]
    with pytest.raises(OSError, match="AWS Error SLOW_DOWN"):
        folder.publish(write(tmp_path / "new", num_bytes), "name")
    # pyarrow's streams finish what they can when they are collected.
    gc.collect()
    assert objects(proxy, bucket) == {"name": 3}


PUBLISH = """
import sys
from pathlib import Path
from ulmfit_ray.storage.folder import Folder
folder = Folder(sys.argv[1])
for name in ("shards/a", "done/a.json"):
    folder.publish(Path(sys.argv[2]), name)
"""


@pytest.mark.parametrize(("num_bytes", "where"), [(1_000_000, "PUT /"), (PARTS, "partNumber=2")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_stopped_in_the_middle_of_an_upload_leaves_no_part_of_it(
    proxy: Proxy, bucket: str, tmp_path: Path, num_bytes: int, where: str, number: signal.Signals
) -> None:
    fault = Fault(where=where, what="stall", after_bytes=500_000, times=1)
    proxy.faults = [fault]
    file = write(tmp_path / "file", num_bytes)
    process = subprocess.Popen([sys.executable, "-c", PUBLISH, bucket, str(file)], stderr=subprocess.DEVNULL)
    assert fault.met.wait(60)
    process.send_signal(number)
    if number != signal.SIGINT:
        assert process.wait(60) == -number
    proxy.released.set()
    assert process.wait(60) != 0
    # Ctrl-C waits for the end of a request, and of an upload in parts; the others end it.
    is_finished = number == signal.SIGINT and num_bytes == PARTS
    assert objects(proxy, bucket) == ({"shards/a": num_bytes} if is_finished else {})
    subprocess.run([sys.executable, "-c", PUBLISH, bucket, str(file)], check=True)
    assert objects(proxy, bucket) == {"shards/a": num_bytes, "done/a.json": num_bytes}


def test_a_key_may_hold_any_character(bucket: str) -> None:
    folder = Folder(f"{bucket}/a folder?x=1#y/100%/")
    folder.publish_bytes(b"content", "n\u00e4me")
    assert folder.names() == ["n\u00e4me"]
    assert folder.read_bytes("n\u00e4me") == b"content"


def test_an_endpoint_of_s3_alone_comes_first(store: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    check_place(bucket)


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"\.\.\.@bucket: .*set AWS_ACCESS_KEY_ID") as error:
        file_system("s3://key:secret@bucket/corpus")
    assert "secret@" not in str(error.value)
    with pytest.raises(ValueError, match=r"s3:///corpus names no bucket"):
        file_system("s3:///corpus")


def said(uri: str, kind: type[OSError]) -> str:
    """Return the line about a place that cannot be used, once it has come quickly."""
    began = time.monotonic()
    with pytest.raises(kind) as error:
        check_place(uri)
    assert time.monotonic() - began < 30
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_bucket_that_does_not_exist_is_named(store: Proxy) -> None:
    assert said("s3://no-such-bucket/corpus", FileNotFoundError) == (
        "s3://no-such-bucket/corpus: there is no bucket no-such-bucket: make it, or correct its name"
    )


def test_amazons_own_errors_about_a_bucket_are_told_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    reasons = [
        "Bucket 'elsewhere' not found",
        "When resolving region for bucket 'elsewhere': AWS Error NETWORK_CONNECTION during HeadBucket operation:"
        " curlCode: 6, Could not resolve hostname; Details: Could not resolve host: s3.us-east-1.amazonaws.com",
    ]

    def resolve(bucket: str) -> NoReturn:
        raise OSError(reasons.pop(0))

    monkeypatch.setattr(pyarrow.fs, "resolve_s3_region", resolve)
    assert said("s3://elsewhere/corpus", FileNotFoundError).startswith("s3://elsewhere/corpus: there is no bucket")
    assert said("s3://elsewhere/corpus", ConnectionError) == (
        "s3://elsewhere/corpus: the object store does not answer"
        " (Could not resolve host: s3.us-east-1.amazonaws.com): check the network"
    )


def test_the_region_of_the_environment_stands_in_where_amazon_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(bucket: str) -> NoReturn:
        raise OSError("AWS Error NETWORK_CONNECTION during HeadBucket operation: no way out")

    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-2")
    monkeypatch.setattr(pyarrow.fs, "resolve_s3_region", resolve)
    assert remote._client("private", retries=0, timeout_seconds=1, puts_whole=True).region == "eu-south-2"


def test_a_place_in_a_bucket_need_not_exist(bucket: str) -> None:
    check_place(f"{bucket}/nothing")
    check_place("/nothing/local")


def test_an_endpoint_that_refuses_connections_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    text = said(f"{bucket}/corpus", ConnectionError)
    assert text.startswith(f"{bucket}/corpus: the object store does not answer at {endpoint} (Failed to connect")
    assert text.endswith("check AWS_ENDPOINT_URL and the network")


def test_a_host_that_nobody_knows_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")
    assert "Could not resolve host: no-such-host.invalid" in said(bucket, ConnectionError)


def test_an_endpoint_that_says_nothing_is_given_up(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = remote._client
    monkeypatch.setattr(remote, "_client", lambda bucket, **options: client(bucket, **options | {"timeout_seconds": 1}))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "does not answer" in said(bucket, ConnectionError)


@pytest.fixture
def use_key(store: Proxy, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts the key of a new user, who may do what is said, into the environment."""

    def use(*allowed: str, secret: str | None = None) -> None:
        key_id, right_secret = s3.user(store.target, allowed)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret or right_secret)

    return use


CHECK = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do there"


def test_a_key_that_may_nothing_or_is_wrong_is_refused(
    store: Proxy, bucket: str, use_key: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_key("s3:GetObject", "s3:ListBucket", secret="wrong")
    with s3.asking_for_keys(store.target):
        text = said(f"{bucket}/corpus", PermissionError)
        assert text == f"{bucket}/corpus: the object store refuses access (ACCESS_DENIED): {CHECK}"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
        remote._client.cache_clear()
        assert said(f"{bucket}/corpus", PermissionError) == text


def test_a_key_that_may_only_read_is_told_so_when_it_writes(
    store: Proxy, bucket: str, use_key: Callable[..., None]
) -> None:
    use_key("s3:GetObject", "s3:ListBucket")
    with s3.asking_for_keys(store.target):
        check_place(f"{bucket}/corpus")
        with pytest.raises(PermissionError) as error:
            Folder(f"{bucket}/out").publish_bytes(b"x", "lease.json")
    assert str(error.value) == f"{bucket}/out/lease.json: the object store refuses access (ACCESS_DENIED): {CHECK}"


def test_who_may_read_a_file_need_not_be_allowed_to_list_its_bucket(
    store: Proxy, bucket: str, use_key: Callable[..., None]
) -> None:
    Folder(bucket).publish_bytes(b"x", "corpus.txt")
    use_key("s3:GetObject")
    remote._client.cache_clear()
    with s3.asking_for_keys(store.target):
        check_place(f"{bucket}/corpus.txt")


def test_missing_keys_are_named(proxy: Proxy, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    proxy.faults = [Fault(where="", what="refused")]
    assert said(bucket, PermissionError).endswith(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set here: set them, or give this machine a role that may"
    )
    assert not any(proxy.signed)
