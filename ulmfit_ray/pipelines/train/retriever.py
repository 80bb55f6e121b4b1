"""Language model + a token dataset's own pairs of fields -> retriever, on Ray Train."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from ulmfit_ray.config import ConfigError, operational
from ulmfit_ray.lifecycle import claim_output, print_dry_run
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.files import describe, load_model, save_tensors
from ulmfit_ray.model.retriever import BLOCKS, Retriever
from ulmfit_ray.pipelines.runtime import RayRun, ray_session
from ulmfit_ray.pipelines.train.ray_train import Scaling, TrainingResult, run_training, training_plan
from ulmfit_ray.reporting.model_card import retriever_card
from ulmfit_ray.reporting.progress import print_summary
from ulmfit_ray.storage.folder import Folder, scratch_directory
from ulmfit_ray.storage.model_directory import ModelDirectory, write_model_directory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.pairs import FieldPairs
from ulmfit_ray.text.vocab import BOS_ID, Vocab
from ulmfit_ray.training.distributed import of_first_worker, own_rows
from ulmfit_ray.training.loop import TrainingConfig
from ulmfit_ray.training.precision import Precision, resolve_precision
from ulmfit_ray.training.tasks.retriever import RetrieverTask, RetrieverTraining


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRetrieverConfig(RayRun):
    """Train query and document vectors that match, on pairs that the corpus itself has."""

    model: str
    """Language model to start from."""
    tokens: str
    """Token dataset with several text columns."""
    output: str = operational()
    """Directory or URI of the retriever."""
    pairs: str = "title:text"
    """QUERY:DOCUMENT, two text columns of the tokens: each document's own query."""
    blocks: tuple[Literal["words", "context"], ...] = ("words", "context")
    """What a vector is made of: word vectors, the language model's outputs, or both side by side."""
    word_dim: int = 256
    """Width of the words block."""
    document_tokens: int = 100
    """Random consecutive tokens that a document is cut to in training (in embedding it is whole)."""
    training: RetrieverTraining = field(default_factory=RetrieverTraining)
    scaling: Scaling = operational(default_factory=Scaling)
    precision: Precision = "auto"
    """auto: bfloat16 where the hardware has it, else float32."""
    seed: int = 0
    """Of initial weights, order of pairs, spans and dropout."""

    def __post_init__(self) -> None:
        if not self.blocks or len(set(self.blocks)) < len(self.blocks):
            raise ConfigError("--blocks must name words, context, or both")
        if self.pairs.count(":") != 1:
            raise ConfigError(f"--pairs {self.pairs}: name two text columns, as in title:text")
        if self.word_dim < 1 or self.document_tokens < 1 or self.seed < 0:
            raise ConfigError("--word-dim and --document-tokens must be at least 1, --seed at least 0")
        self.scaling.check(self.training)


def run(config: TrainRetrieverConfig) -> dict[str, Any]:
    """Train, or go on training, and write the model directory; return its manifest."""
    model, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    model.check_tokens(tokens.vocab_fingerprint, config.tokens)
    if model.model["kind"] != "lm":
        raise ConfigError(
            f"--model {config.model} is a {model.model['kind']}; a retriever starts from a language model"
        )
    pairs = _pairs(config, model, tokens)
    if len(pairs) < config.training.global_batch_size:
        raise ConfigError(f"{len(pairs)} pairs are fewer than --training.global-batch-size: lower it")
    inputs = {"tokens": tokens.fingerprint, "weights": model.fingerprint}
    folder, manifest = claim_output("train-retriever", config, inputs=inputs)
    if manifest is not None:
        print_summary("complete, nothing to do", _summary(folder, manifest))
        return manifest
    if config.dry_run:
        print_dry_run(config, training_plan(tokens, config.training, config.scaling))
        return {}
    with ray_session(config.ray):
        result = run_training(partial(_make_task, config=config), folder, config.scaling, config.ray, "train-retriever")
    manifest = _write_model(config, folder, model, len(pairs), result)
    print_summary("train-retriever", _summary(folder, manifest))
    return manifest


def _pairs(config: TrainRetrieverConfig, model: ModelDirectory, tokens: TokenDataset) -> FieldPairs:
    query, document = config.pairs.split(":")
    backward = model.model["direction"] == "backward"
    return FieldPairs(tokens, query, document, document_tokens=config.document_tokens, backward=backward)


def new_retriever(config: TrainRetrieverConfig, directory: ModelDirectory) -> Retriever:
    """Return a retriever at its start: the language model's encoder, idf weights, random word vectors."""
    vocab = Vocab.from_json(directory.vocab)
    with directory.weights() as path:
        language_model = load_model(directory.model, path, torch.device("cpu"))
    assert isinstance(language_model, LanguageModel)
    torch.manual_seed(config.seed)
    blocks = [name for name in BLOCKS if name in config.blocks]
    retriever = Retriever(blocks, vocab_size=len(vocab), word_dim=config.word_dim, encoder=language_model.encoder)
    with torch.no_grad():
        retriever.log_weights.copy_(torch.from_numpy(np.log(vocab.idf())))
    return retriever


def _make_task(
    device: torch.device, precision: str | None, *, config: TrainRetrieverConfig
) -> tuple[RetrieverTask, TrainingConfig, dict[str, Any]]:
    """Build the task on a worker (all ranks alike)."""
    size = config.training.global_batch_size
    model = ModelDirectory(config.model)
    pairs = _pairs(config, model, TokenDataset(config.tokens))
    precision = precision or of_first_worker(resolve_precision(config.precision, device))
    task = RetrieverTask(
        new_retriever(config, model),
        config.training,
        batches=partial(pairs.batches, global_batch_size=size, rows=own_rows(size), seed=config.seed, bos_id=BOS_ID),
        steps_per_epoch=len(pairs) // size,
        seed=config.seed,
        precision=precision,
        device=device,
    )
    return task, config.training, {"precision": precision, "device": str(device)}


def _write_model(
    config: TrainRetrieverConfig, folder: Folder, model: ModelDirectory, num_pairs: int, result: TrainingResult
) -> dict[str, Any]:
    retriever = new_retriever(config, model)
    weights = {name[6:]: value for name, value in result.state.items() if name.startswith("model.")}
    retriever.load_state_dict(weights)
    last = [row for row in result.log if "loss" in row][-1]
    figures = {name: value for name, value in last.items() if name.startswith(("loss", "accuracy"))}
    figures |= {"num_pairs": num_pairs, "num_steps": int(result.state["step"]), "precision": result.facts["precision"]}
    figures["num_parameters"] = sum(parameter.numel() for parameter in retriever.parameters())
    description = describe(retriever, direction=model.model["direction"], pooling="idf-mean")
    description["precision"] = figures["precision"]
    job = folder.read_json("config.json")["job"]
    with scratch_directory() as scratch:
        save_tensors(weights, scratch / "model.safetensors")
        manifest = write_model_directory(
            folder,
            job=job,
            model=description,
            weights=scratch / "model.safetensors",
            vocab=model.vocab,
            tokenizer=model.tokenizer,
            log=result.log,
            card=retriever_card(description, job, figures),
            facts=figures
            | {"vocab": model.vocab_fingerprint, "tokenizer": model.manifest["tokenizer"], "base": model.fingerprint},
        )
    folder.delete("checkpoints")
    return manifest


def _summary(folder: Folder, manifest: dict[str, Any]) -> dict[str, Any]:
    names = ("num_pairs", "num_parameters", "num_steps", "loss", "accuracy_joint", "accuracy_context", "accuracy_words")
    return {name.removeprefix("num_"): manifest[name] for name in names if name in manifest} | {"output": folder.uri}
