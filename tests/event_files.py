"""Reads the event files of a training, as TensorBoard does."""

import struct
from typing import Any

from tensorboardX.proto.event_pb2 import Event

from ulmfit_ray.storage.folder import Folder


def events(output: Folder) -> list[Any]:
    """Return all events. A record is a length (8 bytes), its checksum (4), an event, and its checksum (4)."""
    found = []
    for name in output.names("tensorboard"):
        content = output.read_bytes(f"tensorboard/{name}")
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    return found


def points(output: Folder) -> list[tuple[str, int, float]]:
    """Return tag, step and value of each point."""
    return [(value.tag, event.step, value.simple_value) for event in events(output) for value in event.summary.value]
