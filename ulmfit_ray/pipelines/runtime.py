"""Connecting to Ray and leaving it: the only module that starts a session, sets it up, or waits for resources.

An existing cluster is used when `RAY_ADDRESS` is set (as `ray job submit` does) or an address is given. Otherwise
a local session is started for the job alone. A session that is already there (a test's) is used and left running.
"""

import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import ray
import ray.data
from ray.autoscaler.sdk import request_resources

from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.units import MAX_UNIT_BYTES
from ulmfit_ray.pipelines.options import RayOptions
from ulmfit_ray.pipelines.quiet import without_noise
from ulmfit_ray.reporting.logs import VARIABLE, is_json, say_progress

MIN_STORE_BYTES, MAX_STORE_SHARE = 1 << 30, 0.3
"""Of a local session's object store; the share is that of the machine's memory which Ray itself takes."""
TEXTS_PER_CORE = 2
"""Blocks that a core's tokenizer has in the object store: the text that it works on, and the one that waits for it."""
LINE_SECONDS = 10


@contextmanager
def ray_session(options: RayOptions) -> Iterator[None]:
    """Connect to Ray for the duration of a job; shuts down only a session that was started here.

    A ValueError raised inside is a failure of the job, not a wrong command, so it is raised again as a RuntimeError.
    """
    with ExitStack() as session:
        if not ray.is_initialized():
            session.enter_context(without_noise())
            with _sigterm_as_before():
                _connect(options)
            session.callback(ray.shutdown)
        try:
            _configure_data()
            yield
        except ValueError as error:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _sigterm_as_before() -> Iterator[None]:
    """Give SIGTERM back to the command, if it has a handler for it, after the block.

    `ray.init` installs two: a Python one that ends the process with status 15, and a C++ one that prints a stack.
    """
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _connect(options: RayOptions) -> None:
    address = options.address or os.environ.get("RAY_ADDRESS")
    if address:
        # Workers of a local session inherit the environment of this process; those of a cluster must be told. Without
        # the address a setting of a sweep would not know that nodes may come, and helpers of Ray Train that watch for
        # dead controllers would ask any other Ray on their machine.
        variables = {VARIABLE: "json"} if is_json() else {}
        if "://" not in address:
            variables["RAY_ADDRESS"] = address
        wanted = {"env_vars": variables} if variables else None
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, runtime_env=wanted)
        return
    # Without address="local" Ray would attach to whatever cluster happens to run on this machine.
    ray.init(
        address="local",
        num_cpus=options.num_cpus,
        object_store_memory=object_store_bytes(options.num_cpus or os.cpu_count() or 1, _memory_bytes()),
        dashboard_host="127.0.0.1",
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )


def object_store_bytes(num_cpus: int, memory_bytes: int) -> int:
    """Return the size of a local session's object store: the texts that are under way on all cores fit into it.

    What does not fit would be written to disk and read again. 128 cores need 16 GiB.
    """
    texts = num_cpus * TEXTS_PER_CORE * MAX_UNIT_BYTES
    return max(MIN_STORE_BYTES, min(texts, int(memory_bytes * MAX_STORE_SHARE)))


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _configure_data() -> None:
    """Set what every dataflow of ours needs on this driver."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A unit that fails is reported in an outcome, with the reason; an error in a block must not end the job.
    context.max_errored_blocks = -1
    # Ray ends a job after 30 silent minutes; one large unit may take longer.
    context.execution_no_progress_timeout_s = -1
    # Ray 2.60 passes retry options this way; 2.64 will not (the dependency's upper bound).
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)


def is_on_cluster(options: RayOptions) -> bool:
    """Tell whether the job runs on a cluster that was there before, where nodes may come and go."""
    return bool(options.address or os.environ.get("RAY_ADDRESS"))


def require_resources(options: RayOptions, *, num_cpus: float, num_gpus: float = 0, what: str) -> None:
    """Return once the cluster has the resources for `what`; Ray itself would wait in silence.

    An autoscaling cluster is asked for them meanwhile: a head without CPUs, or a group of GPU nodes that starts at
    zero, brings none by itself.

    Raises:
        ConfigError: this local session will never have them.
        TimeoutError: the cluster did not bring them within `wait_seconds`.
    """
    deadline = time.monotonic() + options.wait_seconds
    last_line = -math.inf
    while lacking := _lacking(num_cpus, num_gpus, what):
        if not is_on_cluster(options):
            raise ConfigError(f"{lacking}: ask for fewer (--scaling, --actors), or name a cluster with --ray.address")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{lacking} after {options.wait_seconds} seconds of waiting")
        if time.monotonic() - last_line >= LINE_SECONDS:
            last_line = time.monotonic()
            say_progress(f"waiting: {lacking}")
            request_resources(bundles=[{"CPU": 1}] * math.ceil(num_cpus) + [{"GPU": 1}] * math.ceil(num_gpus))
        time.sleep(1)
    if math.isfinite(last_line):
        # The request holds until it is taken back; from now on what runs is demand enough.
        request_resources(bundles=[])


@contextmanager
def watched_resources(options: RayOptions, *, num_cpus: float, num_gpus: float = 0, what: str) -> Iterator[None]:
    """While the block runs on a cluster, say so when it has not the resources for `what` any more.

    Nodes may go. If another comes, Ray goes on by itself; until then it waits in silence.
    """
    if not is_on_cluster(options):
        yield
        return
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(LINE_SECONDS):
            lacking = _lacking(num_cpus, num_gpus, what)
            if lacking:
                say_progress(f"waiting: {lacking}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _lacking(num_cpus: float, num_gpus: float, what: str) -> str:
    """Return what the cluster is short of ("" if of nothing)."""
    cpus, gpus = (ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU"))
    if cpus >= num_cpus and gpus >= num_gpus:
        return ""
    return f"{what} needs {num_cpus:g} CPUs and {num_gpus:g} GPUs; there are {cpus:g} and {gpus:g}"


def blocks_as_they_come(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """Run a dataflow and yield its blocks one by one, so that progress moves with each finished unit."""
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def cluster_cpus() -> int:
    """Return the number of CPUs that Ray knows of."""
    return int(ray.cluster_resources().get("CPU", 0))


def largest_node_cpus() -> int:
    """Return the CPUs of the node that has most: what a single worker can have."""
    return int(max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))


def cluster_gpus() -> int:
    """Return the number of GPUs that Ray knows of."""
    return int(ray.cluster_resources().get("GPU", 0))
