"""The kinds of models: for each name how to build and to describe it. The only place that lists them.

What every kind can do is a `VectorModel`: turn documents into vectors. Whoever encodes asks for nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.classifier import AS_TRAINED, Classifier
from ulmfit_ray.model.description import Block, ModelDescription, Reading
from ulmfit_ray.model.retriever import Retriever

Model = LanguageModel | Retriever | Classifier


class VectorModel(Protocol):
    """A model that makes one vector of a document. B documents, T time steps, V words, D numbers of a vector."""

    @property
    def backbone(self) -> AWDLSTM | None:
        """The AWD-LSTM inside, if there is one."""

    def vectors(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        reading: Reading,
        *,
        idf: Tensor | None,
        runner: AWDLSTM | None,
    ) -> Tensor:
        """Return vectors (B, D) of documents given as ids (B, T), longest first, of which num_tokens (B,) are real.

        `idf` (V,) are the vocabulary's pooling weights, for models that have none of their own. `runner` runs in
        place of the backbone: it was made for the layer and the precision of `reading`, see encoding.engine.
        """

    def vector_width(self, reading: Reading) -> int:
        """Return D for a way of reading."""

    def word_table(self) -> Tensor:
        """Return the vectors of single words that the model has, (rows, their width); ids beyond have none."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of model."""

    module: type[nn.Module]
    build: Callable[[ModelDescription], nn.Module]
    """description -> a new model of that shape, its weights random."""
    describe: Callable[[Any], dict[str, Any]]
    """model -> the fields of its ModelDescription that only this kind can fill in: dimension, blocks, ..."""


def _build_language_model(description: ModelDescription) -> LanguageModel:
    assert description.architecture is not None
    return LanguageModel(description.architecture)


def _describe_language_model(model: LanguageModel) -> dict[str, Any]:
    return {"dimension": model.architecture.embedding_dim}


def _build_retriever(description: ModelDescription) -> Retriever:
    return Retriever(
        [block.name for block in description.blocks],
        vocab_size=description.num_words,
        word_dim=description.word_dim,
        backbone=None if description.architecture is None else AWDLSTM(description.architecture),
        saturated=description.saturated,
        num_grams=description.num_grams,
    )


def _describe_retriever(model: Retriever) -> dict[str, Any]:
    blocks, start = [], 0
    for name, width in model.block_widths().items():
        blocks.append(Block(name, start, start + width))
        start += width
    return {
        "dimension": start,
        "blocks": tuple(blocks),
        "word_dim": model.block_widths().get("words", 0),
        "num_words": len(model.log_weights),
        "saturated": model.saturated,
        "num_grams": model.num_grams,
    }


def _build_classifier(description: ModelDescription) -> Classifier:
    assert description.architecture is not None
    assert description.head is not None
    return Classifier(AWDLSTM(description.architecture), description.head)


def _describe_classifier(model: Classifier) -> dict[str, Any]:
    return {"dimension": model.vector_width(AS_TRAINED), "head": model.description}


KINDS = {
    "lm": Kind(LanguageModel, _build_language_model, _describe_language_model),
    "retriever": Kind(Retriever, _build_retriever, _describe_retriever),
    "classifier": Kind(Classifier, _build_classifier, _describe_classifier),
}


def describe(model: nn.Module, *, direction: str, pooling: str, precision: str) -> ModelDescription:
    """Return what config.json says of a model."""
    name = next(name for name, kind in KINDS.items() if type(model) is kind.module)
    backbone = model.backbone
    return ModelDescription(
        kind=name,
        direction=direction,
        pooling=pooling,
        precision=precision,
        architecture=backbone.architecture if isinstance(backbone, AWDLSTM) else None,
        **KINDS[name].describe(model),
    )


def build_model(description: ModelDescription) -> Any:
    """Return a new model of the described kind and shape; its weights are random.

    Raises:
        ValueError: the kind is not known to this version.
    """
    if description.kind not in KINDS:
        raise ValueError(
            f"model kind {description.kind!r} is not known to this version of ulmfit-ray ({', '.join(KINDS)}): upgrade"
        )
    return KINDS[description.kind].build(description)
