"""The records of a sweep's settings."""

from dataclasses import replace

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.trial_record import TrialRecord, read_trials, write_trials


def test_records_come_back_as_they_were_written(folder: Folder) -> None:
    assert read_trials(folder) == {}
    records = {
        name: TrialRecord(name=name, values={"seed": 1, "blocks": ["words"], "size": None}, epochs=[[1, 0.5]])
        for name in ("blocks=words,seed=1", "training.learning_rate=1e-05")
    }
    write_trials(folder, records.values())
    assert read_trials(folder) == records
    failed = replace(records["blocks=words,seed=1"], state="failed", problem="no reason", seconds=1.5)
    write_trials(folder, [failed])
    assert read_trials(folder) == records | {failed.name: failed}
