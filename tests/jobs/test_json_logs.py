"""A job that fails with --log-format json: each line on standard error is JSON, those of its workers too."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.lifecycle import claim_output
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for all that Ray writes; its sockets do not fit into the long name of a test's folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def own_records(logs: Path) -> list[dict[str, Any]]:
    """Return what our code has logged in Ray's workers."""
    lines = [line for path in logs.glob("worker-*.err") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{") and "ulmfit_ray" in line]


@pytest.mark.ray
@pytest.mark.slow
def test_each_line_on_standard_error_is_json_and_a_failed_unit_is_named_with_job_and_stage(
    tmp_path: Path, ray_folder: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one two three"}\n{not json\n')
    config = TokenizeConfig(
        input=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out"), min_freq=1, max_bad_fraction=0.9
    )
    claim_output("tokenize", config)
    # Where a folder of shards should be.
    (tmp_path / "out/shards").touch()
    options = ["--input", *config.input, "--output", config.output, "--min-freq", "1", "--max-bad-fraction", "0.9"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ulmfit_ray.cli", "tokenize", *options),
            *("--log-format", "json", "--ray.num-cpus", "2"),
        ],
        env=environment | {"RAY_TMPDIR": str(ray_folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "message", "job"} <= set(record) for record in records)
    progress = [record for record in records if "done" in record]
    assert {record["stage"] for record in progress} == {"1 tokenize", "2 vocabulary", "3 numericalize"}
    assert records[-1]["level"] == "ERROR"
    assert records[-1]["message"].startswith("error: 1 units failed")
    attempts = own_records(ray_folder / "ray/session_latest/logs")
    assert attempts
    for record in attempts:
        assert (record["job"], record["stage"], record["unit"]) == ("tokenize", "3 numericalize", "part-0000000")
        assert record["level"] == "WARNING"
        assert record["message"].startswith("attempt ")
    page = Path(config.output, "report.html").read_text()
    assert "<title>tokenize: failed, unfinished</title>" in page
    assert "part-0000000" in page
    assert "malformed JSON" in page
