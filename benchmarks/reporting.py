"""What every benchmark's result says beside its figures, and where it goes."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch


def machine() -> str:
    """Return what the figures were measured on."""
    name = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", "")
    return f"{name or platform.processor()} {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def report(result: dict[str, Any], output: Path | None) -> None:
    """Print a result as JSON, and write it to a file if one is named."""
    text = json.dumps({"machine": machine()} | result, indent=2)
    print(text)
    if output is not None:
        output.write_text(text + "\n")
