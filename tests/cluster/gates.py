"""Gates at which Ray's workers wait, so that a test can meet them in the middle of their work, however fast they are.

A worker gives each of its files its name in the output last (`Folder.publish`). A closed gate holds all that want to
name a file which its pattern fits. brake/sitecustomize.py is the workers' side.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from ray_nodes import workers_of

BRAKE = Path(__file__).with_name("brake")


class Gates:
    """The gates of a folder; processes that were started with `variables` wait at them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        before = os.environ.get("PYTHONPATH")
        self.variables = {
            "ULMFIT_RAY_TEST_GATES": str(folder),
            "PYTHONPATH": os.pathsep.join([str(BRAKE), *([before] if before else [])]),
        }

    def close(self, pattern: str) -> str:
        """Hold from now on whoever wants to give a file a name that fits; return the gate's own name."""
        name = secrets.token_hex(4)
        (self._folder / f"{name}.new").write_text(pattern)
        (self._folder / f"{name}.new").rename(self._folder / f"{name}.gate")
        return name

    def open(self, name: str) -> None:
        """Let all go on that wait at a gate."""
        (self._folder / f"{name}.gate").unlink()

    def open_all(self) -> None:
        """Let all go on."""
        for gate in self._folder.glob("*.gate"):
            gate.unlink()

    def held(self, name: str, node: Any = None) -> list[int]:
        """Return the processes that wait at a gate, of one node or of all; killed ones wait no more."""
        alive = None if node is None else {pid for pid, _ in workers_of(node)}
        waiting = [int(path.name.split(".")[1]) for path in self._folder.glob(f"{name}.*.held")]
        return [pid for pid in waiting if (_is_running(pid) if alive is None else pid in alive)]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
