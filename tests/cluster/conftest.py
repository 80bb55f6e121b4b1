"""One cluster for the tests of several nodes, and what their jobs work on, made once on it."""

import gzip
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster_inputs import FILES, NUM_ABSTRACTS, SAMPLE, Start
from gates import Gates
from ray_nodes import Job, Nodes, start_job

from ulmfit_ray.corpus.units import MIN_UNIT_BYTES


@pytest.fixture(scope="session")
def gates_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    """Gates for the workers of all nodes that are started from now on."""
    gates = Gates(tmp_path_factory.mktemp("gates"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gates.variables.items():
            patch.setenv(name, value)
        yield gates


@pytest.fixture
def gates(gates_of_session: Gates) -> Iterator[Gates]:
    """The gates, all open before and after the test."""
    yield gates_of_session
    gates_of_session.open_all()


@pytest.fixture(scope="session")
def cluster(gates_of_session: Gates) -> Iterator[Nodes]:
    """A head without CPUs."""
    nodes = Nodes()
    yield nodes
    nodes.shutdown()


@pytest.fixture
def nodes(cluster: Nodes) -> Iterator[Nodes]:
    """The cluster; nodes that a test adds go with it."""
    yield cluster
    cluster.kill_all()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a job on the nodes it is given."""
    started: list[Job] = []

    def begin(nodes: Nodes, name: str, *arguments: str, hasty: bool = False) -> Job:
        started.append(start_job(tmp_path, name, arguments, nodes.address, hasty=hasty))
        return started[-1]

    yield begin
    for job in started:
        job.process.kill()
        job.process.wait()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's first abstracts in some files, each as large as a unit, with a label to learn."""
    folder = tmp_path_factory.mktemp("corpus")
    with gzip.open(SAMPLE, "rt") as lines:
        rows = [json.loads(line) for line in islice(lines, NUM_ABSTRACTS)]
    for number in range(FILES):
        lines_of_file = [
            json.dumps({"id": row["_id"], "text": row["text"], "label": "cells" if "cells" in row["text"] else "none"})
            for row in rows[number::FILES]
        ]
        (folder / f"{number:02d}.jsonl").write_text("\n".join(lines_of_file).ljust(MIN_UNIT_BYTES - 1) + "\n")
    return folder


@pytest.fixture(scope="session")
def tokens(cluster: Nodes, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus as a token dataset, made by a job that nobody disturbs."""
    node = cluster.add(2)
    arguments = ["tokenize", "--input", str(corpus), "--id-column", "id", "--keep-columns", "label"]
    job = start_job(tmp_path_factory.mktemp("tokens"), "tokens", arguments, cluster.address)
    job.finish()
    cluster.kill(node)
    return job.output


@pytest.fixture(scope="session")
def language_model(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A language model that nobody trained, slow enough that a job can be met in the middle."""
    from untrained import SMALL, untrained_model

    shape = SMALL.__class__(vocab_size=2000, embedding_dim=32, hidden_size=192, num_layers=2).without_dropout()
    return untrained_model(tmp_path_factory.mktemp("models"), str(tokens), shape=shape)
