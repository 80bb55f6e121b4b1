"""What runs a command when it is unpickled by somebody who allows that."""

import os
from pathlib import Path
from typing import Any


class Hostile:
    """Makes the file `path` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)
