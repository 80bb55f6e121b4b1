"""The classification task on documents whose class is a word somewhere in them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.classifier import AS_TRAINED, Classifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.model.files import load_tensors, save_tensors
from ulmfit_ray.training.config import ClassifierTraining
from ulmfit_ray.training.loop import Report, train
from ulmfit_ray.training.state import MODEL, part
from ulmfit_ray.training.tasks.classifier import ClassifierTask

SIZE, STEPS, WORDS = 6, 5, 30
SHAPE = Architecture(vocab_size=WORDS, embedding_dim=8, hidden_size=12, num_layers=2)
DROPPING = replace(
    SHAPE, embedding_dropout=0.05, input_dropout=0.1, hidden_dropout=0.1, output_dropout=0.0, weight_dropout=0.2
)
MakeTask = Callable[..., ClassifierTask]


def batch(random: np.random.Generator, objective: str, numbers: np.ndarray) -> SimpleNamespace:
    """Return documents longest first; the words 2, 3 and 4 say which classes they are of."""
    lengths = np.sort(random.integers(1, 30, len(numbers)))[::-1]
    classes = random.integers(0, 3, len(numbers))
    documents = [random.integers(5, WORDS, length) for length in lengths]
    for document, label in zip(documents, classes, strict=True):
        document[random.integers(len(document))] = 2 + label
    targets = {
        "single-label": classes,
        "multi-label": np.stack([classes != 0, classes == 1, classes > 0], 1).astype(np.float32),
        "regression": 100 + 20 * classes.astype(np.float32),
    }[objective]
    return SimpleNamespace(
        documents=documents,
        rows=slice(0, len(numbers)),
        size=len(numbers),
        targets=targets,
        num_tokens=int(lengths.sum()),
        numbers=numbers,
    )


@pytest.fixture
def make_task() -> MakeTask:
    def make(
        training: ClassifierTraining, *, objective: str = "single-label", seed: int = 0, **more: Any
    ) -> ClassifierTask:
        def batches(epoch: int, first: int) -> Iterator[SimpleNamespace]:
            for step in range(first, STEPS):
                yield batch(np.random.default_rng([epoch, step]), objective, np.arange(SIZE - step % 2))

        def valid() -> Iterator[SimpleNamespace]:
            yield batch(np.random.default_rng([99, 0]), objective, np.array([3, 1, 4]))
            yield batch(np.random.default_rng([99, 1]), objective, np.array([0, 2]))

        def judge(outputs: np.ndarray, targets: np.ndarray) -> tuple[dict[str, float], np.ndarray | None]:
            thresholds = np.array([0.1, 0.2, 0.3]) if objective == "multi-label" else None
            return {"loss": float(np.abs(outputs).mean()), "sum": float(targets.sum())}, thresholds

        torch.manual_seed(seed)
        labels = () if objective == "regression" else ("a", "b", "c")
        head = ClassifierHead(objective=objective, labels=labels, hidden_sizes=(7,))
        model = Classifier(AWDLSTM(DROPPING), head)
        model.target_mean.fill_(120.0)
        model.target_std.fill_(15.0)
        options = {"head_dropouts": (0.2, 0.1), "class_weights": None, "seed": 5, "precision": "float32"} | more
        return ClassifierTask(
            model,
            training,
            batches=batches,
            steps_per_epoch=STEPS,
            valid_batches=valid,
            judge=judge,
            device=torch.device("cpu"),
            **options,
        )

    return make


@pytest.fixture
def training() -> ClassifierTraining:
    """Four stages of an epoch each, a report and a state at every step."""
    return ClassifierTraining(
        num_epochs=4, global_batch_size=SIZE, bptt=8, report_every_steps=1, checkpoint_every_steps=1
    )


def run(task: ClassifierTask, training: ClassifierTraining, start: dict | None = None) -> list[Report]:
    return [
        replace(report, state=report.state and {name: value.clone() for name, value in report.state.items()})
        for report in train(task, training, start=start)
    ]


def first_batch(task: ClassifierTask) -> SimpleNamespace:
    return next(task.batches(0, 0))[0]


def outputs_of(task: ClassifierTask, one: SimpleNamespace) -> torch.Tensor:
    """Return the outputs without dropout, document by document, the batch norm over the whole batch."""
    task.model.eval()
    pooled = [
        task.model.vectors(torch.from_numpy(document)[None], torch.tensor([len(document)]), AS_TRAINED)
        for document in one.documents
    ]
    task.model.train()
    return task.model.head(torch.cat(pooled))


PLAIN = {"activation_reg": 0.0, "temporal_activation_reg": 0.0}


@pytest.fixture
def plain_task(make_task: MakeTask, training: ClassifierTraining) -> MakeTask:
    """Build a task without any dropout and regularization."""

    def make(
        objective: str = "single-label", class_weights: np.ndarray | None = None, **options: Any
    ) -> ClassifierTask:
        config = replace(training, **PLAIN | options)
        task = make_task(config, objective=objective, class_weights=class_weights, head_dropouts=(0.0, 0.0))
        task.model.backbone.architecture = SHAPE.without_dropout()
        return task

    return make


def test_the_loss_of_one_label_is_cross_entropy_with_weights_and_smoothing(plain_task):
    weights = np.array([1.0, 2.0, 0.5])
    for given, smoothing in ((None, 0.0), (weights, 0.1)):
        task = plain_task(class_weights=given, label_smoothing=smoothing)
        one = first_batch(task)
        expected = F.cross_entropy(
            outputs_of(task, one),
            torch.from_numpy(one.targets),
            None if given is None else torch.from_numpy(given).float(),
            label_smoothing=smoothing,
        )
        loss, _, figures = task.loss(task.model, one, None, 0)
        assert_close(loss, expected)
        assert figures["documents"] == SIZE


def test_the_loss_of_several_labels_and_of_numbers(plain_task):
    task = plain_task("multi-label")
    one = first_batch(task)
    expected = F.binary_cross_entropy_with_logits(outputs_of(task, one), torch.from_numpy(one.targets))
    assert_close(task.loss(task.model, one, None, 0)[0], expected)
    # A weight is that of the documents which have the label, and those without it weigh 1.
    weights = torch.arange(1.0, 1.0 + one.targets.shape[1])
    task = plain_task("multi-label", class_weights=weights.numpy())
    outputs, targets = outputs_of(task, one), torch.from_numpy(one.targets)
    terms = weights * targets * F.softplus(-outputs) + (1 - targets) * F.softplus(outputs)
    assert_close(task.loss(task.model, one, None, 0)[0], terms.mean())
    task = plain_task("regression")
    one = first_batch(task)
    wanted = (torch.from_numpy(one.targets) - 120) / 15
    assert_close(task.loss(task.model, one, None, 0)[0], ((outputs_of(task, one)[:, 0] - wanted) ** 2).mean())


def test_regularization_is_over_real_tokens_and_is_not_reported(plain_task):
    task = plain_task(activation_reg=2.0, temporal_activation_reg=1.0)
    one = first_batch(task)
    squares = changes = 0.0
    for document in one.documents:
        backbone = task.model.backbone
        outputs = backbone(torch.from_numpy(document)[None], backbone.initial_hidden(1))[0].detach()
        squares += float(outputs.square().mean(2).sum())
        changes += float((outputs[:, 1:] - outputs[:, :-1]).square().mean(2).sum())
    loss, _, figures = task.loss(task.model, one, None, 0)
    tokens = sum(map(len, one.documents))
    assert float(loss.detach()) - float(figures["loss"]) == pytest.approx((2 * squares + changes) / tokens, rel=1e-5)


@pytest.mark.parametrize("objective", ["single-label", "multi-label", "regression"])
def test_a_classifier_learns(make_task: MakeTask, training: ClassifierTraining, objective: str):
    config = replace(
        *(training,), num_epochs=60, unfreeze=(0,), stage_rates=(), learning_rate=1e-2, discriminative_decay=1.0
    )
    task = make_task(config, objective=objective, head_dropouts=(0.0, 0.0))
    losses = [report.metrics["loss"] for report in run(task, config) if not report.is_epoch_end]
    assert np.mean(losses[-25:]) < 0.7 * np.mean(losses[:25])


def test_validation_judges_every_document_in_its_own_order_and_sets_thresholds(make_task: MakeTask, training):
    seen = []
    task = make_task(training, objective="multi-label")
    judge = task._judge
    task._judge = lambda outputs, targets: seen.append((outputs, targets)) or judge(outputs, targets)
    task.model.eval()
    figures = task.validate()
    (outputs, targets) = seen[0]
    assert outputs.shape == targets.shape == (5, 3)
    assert figures["sum"] == targets.sum()
    parts = [batch(np.random.default_rng([99, n]), "multi-label", np.arange(size)) for n, size in enumerate((3, 2))]
    expected = np.concatenate([one.targets for one in parts])[np.argsort([3, 1, 4, 0, 2])]
    assert np.array_equal(targets, expected)
    document = parts[0].documents[0]  # Number 3.
    alone = task.model.head(
        task.model.vectors(torch.from_numpy(document)[None], torch.tensor([len(document)]), AS_TRAINED)
    )
    assert_close(torch.from_numpy(outputs[3]).float(), alone[0].detach())
    assert task.model.thresholds.tolist() == [0.1, 0.2, 0.3]


def test_each_stage_changes_exactly_its_groups(make_task: MakeTask, training: ClassifierTraining):
    task = make_task(training)
    names = {id(parameter): name for name, parameter in task.model.named_parameters()}
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    changed = []
    for report in run(task, training):
        if report.is_epoch_end:
            after = part(report.state, MODEL)
            changed.append(
                [
                    group
                    for group, parameters in task.layer_groups()
                    if any(not torch.equal(after[names[id(one)]], before[names[id(one)]]) for one in parameters)
                ]
            )
            before = after
    every = ["embedding", "layer 1", "layer 2", "head"]
    assert changed == [every[3:], every[2:], every[1:], every]


@pytest.mark.parametrize("stop", [3, 5, 9, 10, 15, 19])
def test_stopped_in_any_stage_or_at_its_border_it_goes_on_to_the_same_bits(
    make_task, training, tmp_path: Path, stop: int
):
    whole = run(make_task(training), training)
    state = next(report.state for report in whole if report.step == stop and report.state)
    save_tensors(state, tmp_path / "state.safetensors")
    rest = run(make_task(training, seed=9), training, load_tensors(tmp_path / "state.safetensors"))
    found, expected = rest[-1].state, whole[-1].state
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


def test_an_optimizer_begins_each_stage_with_an_empty_state(make_task: MakeTask, training: ClassifierTraining):
    # Adam counts its steps: five in each stage, although the head is trained in all of them.
    steps = {
        report.step: float(report.state["optimizer.head.blocks.0.linear.weight.step"])
        for report in run(make_task(training), training)
        if report.state and not report.is_epoch_end
    }
    assert [steps[step] for step in (1, 4, 6, 9, 11, 16)] == [1, 4, 1, 4, 1, 1]
