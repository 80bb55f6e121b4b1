"""A model -> the files that fastai 2 loads: `learn.load`, `load_encoder`; `pretrained_fnames` of a language model."""

import io
import pickle

import torch

from ulmfit_ray.commands.fastai.config import ExportFastaiConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.classifier import Classifier
from ulmfit_ray.model.fastai import fastai_encoder_state, fastai_state, fastai_words
from ulmfit_ray.model.files import load_model
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder, to_json_bytes
from ulmfit_ray.storage.model_directory import ModelDirectory

MODEL, ENCODER, WORDS, LABELS = "model.pth", "encoder.pth", "vocab.pkl", "labels.json"
FASTAI_THRESHOLD = 0.5


def run(config: ExportFastaiConfig) -> dict[str, object]:
    """Write the files, and return what was printed about them."""
    directory = ModelDirectory(config.model)
    kind = directory.description.kind
    if kind not in ("lm", "classifier"):
        raise ConfigError(f"--model {config.model} is a {kind}: only language models and classifiers are exported")
    folder = Folder(config.output)
    present = [name for name in (MODEL, ENCODER, WORDS, LABELS) if folder.exists(name)]
    if present and not config.overwrite:
        raise ConfigError(f"--output {config.output} has {', '.join(present)}: use --overwrite to write them again")
    with directory.weights() as weights:
        model = load_model(directory.description, weights, torch.device("cpu"))
    assert isinstance(model, LanguageModel | Classifier)
    try:
        state = fastai_state(model)
    except ValueError as error:
        raise ConfigError(f"--model {config.model}: {error}") from error
    words = fastai_words(directory.vocab["tokens"][: model.backbone.architecture.vocab_size])
    for name, content in ((MODEL, state), (ENCODER, fastai_encoder_state(model))):
        file = io.BytesIO()
        torch.save(content, file)
        folder.publish_bytes(file.getvalue(), name)
    folder.publish_bytes(pickle.dumps(words), WORDS)
    facts: dict[str, object] = {"words": len(words), "direction": directory.description.direction}
    if isinstance(model, Classifier):
        folder.publish_bytes(to_json_bytes(model.description.labels), LABELS)
        facts |= {"labels": len(model.description.labels), "lin_ftrs": list(model.description.hidden_sizes)}
        if (model.thresholds != FASTAI_THRESHOLD).any():
            facts["thresholds"] = f"not exported: fastai has one for all labels, {FASTAI_THRESHOLD}"
    facts["output"] = folder.uri
    print_summary("export-fastai", facts)
    return facts
