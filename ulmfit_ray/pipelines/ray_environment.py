"""What Ray reads from the environment when it is imported, settled before anything of this room imports it.

Whatever is set already stays as it is.
"""

import os
import secrets
import sys
from pathlib import Path

VARIABLES = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Ray Tune's thread, still there when a second Ctrl-C has ended the session, would start a new one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # How often Ray Train looks whether workers have ended or are lost: at its 2 seconds short trainings wait for it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A process that tells workers which nodes are about to leave; ours do not ask. Each idle process of Ray wakes up a
    # hundred times a second, and on two cores a training step waits for it.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A sweep has seven processes for each setting, of which one works; Ray warns of more than four for a core.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "PYTHON worker processes have been started on node",
}


def settle() -> None:
    """Set the variables, and turn token authentication on: a session answers only those who show its token.

    The token is that of the environment or of this machine's file. Where there is none, one is made for this process
    and those it starts; `ray.init` would write one into HOME, after which `ray start` demands what `ray job submit`
    does not send. A cluster that knows no tokens does not look at it. Where Ray has been imported already (a notebook's
    first line), it is too late: the processes that it starts would demand what it does not show.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    if "ray" in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        if not _has_token():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).expanduser().exists()
