"""Every setting of a grid as a training of its own, several at once: a model directory each, one table, one picture.

What is finished is asked of the model directories, each by its own verb, before anything runs: a mistake in the last
setting is found there, too. So the command can be run again after anything, and with another grid: what is finished
stays, what was begun goes on from its own checkpoint, and settings that are new are added.
"""

import contextlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ulmfit_ray.config import ConfigError, flatten, to_dict
from ulmfit_ray.lifecycle import LAYOUT, claim_output, output_lease, print_dry_run
from ulmfit_ray.pipelines.runtime import is_on_cluster, ray_session, require_resources
from ulmfit_ray.pipelines.sweep.grid import Setting, base_config, settings_of
from ulmfit_ray.pipelines.sweep.results import table_of, write_results, write_sweep_manifest
from ulmfit_ray.pipelines.sweep.trial import FOLDER, RUNS
from ulmfit_ray.pipelines.sweep.tuning import make_scheduler, make_tuner, nodes_of_cluster, share_out
from ulmfit_ray.pipelines.sweep.watch import watch
from ulmfit_ray.pipelines.train.mailbox import Mailbox, Message
from ulmfit_ray.reporting.progress import duration
from ulmfit_ray.reporting.sweep_table import SweepTable, is_high_good, print_sweep, shown_figure
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import find_job
from ulmfit_ray.storage.trial_record import State, TrialRecord, read_trials, write_trials
from ulmfit_ray.training.config import MOST_EPOCHS

if TYPE_CHECKING:
    # runtime.py must come before anything of Ray's.
    from ray.tune.schedulers import TrialScheduler


def run(config: Any) -> SweepTable | None:
    """Train every setting that is not finished, write and print the table, and return it (None after --dry-run).

    Raises:
        ConfigError: a setting that its verb refuses, or another sweep's output.
        RuntimeError: some settings failed; the others are finished, and the table is written.
        KeyboardInterrupt: it was stopped; settings that had begun have a checkpoint.
    """
    sweep = _Sweep(config, settings_of(config))
    sweep.check()
    if config.dry_run:
        sweep.print_plan()
        return None
    if sweep.pending:
        # From here on the output is unfinished again.
        sweep.folder.delete("manifest.json")
        with output_lease(sweep.verb, config):
            sweep.claim()
            with ray_session(config.ray):
                sweep.train()
            return sweep.finish(sweep.verb)
    return sweep.finish("complete, nothing to do")


