"""One setting of a sweep, in a process of Ray Tune: the verb itself, whose progress goes to the sweep's driver.

The process only watches; the workers of Ray Train do the work. So a setting trains, writes checkpoints, resumes and
ends exactly as its own command does, and its model directory is that of its own command.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from ulmfit_ray.pipelines.sweep.grid import Setting
from ulmfit_ray.pipelines.train import classifier, finetune, pretrain, retriever
from ulmfit_ray.pipelines.train.mailbox import Mailbox, Message
from ulmfit_ray.pipelines.train.watch import heard_by
from ulmfit_ray.reporting.logs import configure_logging, log_context
from ulmfit_ray.reporting.sweep_table import figure_named
from ulmfit_ray.storage.checkpoints import newest_checkpoint
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import LogRow

RUNS: dict[str, Callable[[Any], Any]] = {
    "pretrain": pretrain.run,
    "finetune": finetune.run,
    "train-retriever": retriever.run,
    "train-classifier": classifier.run,
}
"""The training verbs by name."""
FOLDER = "ray-tune"
"""What lies there is of one run of the sweep."""
logger = logging.getLogger(__name__)


def given_up_file(name: str) -> str:
    """Return the file that says, in the sweep's folder, that a setting is to end early."""
    return f"{FOLDER}/given-up/{name}"


def train_trial(
    config: dict[str, str], *, verb: str, settings: Mapping[str, Setting], figure: str, mailbox: Mailbox
) -> None:
    """Train the setting that Tune chose, or go on training it, and tell Tune each epoch's figure.

    An error is told, not raised: Tune would print its traceback in the middle of the sweep's own lines.
    """
    configure_logging()
    setting = settings[config["setting"]]
    ears = _Ears(setting, figure, mailbox)
    problem = ""
    with log_context(job=f"sweep {verb}", stage=setting.name), heard_by(ears.hear):
        try:
            ears.remember()
            if not ears.is_given_up:
                RUNS[verb](setting.config)
        except KeyboardInterrupt as stopped:
            logger.info("%s", stopped)
        except Exception as error:
            logger.exception("%s failed", setting.name)
            problem = _in_a_line(error)
    ears.report(problem=problem, is_over=not ears.is_given_up)


def _in_a_line(error: Exception) -> str:
    """Return an error's message for a table: of Ray's messages, which are whole tracebacks, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        return lines[-1]
    return " ".join(lines) or type(error).__name__


class _Ears:
    """Hears what is said in the training of a setting."""

    def __init__(self, setting: Setting, figure: str, mailbox: Mailbox) -> None:
        self._setting, self._figure, self._mailbox = setting, figure, mailbox
        self._began = time.monotonic()
        self._epochs = _Epochs(figure)
        self._step = 0
        self._sweep = Folder(setting.config.output.rpartition("/")[0])
        self.is_given_up = False
        """Whether the scheduler has decided that this setting is not worth going on."""

    def remember(self) -> None:
        """Tell Tune the epochs of earlier runs, up to the checkpoint that the training goes on from."""
        folder = Folder(self._setting.config.output)
        found = newest_checkpoint(folder)
        if found is None:
            return
        self._step = found.step
        for line in folder.read_bytes(f"{found.name}/training_log.jsonl").splitlines():
            row = json.loads(line)
            is_epoch = self._epochs.add(row, is_epoch_end="learning_rate" not in row)
            if is_epoch and not found.is_last and not self.is_given_up:
                self.report()

    def hear(self, messages: list[Message]) -> bool:
        """Pass on how far the training is; tell whether it is to stop."""
        for message in messages:
            if "row" not in message:
                continue
            row, num_steps = message["row"], message["num_steps"]
            steps, self._step = row["step"] - self._step, row["step"]
            tokens = row.get("tokens", 0)
            said = {"steps": steps, "steps_left": num_steps - self._step, "tokens": tokens}
            self._mailbox.put({"trial": self._setting.name} | said)
            is_epoch = self._epochs.add(row, is_epoch_end=message["is_epoch_end"])
            # Not at the last one: nothing would be saved by stopping there, and the model is not yet written.
            if is_epoch and self._step < num_steps and not self.is_given_up:
                self.report()
        return self.is_given_up or self._mailbox.is_stop_asked()

    def report(self, problem: str = "", *, is_over: bool = False) -> None:
        """Tell Tune what is known, and see whether it goes on."""
        said = {"seconds": time.monotonic() - self._began, "epochs": self._epochs.found}
        tune.report(said | {"problem": problem, "is_over": is_over} | self._epochs.last())
        # Tune has decided when its answer is here. A trial that it ended itself would leave its workers' cores taken.
        self.is_given_up = self._sweep.exists(given_up_file(self._setting.name))


class _Epochs:
    """The figure at the end of each epoch: the newest one, as some tasks have none of their own there."""

    def __init__(self, figure: str) -> None:
        self._figure = figure
        self._newest: float | None = None
        self.found: list[list[float]] = []

    def add(self, row: LogRow, *, is_epoch_end: bool) -> bool:
        """Read a row of the training log; tell whether it ends an epoch whose figure is known."""
        figure = figure_named(row, self._figure)
        self._newest = self._newest if figure is None else figure
        if not is_epoch_end or self._newest is None:
            return False
        self.found.append([row["epoch"], self._newest])
        return True

    def last(self) -> dict[str, float]:
        """Return the last epoch and its figure under the names that the scheduler knows, or {}."""
        return dict(zip(("epoch", "figure"), self.found[-1], strict=True)) if self.found else {}
