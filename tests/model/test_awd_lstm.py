import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, PAD_ID, UNK_ID, Hidden, LanguageModel, LSTMLayer, detach_hidden
from ulmfit_ray.model.dropout import DropoutMasks, draw_masks

B, T = 4, 7
DROPOUTS = {
    "embedding_dropout": 0.2,
    "input_dropout": 0.3,
    "hidden_dropout": 0.4,
    "output_dropout": 0.5,
    "weight_dropout": 0.3,
}


def torch_stack(encoder: AWDLSTM, weight_masks: tuple[Tensor, ...] = ()) -> list[nn.LSTM]:
    """Return torch's LSTMs with the encoder's weights, the recurrent ones masked."""
    stack = []
    for number, (sizes, layer) in enumerate(zip(encoder.architecture.layer_sizes(), encoder.layers, strict=True)):
        lstm = nn.LSTM(*sizes, batch_first=True)
        weights = {name: value.clone() for name, value in layer.state_dict().items()}
        if weight_masks:
            weights["weight_hh_l0"] *= weight_masks[number]
        lstm.load_state_dict(weights)
        stack.append(lstm)
    return stack


def run_stack(stack: list[nn.LSTM], x: Tensor, hidden: Hidden, masks: tuple[Tensor, ...] = ()) -> tuple[Tensor, Hidden]:
    """Return last outputs and states; `masks` lie between the layers."""
    states = []
    for number, lstm in enumerate(stack):
        x, state = lstm(x, hidden[number])
        states.append(state)
        if number < len(masks):
            x = x * masks[number]
    return x, states


def random_hidden(encoder: AWDLSTM, batch_size: int = B) -> Hidden:
    return [(torch.randn_like(h), torch.randn_like(c)) for h, c in encoder.initial_hidden(batch_size)]


def flat(hidden: Hidden) -> list[Tensor]:
    return [value for pair in hidden for value in pair]


def random_ids(length: int = T, vocab_size: int = 50) -> Tensor:
    return torch.randint(2, vocab_size, (B, length))


def all_masks(architecture: Architecture, batch_size: int = B) -> DropoutMasks:
    shape = architecture.without_dropout(**DROPOUTS)
    return draw_masks(
        shape, seed=3, global_batch_size=batch_size, rows=slice(0, batch_size), device=torch.device("cpu")
    )


@pytest.mark.parametrize("initial_range", [0.1, 1.0])
def test_new_word_vectors_fill_their_initial_range(initial_range: float):
    largest = AWDLSTM(Architecture(vocab_size=5_000, initial_range=initial_range)).embedding.weight.abs().max().item()
    # The bound itself, in float32, is a little more.
    assert 0.99 * initial_range < largest < 1.0001 * initial_range


def test_without_dropout_it_is_a_stack_of_torch_lstms(language_model: LanguageModel):
    encoder, stack = language_model.backbone, torch_stack(language_model.backbone)
    ids, hidden = random_ids(), random_hidden(language_model.backbone)
    outputs, states = encoder(ids, hidden)
    word_vectors = F.embedding(ids, encoder.embedding.weight).detach().requires_grad_()
    expected, expected_states = run_stack(stack, word_vectors, hidden)
    assert outputs.shape == (B, T, 6)
    assert_close(outputs, expected)
    assert_close(flat(states), flat(expected_states))
    assert [h.shape for h in flat(states)] == [(1, B, size) for size in (10, 10, 10, 10, 6, 6)]

    coefficients = torch.randn_like(outputs)
    (sum((outputs * coefficients).flatten()) + sum(h.square().sum() for h in flat(states))).backward()
    (sum((expected * coefficients).flatten()) + sum(h.square().sum() for h in flat(expected_states))).backward()
    for layer, lstm in zip(encoder.layers, stack, strict=True):
        for name, parameter in lstm.named_parameters():
            assert_close(layer.get_parameter(name).grad, parameter.grad, msg=lambda text, name=name: f"{name}: {text}")
    expected_rows = torch.zeros_like(encoder.embedding.weight).index_add_(
        0, ids.flatten(), word_vectors.grad.flatten(0, 1)
    )
    assert_close(encoder.embedding.weight.grad, expected_rows)


