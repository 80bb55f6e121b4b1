"""A token dataset's own pairs of fields, and pairs that people have -> retriever."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.query_pairs import QueryPair, read_query_pairs
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.files import load_model
from ulmfit_ray.model.retriever import BLOCKS, Retriever, SpellingRetriever
from ulmfit_ray.pipelines.train.config import TrainRetrieverConfig
from ulmfit_ray.pipelines.train.job import Figures, TrainingVerb, run_training_verb
from ulmfit_ray.pipelines.train.workers import TrainingResult
from ulmfit_ray.reporting.model_card import retriever_card
from ulmfit_ray.storage.folder import to_json_bytes
from ulmfit_ray.storage.manifest import Manifest
from ulmfit_ray.storage.model_directory import ModelDirectory, read_tokenizer_model
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.pairs import FieldPairs, Frame, GivenPairs, Pairs
from ulmfit_ray.text.letter_grams import Spelling
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, load_tokenizer
from ulmfit_ray.text.types import FRAMES, field_prefixes
from ulmfit_ray.text.vocab import Vocab
from ulmfit_ray.training.distributed import of_first_worker, own_share
from ulmfit_ray.training.precision import resolve_precision
from ulmfit_ray.training.state import State
from ulmfit_ray.training.tasks.retriever import RetrieverTask

METHOD = "spelling, saturated"
"""A part of an output's identity: a training that an earlier version began cannot be gone on with."""
IDF_POWER = 0.75
"""The weights of words begin at idf to this power: both texts of a pair have them, so that a word that they share
counts with its square."""


@dataclass(frozen=True, slots=True)
class Base:
    """What a retriever is built on: a language model, or the words of the tokens where no context block is wanted."""

    vocab: dict[str, Any]
    tokenizer: dict[str, Any]
    tokenizer_model: bytes | None
    vocab_fingerprint: str
    tokenizer_fingerprint: str
    model: ModelDirectory | None = None

    @property
    def direction(self) -> str:
        """Return how texts are read."""
        return "forward" if self.model is None else self.model.description.direction

    @property
    def frame(self) -> Frame:
        """Return the ids that stand in front of a query and behind it."""
        return frame_of(self.vocab, self.tokenizer, self.tokenizer_model)


def frame_of(vocab_json: dict[str, Any], tokenizer_json: dict[str, Any], tokenizer_model: bytes | None) -> Frame:
    """Return the ids in front of a text that is a document's only field, a field mark among them, and behind it."""
    vocab, settings = Vocab.from_json(vocab_json), TokenizerSettings.from_json(tokenizer_json)
    begin, end = FRAMES[settings.eos]
    if settings.mark_fields:
        (mark,) = field_prefixes(load_tokenizer(tokenizer_json, tokenizer_model), 1)
        begin += mark
    return vocab.numericalize(begin).tolist(), vocab.numericalize(end).tolist()


def base_of(config: TrainRetrieverConfig, tokens: TokenDataset) -> Base:
    """Open what the retriever is built on.

    Raises:
        ConfigError: the model is no language model.
        ValueError: the tokens are of another vocabulary than the model's.
    """
    if config.model is None:
        vocab, tokenizer = (tokens.folder.read_json(name) for name in ("vocab.json", "tokenizer.json"))
        fingerprints = tokens.manifest.vocab, tokens.manifest.tokenizer
        return Base(vocab, tokenizer, read_tokenizer_model(tokens.folder), *fingerprints)
    model = ModelDirectory(config.model)
    model.check_tokens(tokens.manifest.vocab, config.tokens)
    if model.description.kind != "lm":
        raise ConfigError(
            f"--model {config.model} is a {model.description.kind}; a retriever starts from a language model"
        )
    fingerprints = model.manifest.vocab, model.manifest.tokenizer
    return Base(model.vocab, model.tokenizer, model.tokenizer_model, *fingerprints, model)


def run(config: TrainRetrieverConfig) -> Manifest | None:
    """Train, or go on training, and write the model directory; return its manifest (None after --dry-run)."""
    tokens = TokenDataset(config.tokens)
    base = base_of(config, tokens)
    given = given_pairs(config)
    num_pairs = len(field_pairs(config, base, tokens)) + len(given)
    if num_pairs < config.training.global_batch_size:
        raise ConfigError(f"{num_pairs:,} pairs are fewer than --training.global-batch-size: lower it")
    inputs = {"tokens": tokens.fingerprint, "method": METHOD}
    if base.model is not None:
        inputs["weights"] = base.model.fingerprint
    if given:
        inputs["pairs"] = fingerprint_of(given)
    verb = TrainingVerb(
        name="train-retriever",
        inputs=inputs,
        tokens=tokens,
        steps_per_epoch=num_pairs // config.training.global_batch_size,
        make_task=partial(make_task, config=config),
        new_model=partial(_new_retriever, config, base),
        finished=partial(_finished, config, base),
        direction=base.direction,
        pooling="idf-mean",
        vocab=base.vocab,
        tokenizer=base.tokenizer,
        tokenizer_model=base.tokenizer_model,
        vocab_fingerprint=base.vocab_fingerprint,
        tokenizer_fingerprint=base.tokenizer_fingerprint,
        figures=partial(_figures, num_pairs=num_pairs, base=inputs.get("weights")),
        warning=partial(_warning, chance=1 / config.training.global_batch_size),
        card=retriever_card,
        shown=(
            *("num_pairs", "num_parameters", "num_steps"),
            *("loss", "accuracy_joint", "accuracy_context", "accuracy_words"),
        ),
    )
    return run_training_verb(config, verb)


