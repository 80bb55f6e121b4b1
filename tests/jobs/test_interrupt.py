"""Ctrl-C and SIGTERM: status 130, in a training after a checkpoint and with a line that says from where it goes on."""

import gzip
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
SMALL = [
    *("--architecture.vocab-size", "2000", "--architecture.embedding-dim", "32", "--architecture.hidden-size", "64"),
    *("--architecture.num-layers", "2", "--training.global-batch-size", "16", "--training.bptt", "32"),
    *("--training.report-every-steps", "5", "--precision", "float32", "--scaling.num-cpus", "1"),
    *("--training.num-epochs", "4"),
]


SLEEPING = """
import sys, time
from ulmfit_ray.cli import run_job
from ulmfit_ray.commands.inspect import InspectConfig

def sleep(config):
    print("ready", flush=True)
    time.sleep(60)

def sleep_on_ray(config):
    from ulmfit_ray.pipelines.options import RayOptions
    from ulmfit_ray.pipelines.runtime import ray_session
    with ray_session(RayOptions(num_cpus=1)):
        sleep(config)

sys.exit(run_job(InspectConfig, {job}, "program", ["somewhere"]))
"""
"""A job that does nothing, and says when it has begun."""


def start(*arguments: str) -> subprocess.Popen[str]:
    return start_python("-m", "ulmfit_ray.cli", *arguments)


def start_python(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], status: int) -> str:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == status, text
    return text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("job", ["sleep", pytest.param("sleep_on_ray", marks=pytest.mark.ray)])
def test_any_job_that_is_interrupted_or_terminated_ends_with_130_and_says_so(job: str, number: int) -> None:
    process = start_python("-c", SLEEPING.format(job=job))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert finish(process, 130) == "\ninterrupted; run the same command again to go on from here\n"


@pytest.mark.long
def test_a_training_that_is_interrupted_and_then_terminated_says_from_which_step_it_goes_on(tmp_path: Path) -> None:
    with gzip.open(SAMPLE, "rt") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(400), strict=False)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    tokens, lm = str(tmp_path / "tokens"), tmp_path / "lm"
    finish(start("tokenize", "--input", str(tmp_path / "in.jsonl"), "--output", tokens), 0)
    train = ["pretrain", "--tokens", tokens, "--output", str(lm), *SMALL]
    before = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(*train)
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"pretrain: [\d,]+ of [\d,]+ steps", line):
                break
        time.sleep(1)
        process.send_signal(number)
        text = finish(process, 130)
        assert "stopping: the workers finish their step and write a checkpoint" in text
        stopped = re.search(r"stopped at step ([\d,]+): the same command goes on from there", text)
        assert stopped is not None, text
        step = int(stopped[1].replace(",", ""))
        assert step > before
        before = step
        assert (lm / f"checkpoints/step-{step:07d}/checkpoint.json").exists()
        assert not (lm / "lease.json").exists()
    finish(start(*train), 0)
    logged = [json.loads(line)["step"] for line in (lm / "training_log.jsonl").read_text().splitlines()]
    assert logged == sorted(logged)
