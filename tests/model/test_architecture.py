import math

import pytest

from ulmfit_ray.model.architecture import PRESETS, Architecture, ArchitectureOptions


def test_the_last_layer_comes_back_to_the_size_of_the_embedding():
    shape = Architecture(vocab_size=10, embedding_dim=4, hidden_size=7, num_layers=3)
    assert shape.layer_sizes() == [(4, 7), (7, 7), (7, 4)]
    assert Architecture(embedding_dim=4, hidden_size=7, num_layers=1).layer_sizes() == [(4, 4)]


@pytest.mark.parametrize(("words", "rows"), [(1, 64), (64, 64), (65, 128), (60_000, 60_032)])
def test_the_embedding_has_a_multiple_of_64_rows(words: int, rows: int):
    assert Architecture(vocab_size=words).num_rows == rows


def test_the_defaults_are_those_of_fastai():
    shape = Architecture()
    assert (shape.embedding_dim, shape.hidden_size, shape.num_layers) == (400, 1152, 3)
    dropouts = (shape.output_dropout, shape.hidden_dropout, shape.input_dropout)
    assert dropouts == (0.1, 0.15, 0.25)
    assert (shape.embedding_dropout, shape.weight_dropout) == (0.02, 0.2)


def test_dropout_scale_multiplies_all_five_dropouts():
    scaled = Architecture(dropout_scale=0.5).scaled_dropouts()
    dropouts = (scaled.output_dropout, scaled.hidden_dropout, scaled.input_dropout)
    assert dropouts == pytest.approx((0.05, 0.075, 0.125))
    assert (scaled.embedding_dropout, scaled.weight_dropout) == pytest.approx((0.01, 0.1))
    assert scaled.dropout_scale == 1.0


def test_without_dropout_keeps_the_shape_and_only_the_dropouts_that_are_named():
    shape = Architecture(vocab_size=9, hidden_size=8, dropout_scale=0.5).without_dropout(hidden_dropout=0.3)
    assert (shape.vocab_size, shape.hidden_size, shape.dropout_scale) == (9, 8, 1.0)
    assert shape.hidden_dropout == 0.3
    others = (shape.embedding_dropout, shape.input_dropout, shape.output_dropout, shape.weight_dropout)
    assert others == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["embedding_dim", "hidden_size", "num_layers"])
def test_a_size_below_one_is_refused_by_its_name(name: str):
    with pytest.raises(ValueError, match=rf"architecture\.{name} must be at least 1, not 0"):
        Architecture(**{name: 0})


def test_a_dropout_that_its_scale_lifts_to_one_is_refused():
    with pytest.raises(ValueError, match="weight_dropout"):
        Architecture(weight_dropout=0.5, dropout_scale=2.0)
    with pytest.raises(ValueError, match="input_dropout"):
        Architecture(input_dropout=-0.1)


@pytest.mark.parametrize("initial_range", [0.0, -1.0, math.nan, math.inf])
def test_an_initial_range_that_is_none_is_refused(initial_range: float):
    with pytest.raises(ValueError, match="initial_range must be greater than 0"):
        Architecture(initial_range=initial_range)


def test_what_is_given_goes_before_the_preset() -> None:
    assert ArchitectureOptions().chosen() == Architecture()
    options = ArchitectureOptions(preset="laptop", vocab_size=9, num_layers=3, input_dropout=0.0, dropout_scale=0.5)
    shape = options.chosen()
    assert (shape.embedding_dim, shape.hidden_size, shape.num_layers, shape.vocab_size) == (128, 256, 3, 9)
    assert (shape.input_dropout, shape.hidden_dropout, shape.dropout_scale) == (0.0, 0.1, 0.5)


def test_the_papers_preset_has_the_papers_dropouts() -> None:
    shape = PRESETS["awd-lstm-400-1150-3"]
    assert (shape.hidden_size, shape.output_dropout, shape.hidden_dropout) == (1150, 0.4, 0.2)
    assert (shape.input_dropout, shape.embedding_dropout, shape.weight_dropout) == (0.65, 0.1, 0.5)


def test_options_that_make_no_model_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="input_dropout times dropout_scale"):
        ArchitectureOptions(preset="awd-lstm-400-1150-3", dropout_scale=2)
