"""The commit protocol under fire: attempts at shards are killed at 200 random moments, without Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kill_attempts.py")
KILLS = 200


@pytest.mark.slow
def test_whatever_moment_an_attempt_is_killed_at_the_next_one_makes_the_same_bytes(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "7", str(KILLS)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    done = json.loads(ran.stdout)
    assert sum(done.values()) == KILLS
    for phase in ("tokenize", "numericalize"):
        for signal in ("SIGKILL", "SIGINT", "SIGTERM"):
            assert done[f"{phase} {signal} in the middle"] > 0