def field_pairs(config: TrainRetrieverConfig, base: Base, tokens: TokenDataset) -> FieldPairs:
    """Return the pairs of the corpus' own fields."""
    query, _, document = config.pairs.rpartition(":")
    # The frame of these tokens: the model's tokenizer may have another.
    frame = frame_of(base.vocab, tokens.folder.read_json("tokenizer.json"), read_tokenizer_model(tokens.folder))
    return FieldPairs(tokens, query or None, document, frame)


def given_pairs(config: TrainRetrieverConfig) -> list[QueryPair]:
    """Return the pairs of --pairs-file, if there is one."""
    return [] if config.pairs_file is None else read_query_pairs(config.pairs_file)


def fingerprint_of(pairs: Iterable[QueryPair]) -> str:
    """Return the SHA-256 of what is trained on."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(to_json_bytes([pair.query, pair.document]))
    return digest.hexdigest()


def tokenized(pairs: Sequence[QueryPair], base: Base) -> GivenPairs:
    """Return pairs of texts as ids, without what frames a text."""
    tokenizer, vocab = load_tokenizer(base.tokenizer, base.tokenizer_model), Vocab.from_json(base.vocab)
    found = (tokenizer.tokenize(texts) for texts in zip(*((pair.query, pair.document) for pair in pairs), strict=True))
    return GivenPairs(*((vocab.numericalize(side.types)[side.ids], side.bounds) for side in found))


def start_of(config: TrainRetrieverConfig, base: Base) -> Retriever:
    """Return the retriever before its first step: the language model's layers, weights by idf, random word vectors."""
    backbone = None
    if "context" in config.blocks:
        assert base.model is not None
        with base.model.weights() as path:
            backbone = load_model(base.model.description, path, torch.device("cpu")).backbone
    torch.manual_seed(config.seed)
    retriever = _trained_retriever(config, base, backbone)
    with torch.no_grad():
        retriever.log_weights.copy_(torch.from_numpy(IDF_POWER * np.log(Vocab.from_json(base.vocab).idf())))
    return retriever


def _trained_retriever(config: TrainRetrieverConfig, base: Base, backbone: AWDLSTM | None) -> Retriever:
    """Return a retriever to train, its own weights random."""
    if "words" not in config.blocks or not config.num_grams:
        return Retriever(**_shape(config, base), backbone=backbone)
    spelling = Spelling.of(base.vocab["tokens"], config.num_grams)
    runs = {"offsets": torch.from_numpy(spelling.offsets), "rows": torch.from_numpy(spelling.rows)}
    return SpellingRetriever(**_shape(config, base), backbone=backbone, **runs)


def _new_retriever(config: TrainRetrieverConfig, base: Base) -> Retriever:
    """Return a retriever of the shape that is written; its weights are random."""
    return Retriever(**_shape(config, base), backbone=_new_backbone(config, base))


def _new_backbone(config: TrainRetrieverConfig, base: Base) -> AWDLSTM | None:
    if "context" not in config.blocks:
        return None
    assert base.model is not None
    architecture = base.model.description.architecture
    assert architecture is not None
    return AWDLSTM(architecture)


def _shape(config: TrainRetrieverConfig, base: Base) -> dict[str, Any]:
    return {
        "blocks": [name for name in BLOCKS if name in config.blocks],
        "vocab_size": len(base.vocab["tokens"]),
        "word_dim": config.word_dim,
        "saturated": True,
        "num_grams": config.num_grams,
    }


def _finished(config: TrainRetrieverConfig, base: Base, weights: State) -> State:
    """Return the weights of the retriever that is written: its words' vectors hold those of their runs of letters."""
    model = _trained_retriever(config, base, _new_backbone(config, base))
    if not isinstance(model, SpellingRetriever):
        return weights
    model.load_state_dict(weights)
    return model.finished()


def make_task(
    device: torch.device, precision: str | None, *, config: TrainRetrieverConfig
) -> tuple[RetrieverTask, dict[str, Any]]:
    """Build the task, and the facts for its checkpoints, on a worker (all ranks alike)."""
    size = config.training.global_batch_size
    tokens = TokenDataset(config.tokens)
    base = base_of(config, tokens)
    given = given_pairs(config)
    pairs = Pairs(
        fields=field_pairs(config, base, tokens),
        given=tokenized(given, base) if given else None,
        spans=config.spans,
        document_tokens=config.document_tokens,
        frame=base.frame,
        backward=base.direction == "backward",
    )
    precision = precision or of_first_worker(resolve_precision(config.precision, device))
    task = RetrieverTask(
        start_of(config, base),
        config.training,
        batches=partial(pairs.batches, global_batch_size=size, rows=own_share(size), seed=config.seed),
        steps_per_epoch=len(pairs) // size,
        seed=config.seed,
        precision=precision,
        device=device,
    )
    return task, {"precision": precision, "device": str(device)}


def _figures(result: TrainingResult, *, num_pairs: int, base: str | None) -> Figures:
    last = [row for row in result.log if "loss" in row][-1]
    figures: Figures = {name: value for name, value in last.items() if name.startswith(("loss", "accuracy"))}
    return figures | {"num_pairs": num_pairs} | ({} if base is None else {"base": base})


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
