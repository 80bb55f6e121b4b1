"""Every launch that made an output its own is written down with its end, and the report with it; neither ends a job."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ulmfit_ray.config import ConfigError, OutputRun, operational
from ulmfit_ray.lifecycle import claim_output, output_lease
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.launches import read_launches
from ulmfit_ray.storage.manifest import Manifest, write_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class JobConfig(OutputRun):
    """A job with one field that matters."""

    output: str = operational()
    size: int = 1


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def run(config: JobConfig, error: BaseException | None = None) -> None:
    """Do what a job does: claim the output, then fail or finish it."""
    with output_lease("verb", config):
        folder, manifest = claim_output("verb", config)
        if error is not None:
            raise error
        if manifest is None and not config.dry_run:
            write_manifest(folder, Manifest(job="verb", vocab="v", tokenizer="t", files={}))


def endings(output: str) -> list[tuple[str, str]]:
    return [(launch.ending, launch.reason) for launch in read_launches(Folder(output))]


def title(output: str) -> str:
    page = Path(output, "report.html").read_text()
    return page[page.index("<title>") + 7 : page.index("</title>")]


def test_each_launch_is_written_down_with_its_end_and_the_report_follows(output: str) -> None:
    config = JobConfig(output=output)
    with pytest.raises(OSError, match="disk"):
        run(config, OSError("disk"))
    assert title(output) == "verb: failed, unfinished"
    with pytest.raises(KeyboardInterrupt):
        run(config, KeyboardInterrupt("stopped at step 3"))
    assert title(output) == "verb: interrupted, unfinished"
    run(config)
    assert title(output) == "verb: finished"
    assert endings(output) == [("failed", "OSError: disk"), ("interrupted", "stopped at step 3"), ("finished", "")]
    launches = read_launches(Folder(output))
    assert all(launch.began < launch.ended and launch.versions["ulmfit-ray"] for launch in launches)
    before = {path.name: path.read_bytes() for path in Path(output).iterdir()}
    run(config)
    assert {path.name: path.read_bytes() for path in Path(output).iterdir()} == before


def test_a_report_is_there_while_the_job_runs(output: str) -> None:
    with output_lease("verb", JobConfig(output=output)):
        claim_output("verb", JobConfig(output=output))
        assert title(output) == "verb: running"


def test_a_job_that_was_killed_after_its_manifest_gets_its_report_by_the_next_run(output: str) -> None:
    with output_lease("verb", JobConfig(output=output)):
        folder, _ = claim_output("verb", JobConfig(output=output))
        killed = {name: folder.read_bytes(name) for name in ("launches.json", "report.html")}
    write_manifest(folder, Manifest(job="verb", vocab="v", tokenizer="t", files={}))
    for name, content in killed.items():
        folder.publish_bytes(content, name)
    run(JobConfig(output=output))
    assert endings(output) == [("finished", "")]
    assert title(output) == "verb: finished"


def test_a_job_that_is_refused_leaves_launches_and_report_as_they_were(output: str) -> None:
    with pytest.raises(OSError, match="disk"):
        run(JobConfig(output=output), OSError("disk"))
    before = {path.name: path.read_bytes() for path in Path(output).iterdir()}
    with pytest.raises(ConfigError):
        run(JobConfig(output=output, size=2))
    run(JobConfig(output=output, dry_run=True))
    assert {path.name: path.read_bytes() for path in Path(output).iterdir()} == before


def test_overwriting_begins_with_no_launches(output: str) -> None:
    run(JobConfig(output=output))
    run(JobConfig(output=output, size=2, overwrite=True))
    assert endings(output) == [("finished", "")]


def test_a_report_that_cannot_be_written_is_one_line_and_the_job_goes_on(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(output, "report.html").mkdir(parents=True)
    Path(output, "report.html", "in the way").touch()
    Folder(output).publish_json({"job": {"verb": "verb", "command": "c", "size": 1}}, "config.json")
    run(JobConfig(output=output))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"warning: the report of {output} could not be written: ") for line in lines)
    assert Folder(output).exists("manifest.json")
    assert endings(output) == [("finished", "")]
