"""One local Ray session, and one small road through all stages, for the tests that ask for it."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import faults
import toy_training

from ulmfit_ray.corpus.units import MIN_UNIT_BYTES
from ulmfit_ray.model.architecture import DROPOUTS, ArchitectureOptions
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.tokenize import job as tokenize
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.train import pretrain
from ulmfit_ray.pipelines.train import retriever as train_retriever
from ulmfit_ray.pipelines.train.config import PretrainConfig, TrainRetrieverConfig
from ulmfit_ray.training.config import LanguageModelTraining, RetrieverTraining

ONE_THREAD = Scaling(num_cpus=1)
"""Tiny matrices are no work for two threads that wait for each other on a busy machine."""


@pytest.fixture(scope="session")
def ray_session(store: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A session of two cores that all tests share; the jobs use it and leave it running.

    Workers know faults.py, and the object store from the environment, which they get when the session begins.
    """
    import ray

    os.environ[faults.VARIABLE] = str(tmp_path_factory.mktemp("faults"))
    # This folder is no package that a worker could import.
    for module in (faults, toy_training):
        ray.cloudpickle.register_pickle_by_value(module)
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=1 << 30,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": faults.install},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def corpus(abstracts: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The abstracts in four files, each filled with blanks to the size of a unit, so that there are four shards."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(4):
        lines = [json.dumps(row) + "\n" for row in abstracts[number::4]]
        (folder / f"{number}.jsonl").write_text("".join(lines).ljust(MIN_UNIT_BYTES - 1) + "\n")
    return folder


@pytest.fixture(scope="session")
def tokens(ray_session: None, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The abstracts as a token dataset."""
    output = str(tmp_path_factory.mktemp("tokens") / "tokens")
    tokenize.run(
        TokenizeConfig(
            input=(str(corpus),),
            output=output,
            text_columns=("title", "text"),
            id_column="_id",
            keep_columns=("title",),
            mark_fields="no",
            min_freq=1,
        )
    )
    return output


@pytest.fixture(scope="session")
def small_architecture() -> ArchitectureOptions:
    """A language model that trains in seconds, without dropout."""
    off = dict.fromkeys(DROPOUTS, 0.0)
    return ArchitectureOptions(vocab_size=2000, embedding_dim=32, hidden_size=48, num_layers=2, **off)


@pytest.fixture(scope="session")
def small_training() -> LanguageModelTraining:
    """51 steps over the abstracts: windows of 2 x 16 x 26 tokens."""
    return LanguageModelTraining(num_epochs=1, global_batch_size=16, bptt=52, learning_rate=1e-2)


@pytest.fixture(scope="session")
def language_model(
    tokens: str,
    small_architecture: ArchitectureOptions,
    small_training: LanguageModelTraining,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A language model trained on the abstracts by one worker, in float32."""
    output = str(tmp_path_factory.mktemp("models") / "lm")
    pretrain.run(
        PretrainConfig(
            tokens=tokens,
            output=output,
            architecture=small_architecture,
            training=replace(small_training, num_epochs=3),
            scaling=ONE_THREAD,
            precision="float32",
        )
    )
    return output


@pytest.fixture(scope="session")
def retriever(language_model: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A retriever trained on the abstracts' own titles."""
    output = str(tmp_path_factory.mktemp("models") / "retriever")
    train_retriever.run(
        TrainRetrieverConfig(
            model=language_model,
            tokens=tokens,
            output=output,
            blocks=("words", "context"),
            word_dim=32,
            num_grams=5000,
            training=RetrieverTraining(num_epochs=20, global_batch_size=50),
            scaling=ONE_THREAD,
        )
    )
    return output
