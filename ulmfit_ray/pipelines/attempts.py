"""One attempt at one shard, on a worker: what it raises is kept, and a shard that ends its worker is counted.

Ray starts a lost task or actor again without limit, because a dead node is noticed only after about 13 seconds and
takes shards until then: any number of retries may be spent in that time. So the limit is ours. A small file,
`started/<shard>.json`, is written before the work begins and deleted when it raises; after work that went well it
stays until the phase ends, because a deletion is three requests to an object store. A shard whose file says that it was
begun three times before, and which has no receipt, has ended three workers, and is not begun again.
"""

import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ulmfit_ray.lifecycle import Outcome
from ulmfit_ray.reporting.logs import log_context
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt, find_receipt
from ulmfit_ray.storage.store_errors import StoreLostError

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


class Company:
    """The shards that are under way in this process: two of them in an actor that reads one while it encodes another.

    When a worker dies, all that was under way in it is counted. So what was begun before is begun again alone, and
    only the shard that ends its workers is counted each time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_inside = self._num_waiting = 0
        self._is_alone = False

    @contextmanager
    def joined(self, *, alone: bool) -> Iterator[None]:
        """Wait until the block may run beside what runs already, or by itself."""
        with self._changed:
            self._num_waiting += alone
            self._changed.wait_for(partial(self._may_enter, alone))
            self._num_waiting -= alone
            self._num_inside += 1
            self._is_alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._num_inside -= 1
                self._is_alone = False
                self._changed.notify_all()

    def _may_enter(self, alone: bool) -> bool:
        if self._is_alone:
            return False
        return self._num_inside == 0 if alone else self._num_waiting == 0


COMPANY = Company()


@contextmanager
def counted_start(phase: Phase, name: str) -> Iterator[None]:
    """Count that work on `name` has begun; the count goes when the block is left, and stays if the worker dies in it.

    Raises:
        WorkerEndedError: it was begun `STARTS` times, and never left.
    """
    _count_start(phase, name, _num_starts(phase, name))
    try:
        yield
    finally:
        _forget_starts(phase, name)


def attempt(phase: Phase, shard: str, work: Callable[[], Receipt]) -> Outcome:
    """Run one shard's work, up to three times if it raises; return its receipt or why there is none.

    Work that was begun before may be done: its worker died later, at another shard.
    """
    began = time.time()
    with log_context(job=phase.job, stage=phase.stage, shard=shard):
        try:
            starts = _num_starts(phase, shard)
            found = find_receipt(Folder(phase.output), phase.plan, shard, phase.where) if starts else None
            if found is not None:
                return Outcome(shard=shard, receipt=found)
            with COMPANY.joined(alone=starts > 0):
                _count_start(phase, shard, starts)
                try:
                    receipt = tried(work)
                except BaseException:
                    _forget_starts(phase, shard)
                    raise
        except Exception as error:
            return failure(phase, shard, f"{type(error).__name__}: {error}", traceback.format_exc())
        return Outcome(shard=shard, receipt=receipt, began=began, ended=time.time())


def _num_starts(phase: Phase, name: str) -> int:
    counted = Folder(phase.output).find_json(_started(phase, name))
    return 0 if counted is None else int(counted["starts"])


def _count_start(phase: Phase, name: str, starts: int) -> None:
    if starts >= STARTS:
        raise WorkerEndedError(f"it ended its worker {starts} times (killed, out of memory, or crashed)")
    Folder(phase.output).publish_json({"starts": starts + 1}, _started(phase, name))


def _forget_starts(phase: Phase, name: str) -> None:
    Folder(phase.output).delete_file(_started(phase, name))


def _started(phase: Phase, name: str) -> str:
    return f"{phase.started}/{name}.json"


def tried(work: Callable[[], Result]) -> Result:
    """Return what the work gives; if it raises, try again, and raise what the last attempt raised.

    What a store did not give in a minute and a half is not asked for three times.
    """
    for number in itertools.count(1):
        try:
            return work()
        except StoreLostError:
            raise
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
