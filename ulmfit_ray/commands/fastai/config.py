"""Options of `import-fastai` and `export-fastai`. Loads no torch, so that --help is quick."""

from dataclasses import dataclass
from typing import Literal

from ulmfit_ray.config import OutputRun, Run, operational
from ulmfit_ray.model.description import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportFastaiConfig(OutputRun):
    """Turn the weights and the word list of a fastai language model or classifier into a model directory."""

    weights: str
    """File of the weights: .pth of fastai 2 and 1, .h5 of 0.7; of a language model, its encoder alone, or a
    classifier."""
    itos: str
    """File of its words in the order of their ids: a pickled list (itos_wt103.pkl), or JSON. Those of a classifier of
    fastai 2 are list(learn.dls.vocab[0])."""
    output: str = operational()
    """Directory or URI of the model."""
    direction: Literal["forward", "backward"] = "forward"
    """Whether it reads texts from their beginning or from their end; its files do not say so."""
    lang: str = "en"
    """spaCy's code of the language of its words."""
    rules: tuple[str, ...] = ("auto",)
    """How texts are cleaned for it: a preset or rules, as of tokenize (auto: fastai-0.7 for the words of that version,
    else fastai-v2)."""
    objective: Objective = "single-label"
    """What a classifier says of a document: one of its labels, any number of them, or a number."""
    labels: tuple[str, ...] = ()
    """Names of a classifier's outputs in their order, in fastai 2 learn.dls.vocab[1]; else they are numbered from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFastaiConfig(Run):
    """Write a language model or a classifier as model.pth, encoder.pth and vocab.pkl of fastai 2; a classifier's labels
    as labels.json."""

    model: str
    """Directory of the model."""
    output: str = operational()
    """Directory of the files."""
    overwrite: bool = operational(False)
    """Write them again where there are such files."""
