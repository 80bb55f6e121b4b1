import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM
from ulmfit_ray.model.dropout import draw_masks
from ulmfit_ray.model.retriever import Retriever
from ulmfit_ray.training.config import RetrieverTraining
from ulmfit_ray.training.loop import train
from ulmfit_ray.training.tasks.retriever import RetrieverTask, contrastive_loss

G, NUM_WORDS, CPU = 6, 40, torch.device("cpu")
MakeTask = Callable[..., RetrieverTask]


def some_batch(seed: int = 0) -> SimpleNamespace:
    """Six pairs of texts of mixed lengths; pairs 1 and 4 share their document, 0 and 2 their query."""
    random = np.random.default_rng(seed)

    def texts(longest: int) -> tuple[np.ndarray, np.ndarray]:
        lengths = random.permutation(np.arange(1, G + 1)) + longest - G
        ids = random.integers(2, NUM_WORDS, (G, longest))
        return np.where(np.arange(longest) < lengths[:, None], ids, 0), lengths

    (query_ids, query_lengths), (document_ids, document_lengths) = texts(7), texts(40)
    keys = np.arange(2 * G).reshape(G, 2)
    keys[4, 1], keys[2, 0] = keys[1, 1], keys[0, 0]
    return SimpleNamespace(
        query_ids=query_ids,
        query_lengths=query_lengths,
        document_ids=document_ids,
        document_lengths=document_lengths,
        keys=keys,
    )


@pytest.fixture
def make_retriever_task(architecture: Architecture) -> MakeTask:
    """Build a task whose batches are always the same six pairs."""

    def make(blocks: tuple[str, ...] = ("context", "words"), **options) -> RetrieverTask:
        torch.manual_seed(0)
        encoder = AWDLSTM(architecture) if "context" in blocks else None
        model = Retriever(blocks, vocab_size=NUM_WORDS, word_dim=6, backbone=encoder)
        torch.nn.init.normal_(model.log_weights)
        return RetrieverTask(
            model,
            RetrieverTraining(global_batch_size=G, **options),
            batches=lambda _epoch, first: (some_batch() for _ in range(first, 10)),
            steps_per_epoch=10,
            seed=4,
            precision="float32",
            device=CPU,
        )

    return make


def loss_slowly(queries: Tensor, documents: Tensor, keys: Tensor, temperature: float) -> float:
    """Return the symmetric loss by a loop over pairs, leaving out whatever shares a query or a document."""
    size, total = len(queries), 0.0
    for anchors, others in ((queries, documents), (documents, queries)):
        for i in range(size):
            negatives = [j for j in range(size) if j != i and keys[i, 0] != keys[j, 0] and keys[i, 1] != keys[j, 1]]
            scores = {j: float(anchors[i] @ others[j]) / temperature for j in [i, *negatives]}
            total += math.log(sum(math.exp(score) for score in scores.values())) - scores[i]
    return total / (2 * size)


def test_the_contrastive_loss_equals_a_loop_that_leaves_duplicates_out():
    torch.manual_seed(0)
    queries, documents = (F.normalize(torch.randn(G, 5), dim=1) for _ in range(2))
    keys = torch.from_numpy(some_batch().keys)
    loss, _ = contrastive_loss(queries, documents, keys, 0.2)
    assert loss.item() == pytest.approx(loss_slowly(queries, documents, keys, 0.2), rel=1e-5)
    distinct = torch.arange(2 * G).reshape(G, 2)
    all_negatives, _ = contrastive_loss(queries, documents, distinct, 0.2)
    assert all_negatives.item() == pytest.approx(loss_slowly(queries, documents, distinct, 0.2), rel=1e-5)
    assert all_negatives > loss


def test_a_query_that_equals_another_document_by_number_is_still_a_negative():
    vectors = torch.eye(2)
    crossed = torch.tensor([[1, 2], [2, 1]])
    loss, _ = contrastive_loss(vectors, vectors, crossed, 1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_a_pair_without_negatives_costs_nothing():
    vectors = torch.randn(3, 4)
    loss, accuracy = contrastive_loss(vectors, vectors.flip(0), torch.zeros(3, 2), 0.1)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert accuracy == 1


def test_accuracy_is_the_part_of_queries_whose_own_document_comes_first():
    documents = torch.eye(4)
    queries = documents[[0, 1, 3, 2]]
    _, accuracy = contrastive_loss(queries, documents, torch.arange(8).reshape(4, 2), 0.1)
    assert accuracy == 0.5


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_loss_is_the_sum_over_blocks_of_texts_encoded_one_by_one(
    make_retriever_task: MakeTask, architecture: Architecture, dropout: float
):
    task, batch, step = make_retriever_task(dropout=dropout, temperature=0.2), some_batch(), 3
    loss, carry, figures = task.loss(task.model, batch, None, step)
    towers: list[dict[str, Tensor]] = []
    for number, (ids, lengths) in enumerate(
        ((batch.query_ids, batch.query_lengths), (batch.document_ids, batch.document_lengths))
    ):
        masks = draw_masks(
            architecture.without_dropout(hidden_dropout=dropout),
            seed=4 * 1_000_003 + 2 * step + number,
            global_batch_size=G,
            rows=slice(0, G),
            device=CPU,
        )
        singles = [
            task.model([(torch.from_numpy(ids[i : i + 1, :n]), torch.tensor([n]), masks.rows(slice(i, i + 1)))])[0]
            for i, n in enumerate(lengths.tolist())
        ]
        towers.append({name: torch.cat([single[name] for single in singles]) for name in singles[0]})
    expected = sum(
        loss_slowly(towers[0][name].detach(), towers[1][name].detach(), batch.keys, 0.2)
        for name in ("context", "words", "joint")
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert figures["loss"] == loss.detach()
    assert figures["tokens"] == batch.query_lengths.sum() + batch.document_lengths.sum()
    assert set(figures) == {"loss", "tokens", "accuracy_context", "accuracy_words", "accuracy_joint"}
    assert carry is None


@pytest.mark.parametrize("blocks", [("context", "words"), ("words",), ("context",)])
def test_a_retriever_learns_to_find_each_querys_document(make_retriever_task: MakeTask, blocks: tuple[str, ...]):
    task = make_retriever_task(blocks, num_epochs=4, dropout=0.0, learning_rate=3e-2)
    reports = list(train(task, task._config))
    figures = [report.metrics for report in reports if not report.is_epoch_end]
    name = "joint" if len(blocks) == 2 else blocks[0]
    assert figures[-1]["loss"] < 0.3 * figures[0]["loss"]
    # The last bits of a step differ from processor to processor: one query may still miss its document.
    assert figures[-1][f"accuracy_{name}"] > 0.9


def test_queries_and_documents_of_a_step_have_different_masks(make_retriever_task: MakeTask):
    task = make_retriever_task(dropout=0.5)
    hidden = [task._masks(number).hidden[0] for number in (6, 7, 8)]
    assert not torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[1], hidden[2])
    assert task._masks(6).input is None
    assert task._masks(6).weight == (None, None)


def test_a_retriever_without_encoder_has_no_dropout(make_retriever_task: MakeTask):
    assert make_retriever_task(("words",), dropout=0.5)._masks(0).hidden == ()
    assert_close(
        *(
            make_retriever_task(("words",)).loss(make_retriever_task(("words",)).model, some_batch(), None, step)[0]
            for step in (0, 1)
        )
    )
