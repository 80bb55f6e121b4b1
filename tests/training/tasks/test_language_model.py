import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ulmfit_ray.model.dropout import draw_masks
from ulmfit_ray.training.config import LanguageModelTraining

CPU = torch.device("cpu")


def random_carry(task):
    return [(torch.randn_like(h), torch.randn_like(c)) for h, c in task.initial_carry()[0]]


def plain_terms(task, batch, carry, masks):
    """Return cross-entropy, AR's and TAR's mean squares of one window, term by term."""
    model, batch = task.model, batch.token_ids
    raw_output, _ = model.backbone(batch[:, :-1], carry, masks)
    output = raw_output * masks.output
    logits = F.linear(output, model.backbone.embedding.weight[:20], model.decoder_bias[:20])
    entropy = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    rows, steps, width = output.shape
    activation = sum(output[b, t].square().sum() for b in range(rows) for t in range(steps)) / output.numel()
    changes = [raw_output[b, t] - raw_output[b, t - 1] for b in range(rows) for t in range(1, steps)]
    temporal = sum(change.square().sum() for change in changes) / max(1, rows * (steps - 1) * width)
    return entropy, activation, temporal


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (0.0, 3.0), (5.0, 0.0), (0.0, 0.0)])
def test_the_loss_is_cross_entropy_plus_ar_of_the_dropped_and_tar_of_the_raw_output(
    make_task, training, architecture, alpha: float, beta: float
):
    training = replace(training, activation_reg=alpha, temporal_activation_reg=beta)
    task = make_task(training)
    batch, carry, step = next(task.batches(0, 0))[0], random_carry(task), 6
    masks = draw_masks(architecture, seed=11 * 1_000_003 + step, global_batch_size=4, rows=slice(0, 4), device=CPU)
    loss, _, figures = task.loss(task.model, batch, carry, step)
    entropy, activation, temporal = plain_terms(task, batch, carry, masks)
    assert_close(loss, entropy + alpha * activation + beta * temporal)
    assert_close(figures["loss"], entropy.detach())
    assert figures["tokens"] == 20


def test_a_window_of_one_token_has_no_temporal_term(make_task, training):
    task = make_task(replace(training, activation_reg=0.0))
    batch, carry = next(task.batches(0, 0))[0], random_carry(task)
    batch = replace(batch, token_ids=batch.token_ids[:, :2])
    loss, _, figures = task.loss(task.model, batch, carry, 0)
    assert torch.equal(loss.detach(), figures["loss"])


def test_regularizers_change_the_gradient_but_not_the_loss_that_is_reported(make_task, training):
    plain, regularized = make_task(replace(training, activation_reg=0.0)), make_task(training)
    batch = next(plain.batches(0, 0))[0]
    (first, _, logged), (second, _, also_logged) = (
        task.loss(task.model, batch, task.initial_carry()[0], 0) for task in (plain, regularized)
    )
    assert torch.equal(logged["loss"], also_logged["loss"])
    assert second > first


def test_masks_change_from_step_to_step(make_task, training):
    task = make_task(training)
    batch, carry = next(task.batches(0, 0))[0], task.initial_carry()[0]
    found = [float(task.loss(task.model, batch, carry, step)[0].detach()) for step in (0, 1, 2, 0)]
    assert len(set(found)) == 3
    assert found[3] == found[0]


def test_the_carry_is_the_state_after_the_window_cut_off_from_the_graph(make_task, training, architecture):
    task = make_task(training, shape=architecture.without_dropout())
    batch, carry = next(task.batches(0, 0))[0], random_carry(task)
    _, new_carry, _ = task.loss(task.model, batch, carry, 0)
    _, expected = task.model.backbone(batch.token_ids[:, :-1], carry)
    for pair, expected_pair in zip(new_carry, expected, strict=True):
        assert_close(list(pair), list(expected_pair))
        assert not any(value.requires_grad for value in pair)


def test_in_bfloat16_the_loss_is_near_and_the_carry_stays_float32(make_task, training, architecture):
    shape = architecture.without_dropout()
    exact, reduced = make_task(training, shape=shape), make_task(training, shape=shape, precision="bfloat16")
    batch, carry = next(exact.batches(0, 0))[0], random_carry(exact)
    loss, *_ = exact.loss(exact.model, batch, carry, 0)
    near, new_carry, _ = reduced.loss(reduced.model, batch, carry, 0)
    assert near.dtype == torch.float32
    assert_close(near, loss, rtol=0.01, atol=0.01)
    assert near != loss
    assert {value.dtype for pair in new_carry for value in pair} == {torch.float32}
    near.backward()
    assert {parameter.grad.dtype for parameter in reduced.model.parameters()} == {torch.float32}


def test_validation_is_the_plain_loss_over_the_whole_stream_with_its_state_carried(make_task, training):
    task = make_task(training)
    task.model.eval()
    figures = task.validate()
    windows = [torch.from_numpy(window).long() for window in task._valid_windows(0, 0)]
    whole = torch.cat([window[:, :-1] for window in windows] + [windows[-1][:, -1:]], 1)
    outputs, _ = task.model.backbone(whole[:, :-1], task.initial_carry()[0])
    logits = F.linear(outputs, task.model.backbone.embedding.weight[:20], task.model.decoder_bias[:20])
    loss = F.cross_entropy(logits.flatten(0, 1), whole[:, 1:].flatten()).item()
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert figures["accuracy"] == pytest.approx((logits.argmax(2) == whole[:, 1:]).float().mean().item())
    assert task.validate() == figures


def test_without_validation_documents_there_are_no_figures(make_task, training):
    assert make_task(training, with_validation=False).validate() == {}


def test_the_carry_survives_its_way_through_named_tensors(make_task, training):
    task = make_task(training)
    carry = random_carry(task)
    tensors = task.carry_tensors([carry])
    assert set(tensors) == {"0.h", "0.c", "1.h", "1.c"}
    for pair, expected in zip(task.carry_from(tensors)[0], carry, strict=True):
        assert all(torch.equal(value, wanted) for value, wanted in zip(pair, expected, strict=True))


def test_batches_are_the_streams_windows_as_int64(make_task, training):
    task = make_task(training)
    windows = [piece.token_ids for (piece,) in task.batches(0, 0)]
    assert len(windows) == task.steps_per_epoch
    assert {window.dtype for window in windows} == {torch.int64}
    assert all(
        torch.equal(*pair)
        for pair in zip((piece.token_ids for (piece,) in task.batches(0, 3)), windows[3:], strict=True)
    )


def test_the_defaults_of_ar_and_tar_are_those_of_the_paper():
    defaults = LanguageModelTraining()
    assert (defaults.activation_reg, defaults.temporal_activation_reg) == (2.0, 1.0)
