"""Language model + a token dataset's own pairs of fields -> retriever."""

from functools import partial
from typing import Any

import numpy as np
import torch

from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.files import load_model
from ulmfit_ray.model.retriever import BLOCKS, Retriever, SpellingRetriever
from ulmfit_ray.pipelines.train.config import TrainRetrieverConfig
from ulmfit_ray.pipelines.train.job import Figures, TrainingVerb, run_training_verb
from ulmfit_ray.pipelines.train.workers import TrainingResult
from ulmfit_ray.reporting.model_card import retriever_card
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.pairs import FieldPairs
from ulmfit_ray.text.letter_grams import Spelling
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.types import FRAMES
from ulmfit_ray.text.vocab import Vocab
from ulmfit_ray.training.distributed import of_first_worker, own_share
from ulmfit_ray.training.precision import resolve_precision
from ulmfit_ray.training.state import State
from ulmfit_ray.training.tasks.retriever import RetrieverTask


def run(config: TrainRetrieverConfig) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    model, tokens = ModelDirectory(config.model), TokenDataset(config.tokens)
    model.check_tokens(tokens.manifest.vocab, config.tokens)
    if model.description.kind != "lm":
        raise ConfigError(
            f"--model {config.model} is a {model.description.kind}; a retriever starts from a language model"
        )
    pairs = _pairs(config, model, tokens)
    if len(pairs) < config.training.global_batch_size:
        raise ConfigError(f"{len(pairs)} pairs are fewer than --training.global-batch-size: lower it")
    verb = TrainingVerb(
        name="train-retriever",
        inputs={"tokens": tokens.fingerprint, "weights": model.fingerprint},
        tokens=tokens,
        steps_per_epoch=len(pairs) // config.training.global_batch_size,
        make_task=partial(make_task, config=config),
        new_model=partial(_retriever, config, model),
        finished=partial(_finished, config, model),
        direction=model.description.direction,
        pooling="idf-mean",
        vocab=model.vocab,
        tokenizer=model.tokenizer,
        tokenizer_model=model.tokenizer_model,
        vocab_fingerprint=model.manifest.vocab,
        tokenizer_fingerprint=model.manifest.tokenizer,
        figures=partial(_figures, num_pairs=len(pairs), base=model.fingerprint),
        warning=partial(_warning, chance=1 / config.training.global_batch_size),
        card=retriever_card,
        shown=(
            *("num_pairs", "num_parameters", "num_steps"),
            *("loss", "accuracy_joint", "accuracy_context", "accuracy_words"),
        ),
    )
    return run_training_verb(config, verb)


def _pairs(config: TrainRetrieverConfig, model: ModelDirectory, tokens: TokenDataset) -> FieldPairs:
    query, document = config.pairs.split(":")
    backward = model.description.direction == "backward"
    return FieldPairs(tokens, query, document, document_tokens=config.document_tokens, backward=backward)


def _frame(model: ModelDirectory) -> tuple[list[int], list[int]]:
    """Return the ids in front of and behind every text that the model's tokenizer makes a document of."""
    vocab = Vocab.from_json(model.vocab)
    begin, end = FRAMES[TokenizerSettings.from_json(model.tokenizer).eos]
    return vocab.numericalize(begin).tolist(), vocab.numericalize(end).tolist()


def start_of(config: TrainRetrieverConfig, directory: ModelDirectory) -> Retriever:
    """Return the retriever before its first step: the language model's layers, idf weights, random word vectors."""
    vocab = Vocab.from_json(directory.vocab)
    with directory.weights() as path:
        language_model = load_model(directory.description, path, torch.device("cpu"))
    torch.manual_seed(config.seed)
    retriever = _trained_retriever(config, directory, language_model.backbone)
    with torch.no_grad():
        retriever.log_weights.copy_(torch.from_numpy(np.log(vocab.idf())))
    return retriever


def _trained_retriever(config: TrainRetrieverConfig, directory: ModelDirectory, backbone: AWDLSTM) -> Retriever:
    """Return a retriever to train, its own weights random."""
    if "words" not in config.blocks or not config.num_grams:
        return _retriever(config, directory, backbone)
    spelling = Spelling.of(directory.vocab["tokens"], config.num_grams)
    runs = {"offsets": torch.from_numpy(spelling.offsets), "rows": torch.from_numpy(spelling.rows)}
    return SpellingRetriever(**_shape(config, directory), backbone=backbone, **runs)


def _retriever(config: TrainRetrieverConfig, directory: ModelDirectory, backbone: AWDLSTM | None = None) -> Retriever:
    """Return a retriever of the shape that is written; its weights are random."""
    architecture = directory.description.architecture
    assert architecture is not None
    return Retriever(**_shape(config, directory), backbone=backbone or AWDLSTM(architecture))


def _shape(config: TrainRetrieverConfig, directory: ModelDirectory) -> dict[str, Any]:
    return {
        "blocks": [name for name in BLOCKS if name in config.blocks],
        "vocab_size": len(directory.vocab["tokens"]),
        "word_dim": config.word_dim,
        "saturated": True,
        "num_grams": config.num_grams,
    }


def _finished(config: TrainRetrieverConfig, directory: ModelDirectory, weights: State) -> State:
    """Return the weights of the retriever that is written: its words' vectors hold those of their runs of letters."""
    architecture = directory.description.architecture
    assert architecture is not None
    model = _trained_retriever(config, directory, AWDLSTM(architecture))
    if not isinstance(model, SpellingRetriever):
        return weights
    model.load_state_dict(weights)
    return model.finished()


def make_task(
    device: torch.device, precision: str | None, *, config: TrainRetrieverConfig
) -> tuple[RetrieverTask, dict[str, Any]]:
    """Build the task, and the facts for its checkpoints, on a worker (all ranks alike)."""
    size = config.training.global_batch_size
    model = ModelDirectory(config.model)
    pairs = _pairs(config, model, TokenDataset(config.tokens))
    precision = precision or of_first_worker(resolve_precision(config.precision, device))
    task = RetrieverTask(
        start_of(config, model),
        config.training,
        batches=partial(
            pairs.batches, global_batch_size=size, rows=own_share(size), seed=config.seed, frame=_frame(model)
        ),
        steps_per_epoch=len(pairs) // size,
        seed=config.seed,
        precision=precision,
        device=device,
    )
    return task, {"precision": precision, "device": str(device)}


def _figures(result: TrainingResult, *, num_pairs: int, base: str) -> Figures:
    last = [row for row in result.log if "loss" in row][-1]
    figures: Figures = {name: value for name, value in last.items() if name.startswith(("loss", "accuracy"))}
    return figures | {"num_pairs": num_pairs, "base": base}


def _warning(figures: Figures, *, chance: float) -> str:
    """Name the blocks that do not find a query's own document in a batch more often than a lucky guess."""
    lines = []
    for block in BLOCKS:
        accuracy = figures.get(f"accuracy_{block}")
        if accuracy is not None and float(accuracy) < 3 * chance:
            lines.append(
                f"the {block} block has learned nothing: it finds a query's own document in {float(accuracy):.1%} of"
                f" the cases, chance is {chance:.1%}.\n    Raise --training.num-epochs, lower"
                " --training.learning-rate, or leave the block out with --blocks"
            )
    return "\n".join(lines)
