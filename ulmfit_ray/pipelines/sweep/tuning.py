"""The settings of a sweep as trials of Ray Tune: how many run at once, which are stopped early, how each ended.

Tune starts and stops; it remembers nothing for us. What it writes lies in ray-tune/ below the output and is deleted:
the next run of the command asks the model directories what is finished, and each training its own checkpoints.
"""

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.sweep.config import SweepOptions
from ulmfit_ray.pipelines.sweep.grid import Setting
from ulmfit_ray.pipelines.sweep.trial import FOLDER, given_up_file, train_trial
from ulmfit_ray.pipelines.train.mailbox import Mailbox
from ulmfit_ray.storage.folder import Folder, quoted_uri
from ulmfit_ray.storage.trial_record import TrialRecord

MAX_FAILURES = 3
"""How often a trial whose process is lost (with its node, or for want of memory) is started again."""
ONE_BYTE = {"memory": 1.0}
"""What a trial's own process asks for: it only waits. Tune wants it to ask for something, and a thousandth of a core
would keep a worker from that core."""


def make_tuner(
    verb: str,
    settings: Sequence[Setting],
    *,
    folder: Folder,
    mailbox: Mailbox,
    scheduler: TrialScheduler,
    figure: str,
    num_parallel: int,
) -> tune.Tuner:
    """Return a tuner whose `fit` trains the settings, at most `num_parallel` at once, in their order."""
    for name in ("ray.tune", "ray.train", "ray.air"):
        # What goes wrong in a trial is told by the sweep itself, in a line.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # No files and no tables of Tune's own; and a trial may end before it has a figure.
    names = ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_DISABLE_STRICT_METRIC_CHECKING")
    os.environ |= dict.fromkeys(names, "1") | {"RAY_AIR_NEW_OUTPUT": "0"}
    by_name = {setting.name: setting for setting in settings}
    trial = partial(train_trial, verb=verb, settings=by_name, figure=figure, mailbox=mailbox)
    return tune.Tuner(
        tune.with_resources(trial, ONE_BYTE),
        param_space={"setting": tune.grid_search(list(by_name))},
        tune_config=tune.TuneConfig(scheduler=scheduler, search_alg=_UntilStopped(num_parallel, mailbox)),
        run_config=tune.RunConfig(
            name=f"launch-{secrets.token_hex(4)}",
            storage_path=quoted_uri(f"{folder.uri}/{FOLDER}"),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[_Ends(mailbox)],
            verbose=0,
        ),
    )


class _UntilStopped(BasicVariantGenerator):
    """Gives Tune one setting after the other until somebody asks the sweep to stop."""

    def __init__(self, max_concurrent: int, mailbox: Mailbox) -> None:
        super().__init__(max_concurrent=max_concurrent)
        self._mailbox = mailbox

    def next_trial(self) -> Any:
        """Return the next trial, None if there is none now."""
        if self._mailbox.is_stop_asked():
            self.set_finished()
        return super().next_trial()


class _Ends(tune.Callback):
    """Tells the sweep how a trial ended, in Tune's own process."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass on what the trial reported last."""
        self._put(trial, {})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say why the trial's process ended: an error of the training is reported, and does not come here."""
        lines = (trial.get_error() or "no reason is known").strip().splitlines()
        self._put(trial, {"problem": f"its process was lost {MAX_FAILURES + 1} times: {lines[-1]}"})

    def _put(self, trial: Any, more: dict[str, Any]) -> None:
        known = trial.last_result or {}
        said = {name: known[name] for name in ("seconds", "problem", "epochs", "is_over") if name in known}
        self._mailbox.put({"ended": trial.config["setting"]} | said | more)


class _GentleASHA(ASHAScheduler):
    """Asks a trial to end where ASHA would have its process ended at once.

    The workers of a training whose process ends keep their cores in a session without a dashboard, and the next
    setting would wait for ever; and a trial that is asked writes a checkpoint.
    """

    def __init__(self, folder_uri: str, **options: Any) -> None:
        super().__init__(**options)
        self._folder_uri = folder_uri

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Note down that a trial is to end; let Tune go on with all."""
        if super().on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP:
            Folder(self._folder_uri).publish_json({}, given_up_file(trial.config["setting"]))
        return TrialScheduler.CONTINUE


def make_scheduler(
    options: SweepOptions,
    folder: Folder,
    *,
    is_high_good: bool,
    most_epochs: int,
    records: Mapping[str, TrialRecord],
) -> TrialScheduler:
    """Return what decides which trials go on; it knows the epochs of the settings that are done, in `records`."""
    if options.early_stopping == "none":
        return FIFOScheduler()
    asha = _GentleASHA(
        folder.uri,
        time_attr="epoch",
        metric="figure",
        mode="max" if is_high_good else "min",
        max_t=most_epochs,
        grace_period=options.min_epochs,
        reduction_factor=options.reduction_factor,
        # A trial at its last epoch is over anyway, and its model must still be written.
        stop_last_trials=False,
    )
    for record in records.values():
        # All that the scheduler asks of a trial is its id.
        stand_in: Any = SimpleNamespace(trial_id=record.name, config={"setting": record.name})
        controller: Any = None
        asha.on_trial_add(controller, stand_in)
        for epoch, figure in record.epochs:
            asha.on_trial_result(controller, stand_in, {"epoch": epoch, "figure": figure})
    return asha


def nodes_of_cluster() -> list[tuple[int, int]]:
    """Return the CPUs and GPUs of each node."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in found]


def share_out(
    scaling: Scaling, num_settings: int, nodes: Sequence[tuple[int, int]], most: int | None = None
) -> tuple[int, int]:
    """Return how many settings are trained at once, and with how many cores for each of their workers.

    As many settings as there are workers' places for come first, for they cost nothing; what cores remain are shared.
    """

    def places(num_cpus: int) -> int:
        return sum(min(cpus // num_cpus, gpus if scaling.use_gpu else cpus) for cpus, gpus in nodes)

    wanted = min(num_settings, most or num_settings)
    num_parallel = max(1, min(wanted, places(scaling.num_cpus or 1) // scaling.num_workers))
    if scaling.num_cpus or scaling.use_gpu:
        return num_parallel, scaling.num_cpus or 1
    largest = max((cpus for cpus, _ in nodes), default=1)
    shared = (size for size in range(largest, 1, -1) if places(size) >= num_parallel * scaling.num_workers)
    return num_parallel, next(shared, 1)
