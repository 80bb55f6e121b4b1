"""A language model or a classifier of fastai 2, 1 or 0.7 -> model directory. No pickled code runs."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ulmfit_ray.commands.fastai.config import ImportFastaiConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.corpus.open_text import open_stored
from ulmfit_ray.lifecycle import claim_output, output_lease, print_dry_run
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.classifier import POOLING, Classifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.model.fastai import (
    FAKE,
    OLD_NAMES,
    FastaiWeights,
    architecture_of,
    classifier,
    language_model,
    our_words,
    read_weights,
)
from ulmfit_ray.model.fastai_head import FastaiHead
from ulmfit_ray.model.files import save_tensors
from ulmfit_ray.model.kinds import describe
from ulmfit_ray.reporting.model_card import imported_classifier_card, imported_model_card
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import Figure, Manifest
from ulmfit_ray.storage.model_directory import write_model_directory
from ulmfit_ray.storage.scratch import scratch_directory
from ulmfit_ray.text.pickled_words import read_words
from ulmfit_ray.text.presets import FASTAI_07, FASTAI_V2, rule_names
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import Tokenizer, TokenizerSettings, make_tokenizer
from ulmfit_ray.text.vocab import Vocab

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Imported:
    """What both files hold, in our form."""

    model: LanguageModel | Classifier
    words: list[str]
    tokenizer: Tokenizer
    figures: dict[str, Figure]


def run(config: ImportFastaiConfig) -> Manifest | None:
    """Read both files, write the model directory, and return its manifest (None after --dry-run)."""
    is_finished = Folder(config.output).exists("manifest.json") and not config.overwrite
    # Before the output is claimed: a mistake leaves nothing there. A finished output does not need its input any more.
    imported = None if is_finished else _imported(config)
    with output_lease("import-fastai", config):
        folder, manifest = claim_output("import-fastai", config)
        if manifest is not None:
            print_summary("complete, nothing to do", {**manifest.figures, "output": folder.uri})
            return manifest
        assert imported is not None
        if config.dry_run:
            print_dry_run(config, ", ".join(f"{name} {value}" for name, value in imported.figures.items()))
            return None
        manifest = _write(folder, imported, config.direction)
    print_summary("import-fastai", {**manifest.figures, "output": folder.uri})
    return manifest


def _imported(config: ImportFastaiConfig) -> _Imported:
    itos = _read(config.itos, "--itos", read_words)
    weights = _read(config.weights, "--weights", lambda content: read_weights(io.BytesIO(content)))
    words = our_words(itos, SPECIAL_TOKENS)
    head = _head(config, weights.head)
    model: LanguageModel | Classifier
    try:
        shape = architecture_of(weights, len(words))
        if head is None:
            model = language_model(weights, itos, words, shape)
        else:
            model = classifier(weights, itos, words, shape, head)
    except ValueError as error:
        raise ConfigError(f"--weights {config.weights}: {error}") from error
    figures: dict[str, Figure] = {
        "num_words": len(words),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "words_with_mean_row": len(set(words) - {OLD_NAMES.get(word, word) for word in itos}),
        "fake_words": itos.count(FAKE),
        **_own_figures(weights, head),
    }
    return _Imported(model, words, _tokenizer(config, itos), figures)


def _head(config: ImportFastaiConfig, found: FastaiHead | None) -> ClassifierHead | None:
    """Return what the options make of the head in the file; None for a language model."""
    if found is None:
        if config.labels or config.objective != "single-label":
            option = "--labels" if config.labels else "--objective"
            raise ConfigError(f"{option} is for a classifier, and --weights {config.weights} is none: leave it out")
        return None
    num_outputs = found.sizes[-1]
    _check_head_options(config, num_outputs)
    labels = config.labels or tuple(map(str, range(num_outputs)))
    return ClassifierHead(
        objective=config.objective,
        labels=() if config.objective == "regression" else labels,
        hidden_sizes=found.sizes[1:-1],
        norm="batch",
        has_bias=found.has_bias,
    )


def _check_head_options(config: ImportFastaiConfig, num_outputs: int) -> None:
    labels = config.labels
    if config.objective == "single-label" and num_outputs == 1:
        raise ConfigError(
            "--objective single-label needs two outputs or more, and the classifier has 1: use --objective regression"
        )
    if config.objective == "regression" and num_outputs > 1:
        raise ConfigError(f"--objective regression needs one output, and the classifier has {num_outputs}")
    if config.objective == "regression" and labels:
        raise ConfigError("--labels names classes, and --objective regression gives a number: leave --labels out")
    if labels and len(labels) != num_outputs:
        raise ConfigError(f"--labels has {len(labels)} names, and the classifier has {num_outputs} outputs")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ConfigError(f"--labels has {twice[0]!r} twice: each output needs a name of its own")


def _own_figures(weights: FastaiWeights, head: ClassifierHead | None) -> dict[str, Figure]:
    if head is not None:
        return {"objective": head.objective, "num_outputs": head.num_outputs}
    return {"has_decoder": "no: an encoder alone, the decoder's bias is 0" if weights.bias is None else "yes"}


def _read(uri: str, option: str, read: Callable[[bytes], Result]) -> Result:
    try:
        with open_stored(uri) as stored:
            content = stored.read()
        return read(content)
    except FileNotFoundError as error:
        raise ConfigError(f"{option} {uri}: there is no such file") from error
    except ValueError as error:
        raise ConfigError(f"{option} {uri}: {error}") from error


def _tokenizer(config: ImportFastaiConfig, itos: list[str]) -> Tokenizer:
    rules = config.rules
    if rules == ("auto",):
        rules = FASTAI_07 if set(OLD_NAMES) & set(itos) else FASTAI_V2
    try:
        rule_names(rules)
    except ValueError as error:
        raise ConfigError(f"--rules: {error}") from error
    return make_tokenizer(TokenizerSettings(lang=config.lang, rules=rules))


def _write(folder: Folder, imported: _Imported, direction: str) -> Manifest:
    zeros = np.zeros(len(imported.words), np.int64)
    vocab = Vocab(imported.words, counts=zeros, documents=zeros, num_documents=0, num_tokens=0)
    is_classifier = isinstance(imported.model, Classifier)
    pooling = POOLING if is_classifier else "mean"
    description = describe(imported.model, direction=direction, pooling=pooling, precision="float32")
    card = imported_classifier_card if is_classifier else imported_model_card
    job = read_job(folder)
    with scratch_directory() as scratch:
        save_tensors(imported.model.state_dict(), scratch / "model.safetensors")
        return write_model_directory(
            folder,
            job=job,
            model=description,
            weights=scratch / "model.safetensors",
            vocab=vocab.to_json(),
            tokenizer=imported.tokenizer.to_json(),
            tokenizer_model=None,
            log=[],
            card=card(description, job, imported.figures),
            manifest=Manifest(
                job="import-fastai",
                vocab=vocab.fingerprint,
                tokenizer=imported.tokenizer.fingerprint,
                files={},
                figures=imported.figures,
            ),
        )
