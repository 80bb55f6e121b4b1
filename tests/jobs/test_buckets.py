"""A job that is stopped while it writes into a bucket leaves nothing there that looks done, and is finished later."""

import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3
from kill_and_resume import finish, kill_all, start
from s3 import Fault, Proxy

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.store_errors import bucket_of

SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
OPTIONS = ["--input", str(SAMPLE), "--ray.num-cpus", "2"]


def hashes(place: str, name: str) -> dict[str, str]:
    folder = Folder(f"{place}/{name}")
    return {file: folder.sha256(file) for file in folder.names()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the job makes on a local disk when nobody disturbs it."""
    output = str(tmp_path_factory.mktemp("whole") / "tokens")
    finish("tokenize", output, OPTIONS)
    return output


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGINT, "work/part-0000000-00003.arrow"),
        (signal.SIGTERM, "shards/part-0000000-00003.arrow"),
        (signal.SIGKILL, "work/part-0000000-00003.arrow"),
        (signal.SIGKILL, "shards/part-0000000-00003.arrow"),
    ],
)
def test_a_job_stopped_in_the_middle_of_an_upload_is_finished_by_the_same_command(
    number: signal.Signals, where: str, whole: str, bucket: str, proxy: Proxy
) -> None:
    stopped = f"{bucket}/stopped"
    fault = Fault(where=where, what="stall", after_bytes=10_000, times=1)
    proxy.faults = [fault]
    mark = uuid.uuid4().hex
    process = start("tokenize", stopped, OPTIONS, mark)
    assert fault.met.wait(120), process.communicate()[0]
    if number == signal.SIGKILL:
        kill_all(mark)
    else:
        process.send_signal(number)
    proxy.released.set()
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130 if number == signal.SIGINT else process.returncode, text
    kill_all(mark)
    assert not Folder(stopped).exists("manifest.json")
    receipts = [name.removesuffix(".json") for name in Folder(stopped).names("done")]
    assert hashes(stopped, "shards").items() <= hashes(whole, "shards").items()
    assert {f"{shard}.arrow" for shard in receipts} <= set(hashes(stopped, "shards"))
    inspected = subprocess.run(
        [sys.executable, "-m", "ulmfit_ray.cli", "inspect", stopped], capture_output=True, text=True, check=False
    )
    assert inspected.returncode == 2
    assert "its tokenize job has not finished" in inspected.stderr
    finish("tokenize", stopped, OPTIONS)
    assert hashes(stopped, "shards") == hashes(whole, "shards")
    assert Folder(stopped).sha256("vocab.json") == Folder(whole).sha256("vocab.json")
    assert hashes(stopped, "quarantine") == {}


@pytest.fixture
def ray_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a job's Ray keeps its logs. Sockets lie there, too, so the path must be short."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as place:
        monkeypatch.setenv("RAY_TMPDIR", place)
        yield Path(place)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.long
def test_the_secret_is_in_nothing_that_a_job_says_writes_or_logs(bucket: str, proxy: Proxy, ray_files: Path) -> None:
    secret = s3.CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode()
    process = start("tokenize", f"{bucket}/tokens", OPTIONS, uuid.uuid4().hex)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert any(proxy.signed)
    client = s3.client(proxy.target)
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=bucket_of(bucket))["Contents"]]
    stored = {key: client.get_object(Bucket=bucket_of(bucket), Key=key)["Body"].read() for key in keys}
    logs = {str(path): path.read_bytes() for path in ray_files.rglob("*") if path.is_file()}
    assert any("raylet" in path for path in logs)
    assert "tokens/manifest.json" in stored
    found = {"what it says": text.encode()} | stored | logs
    assert [place for place, content in found.items() if secret in content] == []
