"""Each kind of model is described, rebuilt and loaded as what it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.classifier import Classifier
from ulmfit_ray.model.description import Block, ClassifierHead, ModelDescription, Reading
from ulmfit_ray.model.dropout import NO_DROPOUT
from ulmfit_ray.model.files import load_model, load_tensors, save_tensors
from ulmfit_ray.model.kinds import KINDS, build_model
from ulmfit_ray.model.kinds import describe as describe_model
from ulmfit_ray.model.retriever import Retriever

CPU = torch.device("cpu")
BLOCKS = pytest.mark.parametrize("blocks", [("context", "words"), ("words",), ("context",)])


def through_json(description: ModelDescription) -> ModelDescription:
    return ModelDescription.from_json(json.loads(json.dumps(description.to_json())))


def describe(model: LanguageModel | Retriever, direction: str = "forward", pooling: str = "mean") -> ModelDescription:
    return describe_model(model, direction=direction, pooling=pooling, precision="float32")


def retriever(
    blocks: tuple[str, ...], architecture: Architecture, *, saturated: bool = True, num_grams: int = 9
) -> Retriever:
    encoder = AWDLSTM(architecture) if "context" in blocks else None
    return Retriever(blocks, vocab_size=80, word_dim=4, backbone=encoder, saturated=saturated, num_grams=num_grams)


def test_tensors_come_back_as_they_were(tmp_path: Path):
    matrix = torch.randn(4, 3)
    tensors = {"transposed": matrix.t(), "whole": matrix, "row": matrix[1], "step": torch.tensor(7)}
    save_tensors(tensors, tmp_path / "some.safetensors")
    found = load_tensors(tmp_path / "some.safetensors")
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in tensors.items())


def test_a_saved_language_model_gives_the_same_outputs(tmp_path: Path, language_model: LanguageModel):
    save_tensors(language_model.state_dict(), tmp_path / "model.safetensors")
    description = through_json(describe(language_model, direction="forward", pooling="mean"))
    loaded = load_model(description, tmp_path / "model.safetensors", CPU)
    assert not loaded.training
    ids = torch.randint(2, 50, (3, 8))
    hidden = language_model.backbone.initial_hidden(3)
    assert torch.equal(loaded.backbone(ids, hidden)[0], language_model.eval().backbone(ids, hidden)[0])
    assert torch.equal(loaded.score(ids, ids, hidden)[0], language_model.score(ids, ids, hidden)[0])


@BLOCKS
def test_a_saved_retriever_gives_the_same_vectors(tmp_path: Path, architecture: Architecture, blocks: tuple[str, ...]):
    model = retriever(blocks, architecture).eval()
    save_tensors(model.state_dict(), tmp_path / "model.safetensors")
    description = through_json(describe(model, direction="forward", pooling="idf-mean"))
    loaded = load_model(description, tmp_path / "model.safetensors", CPU)
    tower = (torch.randint(2, 80, (3, 8)), torch.tensor([8, 5, 2]), NO_DROPOUT)
    (expected,), (found,) = model([tower]), loaded([tower])
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], vectors) for name, vectors in expected.items())


def test_a_retriever_of_an_earlier_version_counts_every_occurrence_and_has_no_runs_of_letters(
    architecture: Architecture,
):
    model = retriever(("words",), architecture, saturated=False, num_grams=0)
    content = describe(model, pooling="idf-mean").to_json()
    for name in ("saturated", "num_grams"):
        del content[name]
    rebuilt = build_model(ModelDescription.from_json(content))
    rebuilt.load_state_dict(model.state_dict())
    tower = (torch.tensor([[3, 3, 3, 7]]), torch.tensor([4]), NO_DROPOUT)
    assert torch.equal(rebuilt([tower])[0]["words"], model([tower])[0]["words"])
    assert not torch.allclose(rebuilt([tower])[0]["words"], retriever(("words",), architecture)([tower])[0]["words"])


def test_the_description_of_a_language_model_says_what_to_build(language_model: LanguageModel):
    description = describe(language_model, direction="backward", pooling="concat")
    assert (description.kind, description.direction, description.pooling) == ("lm", "backward", "concat")
    content = description.to_json()
    assert (content["dimension"], content["vocab_size"], content["num_rows"]) == (6, 50, 64)
    rebuilt = build_model(through_json(description))
    assert isinstance(rebuilt, LanguageModel)
    assert rebuilt.architecture == language_model.architecture
    shapes = {name: value.shape for name, value in language_model.state_dict().items()}
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == shapes
    assert describe(rebuilt, direction="backward", pooling="concat") == description


@BLOCKS
def test_the_description_of_a_retriever_says_where_its_blocks_lie(architecture: Architecture, blocks: tuple[str, ...]):
    model = retriever(blocks, architecture)
    description = describe(model, direction="forward", pooling="idf-mean")
    places = {
        ("context", "words"): (Block("context", 0, 6), Block("words", 6, 10)),
        ("words",): (Block("words", 0, 4),),
        ("context",): (Block("context", 0, 6),),
    }
    assert description.blocks == places[blocks]
    assert description.dimension == places[blocks][-1].stop
    assert (description.architecture is not None) == ("context" in blocks)
    assert through_json(description) == description
    rebuilt = build_model(through_json(description))
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == shapes
    assert describe(rebuilt, direction="forward", pooling="idf-mean") == description


@BLOCKS
def test_a_pooling_that_widens_the_context_block_moves_the_blocks_behind_it(
    architecture: Architecture, blocks: tuple[str, ...]
):
    model = retriever(blocks, architecture)
    wide = describe(model, pooling="idf-mean").vector_blocks("concat")
    widths = {"context": 18, "words": 4}
    assert [block.stop - block.start for block in wide] == [widths[block.name] for block in wide]
    assert wide[-1].stop == model.vector_width(Reading(pooling="concat"))
    assert describe(model).vector_blocks("max") == describe(model).blocks


def test_a_kind_of_a_later_version_is_refused(language_model: LanguageModel):
    description = replace(describe(language_model), kind="transformer")
    with pytest.raises(ValueError, match="'transformer' is not known to this version"):
        build_model(description)


def test_weights_of_another_shape_are_refused(tmp_path: Path, language_model: LanguageModel):
    save_tensors(language_model.state_dict(), tmp_path / "model.safetensors")
    description = describe(language_model)
    assert description.architecture is not None
    wider = replace(description, architecture=replace(description.architecture, hidden_size=12))
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_model(wider, tmp_path / "model.safetensors", CPU)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_groups_of_every_kind_hold_each_parameter_once(
    kind: str, architecture: Architecture, language_model: LanguageModel
):
    model = {
        "lm": language_model,
        "retriever": retriever(("context", "words"), architecture),
        "classifier": Classifier(AWDLSTM(architecture), ClassifierHead(objective="regression")),
    }[kind]
    assert type(model) is KINDS[kind].module
    groups = model.layer_groups()
    grouped = [id(parameter) for _, parameters in groups for parameter in parameters]
    assert sorted(grouped) == sorted(map(id, model.parameters()))
    names = [name for name, _ in groups]
    layers = ["layer 1", "layer 2", "layer 3"]
    assert names == ([*layers, "decoder"] if kind == "lm" else ["embedding", *layers, "head"])
