"""With --log-format json each line on standard error is a JSON object, whoever wrote it."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ulmfit_ray.reporting.logs import VARIABLE, JsonLines, is_json, log_context, standard_error
from ulmfit_ray.reporting.progress import Bar

LOGGER = logging.getLogger("ulmfit_ray.some.module")


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_logged_printed_and_shown_as_progress_becomes_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("ulmfit_ray"), "handlers", [])
    with standard_error() as use, log_context(job="tokenize"):
        use("json")
        print("warning: a\n    b \ud800", file=sys.stderr)
        with Bar("1 tokenize", 4, "shards", done=1) as bar:
            bar.advance(1, documents=10)
            with log_context(shard="part-0000003"):
                LOGGER.warning("attempt %d failed", 1)
        try:
            raise ValueError("what")
        except ValueError:
            LOGGER.exception("it failed")
    print("text again", file=sys.stderr)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("text again\n")
    printed, *progress, attempt, _, failed = records(captured.err.removesuffix("text again\n"))
    assert {"level": "WARNING", "message": "warning: a\n    b \ud800", "job": "tokenize"}.items() <= printed.items()
    assert len(progress) == 1
    assert progress[0]["message"].startswith("1 tokenize: 2 of 4 shards, 10 documents")
    assert {"stage": "1 tokenize", "done": 2, "total": 4, "documents": 10, "level": "INFO"}.items() <= progress[
        0
    ].items()
    expected = {"unit": "part-0000003", "stage": "1 tokenize", "job": "tokenize", "message": "attempt 1 failed"}
    assert expected.items() <= attempt.items()
    assert failed["exception"].endswith("ValueError: what")
    assert all(record["time"].endswith("+00:00") for record in (printed, attempt, failed))
    assert not is_json()


def test_a_record_is_what_one_call_has_printed() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    lines.write("error: half")
    assert stream.getvalue() == ""
    lines.write(" and half\n")
    lines.write("\n")
    (record,) = records(stream.getvalue())
    assert (record["level"], record["message"]) == ("ERROR", "error: half and half")


def test_text_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    with standard_error() as use:
        use("text")
        print("warning: a", file=sys.stderr)
    assert capsys.readouterr().err == "warning: a\n"


def test_a_worker_writes_json_when_its_environment_says_so() -> None:
    program = """if True:
        import logging
        from ulmfit_ray.reporting.logs import configure_logging, log_context
        configure_logging()
        with log_context(job="embed", stage="embed", shard="part-0000007"):
            logging.getLogger("ulmfit_ray.x").warning("attempt 1 failed")
    """
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {VARIABLE: "json"}, capture_output=True, text=True, check=True
    )
    (record,) = records(done.stderr)
    assert (record["job"], record["stage"], record["unit"]) == ("embed", "embed", "part-0000007")


@pytest.mark.parametrize("given", ["typed", "file"])
def test_a_mistake_is_a_record_too(given: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('log_format = "json"\n' if given == "file" else "")
    arguments = [str(config), "--log-format", "json"] if given == "typed" else [str(config)]
    command = [sys.executable, "-m", "ulmfit_ray.cli", "index", *arguments]
    options = ["--embeddings", str(tmp_path / "nothing"), "--output", str(tmp_path / "out")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (record,) = records(done.stderr)
    assert (record["level"], record["job"]) == ("ERROR", "index")
    assert "nothing" in record["message"]
