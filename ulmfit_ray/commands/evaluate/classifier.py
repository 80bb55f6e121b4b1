"""How well classifiers predict the labels of documents, beside TF-IDF with word pairs, and the majority class.

The baseline learns from the documents that the (first) classifier was trained on, and reads the same tokens. Tokens are
read shard by shard; what is held in memory is each system's numbers for all documents.
"""

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from ulmfit_ray.commands.evaluate.figures import figures_of, of_each_label, of_each_length, print_figures
from ulmfit_ray.commands.evaluate.judged import Judged, judged_models, judged_predictions, training_documents
from ulmfit_ray.commands.evaluate.labelled import LabelledShards
from ulmfit_ray.commands.evaluate.systems import BOTH, System, mean_of, say_baselines
from ulmfit_ray.commands.evaluate.worst import print_worst, worst_documents
from ulmfit_ray.commands.result_file import place_of, refuse_existing
from ulmfit_ray.config import ConfigError, Run, operational
from ulmfit_ray.evaluation.classification import confusion
from ulmfit_ray.evaluation.word_pairs import require_scikit_learn
from ulmfit_ray.reporting.confusion_plot import confusion_matrix_png


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateClassifierConfig(Run):
    """Measure classifiers, or predictions, on labelled documents, beside TF-IDF with word pairs."""

    model: tuple[str, ...] = ()
    """Model directories of classifiers with the same labels; of several each is measured, and their mean."""
    tokens: str | None = None
    """Labelled token dataset with the models' vocabulary (default with --predictions: what they were made from)."""
    predictions: str | None = None
    """Prediction dataset to measure instead of --model."""
    label: str | None = None
    """Column of the labels, which --tokens kept; documents with a null there are left out (default: the model's)."""
    label_separator: str | None = None
    """What stands between the labels of a document where a column of text holds several (default: the model's)."""
    train_tokens: str | None = None
    """Labelled token dataset that the baseline learns from (default: the documents that the first model was trained
    on)."""
    output: str | None = operational(None)
    """Write the figures to this JSON file too."""
    confusion: str | None = operational(None)
    """Write how often which class is taken for which to a table and a picture: this path with .csv and .png."""
    worst: int = operational(0)
    """Show so many of the documents with the highest loss."""
    overwrite: bool = operational(False)
    """Replace the files of --output and --confusion if they are there."""

    def __post_init__(self) -> None:
        if bool(self.model) == (self.predictions is not None):
            raise ConfigError("name what is measured: either --model and --tokens, or --predictions")
        if self.model and self.tokens is None:
            raise ConfigError("--model needs --tokens: labelled documents with its vocabulary")
        if len(set(self.model)) < len(self.model):
            raise ConfigError("--model names the same directory twice")
        if self.worst < 0:
            raise ConfigError("--worst must not be negative")


def run(config: EvaluateClassifierConfig) -> dict[str, Any]:
    """Print the figures and return them."""
    refuse_existing(config.output, config.overwrite)
    for file in _confusion_files(config):
        refuse_existing(file, config.overwrite, "--confusion")
    require_scikit_learn()
    judged = _judged(config)
    if config.confusion is not None and judged.objective != "single-label":
        raise ConfigError(f"--confusion is for one label each, and what is measured is {judged.objective}")
    column = judged.column(judged.tokens, config.label, config.label_separator)
    documents = LabelledShards(judged.tokens, column, judged.labels)
    train = training_documents(judged, config.label, config.label_separator, config.train_tokens)
    baseline, blind = say_baselines(train, documents)
    systems = judged.say(documents)
    detailed = systems[-1]
    every = [*systems, baseline, mean_of(BOTH, [detailed, baseline]), blind]
    result: dict[str, Any] = {
        "num_documents": len(documents),
        "unlabelled": documents.num_unlabelled,
        "baseline_documents": len(train),
        "systems": {system.name: figures_of(system, documents) for system in every},
        "per_class": of_each_label(detailed, baseline, documents),
        "by_length": of_each_length(detailed, baseline, documents),
    }
    print_figures(_title(judged, documents), judged.objective, result, detailed.name)
    if config.worst:
        result["worst"] = worst_documents(detailed, documents, config.worst)
        print_worst(result["worst"], detailed.name)
    _write(config, result, detailed, documents)
    return result


def _judged(config: EvaluateClassifierConfig) -> Judged:
    if config.predictions is not None:
        return judged_predictions(config.predictions, config.tokens)
    assert config.tokens is not None
    return judged_models(config.model, config.tokens)


def _title(judged: Judged, documents: LabelledShards) -> str:
    left_out = f", {documents.num_unlabelled:,} without a label left out" if documents.num_unlabelled else ""
    return f"{judged.tokens.folder.uri}, {len(documents):,} documents{left_out}"


def _confusion_files(config: EvaluateClassifierConfig) -> list[str]:
    return [] if config.confusion is None else [f"{config.confusion}.csv", f"{config.confusion}.png"]


def _write(config: EvaluateClassifierConfig, result: dict[str, Any], system: System, documents: LabelledShards) -> None:
    """Write the files that are asked for."""
    if config.output is not None:
        folder, name = place_of(config.output)
        folder.publish_json(result, name)
    if config.confusion is not None:
        counts = confusion(documents.targets, system.numbers.argmax(axis=1), len(documents.labels))
        contents = _csv(counts, documents.labels), confusion_matrix_png(counts, documents.labels)
        for file, content in zip(_confusion_files(config), contents, strict=True):
            folder, name = place_of(file)
            folder.publish_bytes(content, name)
        print(f"confusion matrix written to {' and '.join(_confusion_files(config))}")


def _csv(counts: np.ndarray, labels: tuple[str, ...]) -> bytes:
    """Return a confusion matrix as CSV: a row for each true class, with its name in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *labels])
    writer.writerows([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))
    return text.getvalue().encode()
