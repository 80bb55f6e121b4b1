"""A language model -> the files that fastai 2 loads: `learn.load`, `load_encoder`, `pretrained_fnames`."""

import io
import pickle

import torch

from ulmfit_ray.commands.fastai.config import ExportFastaiConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.fastai import fastai_state, fastai_words
from ulmfit_ray.model.files import load_model
from ulmfit_ray.reporting.tables import print_summary
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.model_directory import ModelDirectory

MODEL, ENCODER, WORDS = "model.pth", "encoder.pth", "vocab.pkl"


def run(config: ExportFastaiConfig) -> dict[str, object]:
    """Write the files, and return what was printed about them."""
    directory = ModelDirectory(config.model)
    if directory.description.kind != "lm":
        raise ConfigError(
            f"--model {config.model} is a {directory.description.kind}: only language models are exported"
        )
    folder = Folder(config.output)
    present = [name for name in (MODEL, ENCODER, WORDS) if folder.exists(name)]
    if present and not config.overwrite:
        raise ConfigError(f"--output {config.output} has {', '.join(present)}: use --overwrite to write them again")
    with directory.weights() as weights:
        model = load_model(directory.description, weights, torch.device("cpu"))
    assert isinstance(model, LanguageModel)
    words = fastai_words(directory.vocab["tokens"][: model.architecture.vocab_size])
    state = fastai_state(model)
    encoder = {name.removeprefix("0."): tensor for name, tensor in state.items() if name.startswith("0.")}
    for name, content in ((MODEL, state), (ENCODER, encoder)):
        file = io.BytesIO()
        torch.save(content, file)
        folder.publish_bytes(file.getvalue(), name)
    folder.publish_bytes(pickle.dumps(words), WORDS)
    facts: dict[str, object] = {"words": len(words), "direction": directory.description.direction, "output": folder.uri}
    print_summary("export-fastai", facts)
    return facts
