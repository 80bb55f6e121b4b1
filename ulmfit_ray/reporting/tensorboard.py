"""A training's log as event files that TensorBoard shows while it goes on: `tensorboard --logdir OUTPUT/tensorboard`.

The driver writes them, from the rows that rank 0 sends: workers need no package for it, and see no second file system.
Each start writes the rows up to its checkpoint anew into a new file, and empties the one before: no point is ever there
twice, and a training that was begun without event files is shown from its first step.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from ulmfit_ray.reporting.training_log import Row, figures, is_training, tokens_per_second
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.scratch import scratch_directory

FOLDER = "tensorboard"
PUBLISH_SECONDS = 30
"""Seconds between two uploads to an object store, where a file can only be replaced as a whole."""


class EventFiles(ExitStack):
    """The event files of one output. Locally a file grows in its place: TensorBoard reads on where it stopped."""

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        self._folder = folder
        self._place = Path(folder.path(FOLDER)) if folder.is_local else self.enter_context(scratch_directory())
        self._writing = self.enter_context(ExitStack())
        self._published = 0.0

    def begin(self, log: list[Row]) -> None:
        """Begin anew with the rows of a log, in place of what was written before."""
        # tensorboardX takes two seconds to import, and only who asks for event files pays for it.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._writing.close()
        self._empty()
        self._place.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(self._place / "events"))
        self._writing.callback(self._publish)
        self._writing.callback(self._writer.close)
        # A TensorBoard that is running forgets what it has read, from step 0 on.
        self._writer.write_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        moment = time.time() - sum(row.get("seconds", 0) for row in log)
        for row in log:
            moment += row.get("seconds", 0)
            self._write(row, moment)
        self._writer.flush()

    def _empty(self) -> None:
        """Empty the file of an earlier start. A TensorBoard reading it goes on to the next, but not if it is gone."""
        for name in self._folder.names(FOLDER):
            if self._folder.size(f"{FOLDER}/{name}"):
                self._folder.publish_bytes(b"", f"{FOLDER}/{name}")
            else:
                self._folder.delete_file(f"{FOLDER}/{name}")

    def add(self, row: Row) -> None:
        """Add a row that has just come."""
        self._write(row, time.time())

    def flush(self) -> None:
        """Let TensorBoard see what was added."""
        self._writer.flush()
        if time.monotonic() - self._published >= PUBLISH_SECONDS:
            self._publish()

    def _write(self, row: Row, moment: float) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        shown = figures(row)
        if is_training(row):
            shown |= {"learning_rate": row["learning_rate"], "tokens_per_second": tokens_per_second([row])}
        kind = "train" if is_training(row) else "validation"
        values = [Summary.Value(tag=f"{kind}/{name}", simple_value=value) for name, value in shown.items()]
        self._writer.write_event(Event(wall_time=moment, step=int(row["step"]), summary=Summary(value=values)))

    def _publish(self) -> None:
        if not self._folder.is_local:
            newest = max(self._place.iterdir())
            self._folder.publish(newest, f"{FOLDER}/{newest.name}")
        self._published = time.monotonic()