class _Sweep:
    """One run of the command: what is known of each setting, and what is done about it."""

    def __init__(self, config: Any, settings: list[Setting]) -> None:
        self.config, self.settings = config, settings
        self.verb = f"sweep {config.verb}"
        self.folder = Folder(config.output)
        self.figure = config.sweep.figure or config.figure
        self.records: dict[str, TrialRecord] = {}

    @property
    def pending(self) -> list[Setting]:
        """Return the settings of which something remains to be done."""
        done = ("finished", "stopped early") if self.config.sweep.early_stopping != "none" else ("finished",)
        return [setting for setting in self.settings if self.records[setting.name].state not in done]

    def check(self) -> None:
        """Find out what is finished, and whether each setting can be trained; nothing is written."""
        config = self.config
        claim_output(self.verb, replace(config, dry_run=True))
        _check_early_stopping(config, self.settings)
        self.records = {} if config.overwrite else read_trials(self.folder)
        finished = {setting.name: _is_finished(config, setting) for setting in self.settings}
        for setting in self.settings:
            self.records.setdefault(setting.name, TrialRecord(name=setting.name, values=setting.values))
        for name, record in self.records.items():
            # The model directory is believed, not the record: a setting of an earlier grid may have gone, too.
            if finished[name] if name in finished else Folder(self._uri(name)).exists("manifest.json"):
                self.records[name] = replace(record, state="finished", problem="")
            elif record.state == "finished":
                self.records[name] = replace(record, state="unfinished")

    def print_plan(self) -> None:
        """Print what would be done."""
        print_dry_run(self.config, f"{len(self.pending)} of {len(self.settings)} settings to be trained")
        for setting in self.settings:
            print(f"    {setting.name}: {self.records[setting.name].state}")

    def claim(self) -> None:
        """Make the output ours, and write down its settings."""
        if self.config.overwrite and find_job(self.folder) is not None:
            for name in read_trials(self.folder):
                model = Folder(self._uri(name))
                if find_job(model) is not None:
                    for file in LAYOUT:
                        model.delete(file)
        claim_output(self.verb, self.config)
        write_trials(self.folder, self.records.values())

    def train(self) -> None:
        """Train what is pending, and write down how each setting ended."""
        scaling, options, pending = self.config.scaling, self.config.ray, self.pending
        least = scaling.least_workers * (scaling.num_cpus or 1)
        num_gpus = scaling.least_workers if scaling.use_gpu else 0
        what = f"one setting with {scaling.least_workers} workers"
        require_resources(options, num_cpus=least, num_gpus=num_gpus, what=what)
        most = self.config.sweep.max_parallel
        num_parallel, num_cpus = share_out(scaling, len(pending), nodes_of_cluster(), most)
        if is_on_cluster(options) and most:
            # What does not fit waits for its workers, and an autoscaling cluster grows for it.
            num_parallel = min(most, len(pending))
        print(
            f"{self.verb}: {len(self.settings)} settings, {len(pending)} to be trained, {num_parallel} at once,"
            f" each with {scaling.num_workers} workers of {num_cpus} cores",
            flush=True,
        )
        scaling = replace(scaling, num_cpus=num_cpus)
        self.folder.delete(FOLDER)
        mailbox = Mailbox()
        tuner = make_tuner(
            self.config.verb,
            [replace(setting, config=replace(setting.config, scaling=scaling)) for setting in pending],
            folder=self.folder,
            mailbox=mailbox,
            scheduler=self._scheduler(),
            figure=self.figure,
            num_parallel=num_parallel,
        )
        watch(tuner, mailbox, self.verb, num_settings=len(pending), on_end=self._ended)
        mailbox.close()
        self.folder.delete(FOLDER)

    def _scheduler(self) -> "TrialScheduler":
        pending = {setting.name for setting in self.pending}
        return make_scheduler(
            self.config.sweep,
            self.folder,
            is_high_good=is_high_good(self.figure),
            most_epochs=_most_epochs(self.settings),
            # A pending setting tells its own past again.
            records={name: record for name, record in self.records.items() if name not in pending},
        )

    def _ended(self, message: Message) -> str:
        """Write down how a setting ended; return what to say of it."""
        known = self.records[message["ended"]]
        problem = message.get("problem", "")
        state: State = "unfinished" if message.get("is_over") else "stopped early"
        if Folder(self._uri(known.name)).exists("manifest.json"):
            state = "finished"
        elif problem:
            state = "failed"
        seconds = message.get("seconds", 0.0)
        epochs = message.get("epochs", known.epochs)
        record = replace(known, state=state, problem=problem, epochs=epochs, seconds=known.seconds + seconds)
        self.records[record.name] = record
        write_trials(self.folder, [record])
        if state == "failed":
            return f"{record.name} failed: {problem}"
        said = f"{self.figure} {shown_figure(self.figure, epochs[-1][1])}, " if epochs else ""
        return f"{record.name} {state}: {said}{duration(seconds)}"

    def finish(self, title: str) -> SweepTable:
        """Write and print the table; raise if it is not complete."""
        own = [self.records[setting.name] for setting in self.settings]
        names = {record.name for record in own}
        earlier = [record for name, record in self.records.items() if name not in names]
        base = flatten(to_dict(base_config(self.config)))
        table, models = table_of(self.folder, own + earlier, self.figure, base)
        write_results(self.folder, table)
        print_sweep(title, table, self.folder.uri)
        states = [record.state for record in own]
        if "failed" in states:
            raise RuntimeError(
                f"{states.count('failed')} of {len(states)} settings failed, see above:"
                " the same command tries them once more"
            )
        if "unfinished" in states:
            raise KeyboardInterrupt(
                f"stopped: {states.count('unfinished')} of {len(states)} settings are unfinished;"
                " the same command goes on from here"
            )
        write_sweep_manifest(self.folder, self.verb, table, models)
        return table

    def _uri(self, name: str) -> str:
        return f"{self.folder.uri}/{name}"


def _is_finished(config: Any, setting: Setting) -> bool:
    """Tell whether a setting's model is complete, by its verb's own look at it, which is a dry run.

    Raises:
        ConfigError: the verb refuses the setting; the message names it.
    """
    planned = replace(setting.config, dry_run=True, overwrite=config.overwrite)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return RUNS[config.verb](planned) is not None
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{error}\n    (the setting {setting.name})") from error


def _most_epochs(settings: list[Setting]) -> int:
    """Return the epochs of the longest training, or the most that can be chosen for a corpus."""
    return max(setting.config.training.num_epochs or MOST_EPOCHS for setting in settings)


def _check_early_stopping(config: Any, settings: list[Setting]) -> None:
    if config.sweep.early_stopping != "none" and config.sweep.min_epochs >= _most_epochs(settings):
        raise ConfigError(
            f"--sweep.early-stopping {config.sweep.early_stopping} compares settings at the end of epoch"
            f" {config.sweep.min_epochs} (--sweep.min-epochs) and later, and they have"
            f" {_most_epochs(settings)}: raise --training.num-epochs"
        )