def test_state_carried_over_two_windows_gives_what_one_call_gives(language_model: LanguageModel):
    encoder, ids, hidden = language_model.backbone, random_ids(), random_hidden(language_model.backbone)
    whole, last = encoder(ids, hidden)
    first, between = encoder(ids[:, :3], hidden)
    second, end = encoder(ids[:, 3:], between)
    assert_close(torch.cat([first, second], 1), whole)
    assert_close(flat(end), flat(last))


def test_the_state_before_the_first_token_is_zero(language_model: LanguageModel):
    hidden = language_model.backbone.initial_hidden(B)
    assert [value.abs().max().item() for value in flat(hidden)] == [0] * 6
    assert hidden[0][0] is not hidden[0][1]


def test_a_layer_with_a_weight_mask_is_torchs_lstm_with_masked_recurrent_weights():
    torch.manual_seed(1)
    layer, lstm = LSTMLayer(5, 8), nn.LSTM(5, 8, batch_first=True)
    mask = torch.empty(32, 8).bernoulli_(0.6) / 0.6
    weights = {name: value.clone() for name, value in layer.state_dict().items()}
    lstm.load_state_dict(weights | {"weight_hh_l0": weights["weight_hh_l0"] * mask})
    x, state = torch.randn(B, T, 5), (torch.randn(1, B, 8), torch.randn(1, B, 8))
    output, new_state = layer(x, state, mask)
    expected, expected_state = lstm(x, state)
    assert_close(output, expected)
    assert_close(list(new_state), list(expected_state))
    output.square().sum().backward()
    expected.square().sum().backward()
    assert_close(layer.weight_hh_l0.grad, lstm.weight_hh_l0.grad * mask)
    assert_close(layer.weight_ih_l0.grad, lstm.weight_ih_l0.grad)


def test_weight_masks_leave_the_raw_weights_as_they_are(language_model: LanguageModel):
    encoder, masks = language_model.backbone, all_masks(language_model.architecture)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(random_ids(), encoder.initial_hidden(B), masks)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_embedding_mask_drops_a_word_wherever_it_stands(language_model: LanguageModel):
    encoder = language_model.backbone
    mask = torch.full((64, 1), 1.25)
    mask[7] = 0
    ids = random_ids()
    ids[0, 2] = ids[3, 5] = 7
    vectors = encoder.embed(ids, DropoutMasks(embedding=mask))
    assert_close(vectors[ids == 7], torch.zeros(int((ids == 7).sum()), 6))
    assert_close(vectors[ids != 7], 1.25 * encoder.embedding.weight[ids[ids != 7]])


