"""What `evaluate classifier` judges, models or predictions; by which documents; and what its baseline learns from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ulmfit_ray.commands.evaluate.labelled import LabelledShards
from ulmfit_ray.commands.evaluate.systems import System, say_models, say_predictions
from ulmfit_ray.config import ConfigError
from ulmfit_ray.storage.job_record import JobRecord, read_job
from ulmfit_ray.storage.model_directory import ModelDirectory, common_head
from ulmfit_ray.storage.prediction_dataset import PredictionDataset
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.examples import Examples
from ulmfit_ray.streams.labelled_parts import LabelOptions, labelled_parts
from ulmfit_ray.streams.labels import LabelColumn, Objective
from ulmfit_ray.streams.selection import everything


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Who is judged, and by which documents."""

    objective: Objective
    labels: tuple[str, ...]
    """In the order of the probabilities; none of a regression."""
    tokens: TokenDataset
    say: Callable[[LabelledShards], list[System]]
    """documents -> what each system says of them; the figures in detail are about the last one."""
    training: JobRecord | None
    """How the first of the models was trained; None: not here, or the model is gone."""

    def column(self, tokens: TokenDataset, label: str | None, separator: str | None) -> LabelColumn:
        """Return the column of the labels, by default the one that the model was trained on.

        Raises:
            ValueError: there is no such column, or what it holds does not suit.
        """
        trained = {} if self.training is None else self.training.config
        label = label or trained.get("label")
        if label is None:
            raise ConfigError("--label must name the column of the labels: how the model was trained is not known")
        separator = trained.get("label_separator", "") if separator is None else separator
        return LabelColumn(tokens, label, objective=self.objective, separator=separator)


def judged_models(uris: Sequence[str], tokens_uri: str) -> Judged:
    """Return models to judge by the documents of a token dataset.

    Raises:
        ValueError: one is no classifier, they differ in their labels, or the tokens are of another vocabulary.
    """
    models, tokens = [ModelDirectory(uri) for uri in uris], TokenDataset(tokens_uri)
    head = common_head(models)
    for model in models:
        model.check_tokens(tokens.manifest.vocab, tokens_uri)
    return Judged(
        objective=head.objective,
        labels=head.labels,
        tokens=tokens,
        say=partial(say_models, models),
        training=_training(models[0]),
    )


def judged_predictions(uri: str, tokens_uri: str | None) -> Judged:
    """Return predictions to judge, by default by the token dataset that they were made from."""
    predictions = PredictionDataset(uri)
    try:
        tokens = TokenDataset(tokens_uri or predictions.tokens_uri)
    except FileNotFoundError as error:
        if tokens_uri is not None:
            raise
        raise ConfigError(f"the tokens behind {uri} are not there ({error}):\n    name them with --tokens") from None
    return Judged(
        objective=predictions.objective,
        labels=predictions.labels,
        tokens=tokens,
        say=partial(say_predictions, predictions),
        training=_training_behind(predictions),
    )


def _training_behind(predictions: PredictionDataset) -> JobRecord | None:
    """Return how the first of the models was trained that predicted; None if it is gone, or is another one by now."""
    try:
        model = ModelDirectory(predictions.job.config["model"][0])
    except (OSError, ValueError):
        return None
    is_same = predictions.job.inputs.get("weights 1") == model.fingerprint
    return _training(model) if is_same else None


def _training(model: ModelDirectory) -> JobRecord | None:
    job = read_job(model.folder)
    return job if job.verb == "train-classifier" else None


def training_documents(judged: Judged, label: str | None, separator: str | None, train_uri: str | None) -> Examples:
    """Return the labelled documents that the baseline learns from: those of the model's training, or named ones.

    Raises:
        ValueError: they are not known or not there, cannot be learned from, or are of another vocabulary.
    """
    if train_uri is None:
        tokens, documents = _own_documents(judged)
    else:
        tokens = TokenDataset(train_uri)
        column = judged.column(tokens, label, separator)
        documents = Examples(tokens, column, judged.labels, everything(tokens))
    if tokens.manifest.vocab != judged.tokens.manifest.vocab:
        raise ConfigError(
            f"the vocabulary of {judged.tokens.folder.uri} is not that of {tokens.folder.uri}, which the baseline"
            " learns from: name tokens of the same vocabulary with --train-tokens"
        )
    if len(documents) < 2:
        raise ConfigError(f"{tokens.folder.uri} has {len(documents)} labelled documents: the baseline needs two")
    if tokens.fingerprint == judged.tokens.fingerprint:
        print("note: among these documents are those of the training: the figures say little of others")
    print(f"the baseline learns from {len(documents):,} documents of {tokens.folder.uri}", flush=True)
    return documents


def _own_documents(judged: Judged) -> tuple[TokenDataset, Examples]:
    """Return the documents that the model learned from, without those that were held out."""
    job, remedy = judged.training, "name documents that the baseline learns from with --train-tokens"
    if job is None:
        raise ConfigError(f"how the model was trained is not known: {remedy}")
    try:
        tokens = TokenDataset(job.config["tokens"])
    except (OSError, ValueError) as error:
        raise ConfigError(f"the documents of the model's training cannot be read ({error}):\n    {remedy}") from None
    if tokens.fingerprint != job.inputs["tokens"]:
        raise ConfigError(f"{tokens.folder.uri} has changed since the model was trained on it:\n    {remedy}")
    options = LabelOptions(
        label=job.config["label"],
        objective=judged.objective,
        labels=judged.labels,
        label_separator=job.config["label_separator"],
        # Documents of a --valid were others; nothing was held out beside them.
        valid_fraction=0.0 if job.config["valid"] else job.config["valid_fraction"],
        labelled_documents=job.config["labelled_documents"],
        seed=job.config["seed"],
    )
    return tokens, labelled_parts(tokens, None, options).train
