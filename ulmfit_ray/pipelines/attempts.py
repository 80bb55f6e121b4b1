"""One attempt at one shard, on a worker: what it raises is kept, and a shard that ends its worker is counted.

Ray starts a lost task or actor again without limit, because a dead node is noticed only after about 13 seconds and
takes shards until then: any number of retries may be spent in that time. So the limit is ours. A small file,
`started/<shard>.json`, is written before the work begins and deleted when it ends, however it ends. A shard whose
file says that it was begun three times before has ended three workers, and is not begun again.
"""

import itertools
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.reporting.logs import log_context
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
ATTEMPTS = 3
"""How often work that raises is tried."""
STARTS = 3
"""How many workers a shard may end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One pass over the shards of an output; workers get it too."""

    job: str
    """The verb, for logs."""
    stage: str
    """What the bar calls the phase."""
    output: str
    plan: str
    """Fingerprint that the receipts carry."""
    where: str = "done"
    """Folder of the receipts."""
    max_bad_fraction: float = 1.0

    @property
    def started(self) -> str:
        """Return the folder that counts how often each shard was begun."""
        return self.where.replace("done", "started")


class WorkerEndedError(RuntimeError):
    """Work that ended its worker (killed, out of memory, crashed) each time it was begun."""


@contextmanager
def counted_start(phase: Phase, name: str) -> Iterator[None]:
    """Count that work on `name` has begun; the count goes when the block is left, and stays if the worker dies in it.

    Raises:
        WorkerEndedError: it was begun `STARTS` times, and never left.
    """
    folder, file = Folder(phase.output), f"{phase.started}/{name}.json"
    starts = int(folder.read_json(file)["starts"]) if folder.exists(file) else 0
    if starts >= STARTS:
        raise WorkerEndedError(f"it ended its worker {starts} times (killed, out of memory, or crashed)")
    folder.publish_json({"starts": starts + 1}, file)
    try:
        yield
    finally:
        folder.delete(file)


def attempt(phase: Phase, shard: str, work: Callable[[], Receipt]) -> Outcome:
    """Run one shard's work, up to three times if it raises; return its receipt or why there is none."""
    began = time.time()
    with log_context(job=phase.job, stage=phase.stage, shard=shard):
        try:
            with counted_start(phase, shard):
                receipt = tried(work)
        except Exception as error:
            return failure(phase, shard, f"{type(error).__name__}: {error}", traceback.format_exc())
        Folder(phase.output).delete(f"failed/{shard}.txt")
        return Outcome(shard=shard, receipt=receipt, began=began, ended=time.time())


def tried(work: Callable[[], Result]) -> Result:
    """Return what the work gives; if it raises, try again, and raise what the last attempt raised."""
    for number in itertools.count(1):
        try:
            return work()
        except Exception as error:
            logger.warning("attempt %d of %d failed: %s: %s", number, ATTEMPTS, type(error).__name__, error)
            if number == ATTEMPTS:
                raise
            time.sleep(0.5 * 2**number)
    raise AssertionError("unreachable")


def failure(phase: Phase, shard: str, problem: str, details: str) -> Outcome:
    """Write failed/<shard>.txt and return the outcome that says that this shard was not made."""
    Folder(phase.output).publish_bytes(f"{problem}\n\n{details}\n".encode(), f"failed/{shard}.txt")
    return Outcome(shard=shard, receipt=None, problem=problem)