def test_the_tied_decoder_sees_the_whole_matrix_under_embedding_dropout(language_model: LanguageModel):
    mask = torch.zeros(64, 1)
    ids, targets = random_ids(), random_ids()
    loss, _, raw_output, _ = language_model(
        ids, targets, random_hidden(language_model.backbone), DropoutMasks(embedding=mask)
    )
    logits = F.linear(raw_output, language_model.backbone.embedding.weight[:50], language_model.decoder_bias[:50])
    assert_close(loss, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def test_the_input_mask_is_the_same_at_every_time_step_and_differs_between_rows(language_model: LanguageModel):
    encoder, masks = language_model.backbone, all_masks(language_model.architecture)
    ids = random_ids()
    vectors = encoder.embed(ids, DropoutMasks(input=masks.input))
    plain = encoder.embedding.weight[ids]
    for step in range(T):
        assert_close(vectors[:, step], plain[:, step] * masks.input[:, 0])
    assert len(masks.input.unique(dim=0)) > 1


def test_hidden_masks_lie_between_layers_and_not_behind_the_last_one(language_model: LanguageModel):
    encoder, masks = language_model.backbone, all_masks(language_model.architecture)
    x, hidden = torch.randn(B, T, 6), random_hidden(language_model.backbone)
    outputs, states = encoder.run_layers(x, hidden, DropoutMasks(hidden=masks.hidden))
    expected, expected_states = run_stack(torch_stack(encoder), x, hidden, masks.hidden)
    assert_close(outputs, expected)
    assert_close(flat(states), flat(expected_states))
    undropped, _ = run_stack(torch_stack(encoder), x, hidden)
    assert not torch.allclose(outputs, undropped)


def test_the_output_mask_lies_between_the_last_layer_and_the_decoder(language_model: LanguageModel):
    masks = DropoutMasks(output=all_masks(language_model.architecture).output)
    ids, targets, hidden = random_ids(), random_ids(), random_hidden(language_model.backbone)
    loss, output, raw_output, states = language_model(ids, targets, hidden, masks)
    plain, plain_states = language_model.backbone(ids, hidden)
    assert_close(raw_output, plain)
    assert_close(flat(states), flat(plain_states))
    assert_close(output, plain * masks.output)
    logits = F.linear(output, language_model.backbone.embedding.weight[:50], language_model.decoder_bias[:50])
    assert_close(loss, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def test_all_five_masks_together_are_the_plain_computation(language_model: LanguageModel):
    encoder, masks = language_model.backbone, all_masks(language_model.architecture)
    ids, targets, hidden = random_ids(), random_ids(), random_hidden(language_model.backbone)
    loss, output, raw_output, _ = language_model(ids, targets, hidden, masks)
    vectors = (encoder.embedding.weight * masks.embedding)[ids] * masks.input
    expected, _ = run_stack(torch_stack(encoder, masks.weight), vectors, hidden, masks.hidden)
    assert_close(raw_output, expected)
    assert_close(output, expected * masks.output)
    logits = F.linear(expected * masks.output, encoder.embedding.weight[:50], language_model.decoder_bias[:50])
    assert_close(loss, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def test_ids_beyond_the_vocabulary_are_xxunk_on_input_and_as_target(language_model: LanguageModel):
    ids, targets, hidden = random_ids(), random_ids(), language_model.backbone.initial_hidden(B)
    strange_ids, strange_targets = ids.clone(), targets.clone()
    strange_ids[1, 3], strange_targets[2, 0], strange_targets[0, 6] = 50, 63, 60_000
    ids[1, 3] = targets[2, 0] = targets[0, 6] = UNK_ID
    loss, *_ = language_model(ids, targets, hidden)
    strange_loss, *_ = language_model(strange_ids, strange_targets, hidden)
    assert torch.equal(strange_loss, loss)
    strange_score, score = (
        language_model.score(*pair, hidden) for pair in ((strange_ids, strange_targets), (ids, targets))
    )
    assert torch.equal(strange_score[0], score[0])
    assert torch.equal(strange_score[1], score[1])


def test_padding_rows_are_never_predicted_and_get_no_gradient(language_model: LanguageModel):
    ids, targets, hidden = random_ids(), random_ids(), language_model.backbone.initial_hidden(B)
    loss, *_ = language_model(ids, targets, hidden)
    total, correct, _ = language_model.score(ids, targets, hidden)
    with torch.no_grad():
        language_model.backbone.embedding.weight[50:] = 1e3
        language_model.decoder_bias[50:] = 1e3
    changed, *_ = language_model(ids, targets, hidden)
    changed_total, changed_correct, _ = language_model.score(ids, targets, hidden)
    assert torch.equal(changed, loss)
    assert torch.equal(changed_total, total)
    assert torch.equal(changed_correct, correct)
    changed.backward()
    assert language_model.backbone.embedding.weight.grad[50:].abs().max() == 0
    assert language_model.decoder_bias.grad[50:].abs().max() == 0
    assert language_model.decoder_bias.grad[:50].abs().min() > 0


def test_the_row_of_xxpad_gets_no_gradient_from_the_input_side(language_model: LanguageModel):
    encoder = language_model.backbone
    ids = random_ids()
    ids[:, 0] = PAD_ID
    encoder(ids, encoder.initial_hidden(B))[0].sum().backward()
    assert encoder.embedding.weight.grad[PAD_ID].abs().max() == 0
    assert encoder.embedding.weight.grad[ids[0, 1]].abs().max() > 0


def test_score_sums_the_loss_counts_right_words_and_carries_the_state(language_model: LanguageModel):
    ids, hidden = random_ids(), random_hidden(language_model.backbone)
    raw_output, states = language_model.backbone(ids, hidden)
    logits = F.linear(raw_output, language_model.backbone.embedding.weight[:50], language_model.decoder_bias[:50])
    targets = random_ids()
    targets[0] = logits[0].argmax(1)
    total, correct, new_hidden = language_model.score(ids, targets, hidden)
    assert_close(total, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").double().detach())
    assert correct == (logits.argmax(2) == targets).sum() >= T
    assert_close(flat(new_hidden), flat(states))
    assert not total.requires_grad


@pytest.mark.parametrize("window", [1, 3, 4, 20])
@pytest.mark.parametrize("gradient", [True, False])
def test_windows_give_each_document_what_it_gets_alone(language_model: LanguageModel, window: int, gradient: bool):
    encoder, lengths = language_model.backbone, [9, 8, 4, 1]
    masks = all_masks(language_model.architecture)
    ids = random_ids(9)
    with torch.set_grad_enabled(gradient):
        windows = list(encoder.windows(ids, torch.tensor(lengths), window, masks))
    assert [len(outputs) for outputs in windows] == [
        sum(length > start for length in lengths) for start in range(0, 9, window)
    ]
    for row, length in enumerate(lengths):
        alone, _ = encoder(ids[row : row + 1, :length], encoder.initial_hidden(1), masks.rows(slice(row, row + 1)))
        outputs = torch.cat([outputs[row] for outputs in windows if len(outputs) > row])
        assert_close(outputs[:length], alone[0])


@pytest.mark.parametrize("window", [3, 20])
def test_a_document_alone_has_the_bits_it_has_in_company(language_model: LanguageModel, window: int):
    encoder, lengths = language_model.backbone.eval(), [9, 8, 4, 1]
    masks, ids = all_masks(language_model.architecture), random_ids(9)
    with torch.inference_mode():
        together = list(encoder.windows(ids, torch.tensor(lengths), window, masks))
        for row, length in enumerate(lengths):
            one = slice(row, row + 1)
            alone = list(encoder.windows(ids[one], torch.tensor([length]), window, masks.rows(one)))
            assert all(len(outputs) == 1 for outputs in alone)
            found = torch.cat([outputs[0] for outputs in alone])[:length]
            assert torch.equal(found, torch.cat([outputs[row] for outputs in together if len(outputs) > row])[:length])


def test_windows_refuse_documents_that_do_not_come_longest_first(language_model: LanguageModel):
    with pytest.raises(AssertionError, match="longest first"):
        next(language_model.backbone.windows(random_ids(), torch.tensor([2, 7, 1, 1]), 3))


def test_a_detached_state_keeps_its_values_and_stops_the_gradient(language_model: LanguageModel):
    encoder = language_model.backbone
    _, hidden = encoder(random_ids(), encoder.initial_hidden(B))
    detached = detach_hidden(hidden)
    assert all(value.requires_grad for value in flat(hidden))
    assert not any(value.requires_grad for value in flat(detached))
    assert_close(flat(detached), flat(hidden))


def test_weights_start_as_in_fastai(architecture: Architecture):
    model = LanguageModel(architecture)
    assert 0.09 < model.backbone.embedding.weight.abs().max() <= 0.1
    assert model.decoder_bias.abs().max() == 0
    for (_, size), layer in zip(architecture.layer_sizes(), model.backbone.layers, strict=True):
        largest = max(parameter.abs().max().item() for parameter in layer.parameters())
        assert 0.8 * size**-0.5 < largest <= size**-0.5
