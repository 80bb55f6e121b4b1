"""The labelled documents of a selection, against the columns they come from."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.storage.token_dataset import TokenDataset, write_arrow
from ulmfit_ray.streams.examples import Examples
from ulmfit_ray.streams.labels import LabelColumn
from ulmfit_ray.streams.selection import everything, select

Document = tuple[str, Sequence[int], Any]
MakeLabelled = Callable[..., TokenDataset]
LABELS = ("few", "many", "some")


@pytest.fixture
def make_labelled(make_token_dataset: Callable[..., TokenDataset]) -> MakeLabelled:
    """Return a function that writes shards of (document id, token ids behind xxbos, value of the column `label`)."""

    def make(
        shards: Sequence[Sequence[Document]], kind: pa.DataType | None = None, name: str = "tokens"
    ) -> TokenDataset:
        fields = [[(doc_id, [tokens]) for doc_id, tokens, _ in documents] for documents in shards]
        kept = [pa.array([value for _, _, value in documents], kind or pa.string()) for documents in shards]
        return make_token_dataset(fields, name=name, kept=kept)

    return make


def rewrite(dataset: TokenDataset, shard: str, table: pa.Table) -> None:
    path = Path(dataset.folder.uri, "shards", f"{shard}.arrow")
    path.unlink()
    write_arrow(table, path)


def documents(count: int = 300, seed: int = 0) -> list[Document]:
    """Documents of other tokens each; about 5, 30 and 65 % of them have a label, one in ten has none."""
    random = np.random.default_rng(seed)
    labels = random.choice(["few", "some", "many"], count, p=[0.05, 0.3, 0.65])
    return [
        (f"document {number}", range(10 + 20 * number, 10 + 20 * number + length), None if number % 10 == 3 else label)
        for number, (label, length) in enumerate(zip(labels.tolist(), random.integers(0, 20, count), strict=True))
    ]


def cut(rows: Sequence[Document], *bounds: int) -> list[Sequence[Document]]:
    return [rows[start:stop] for start, stop in pairwise([0, *bounds, len(rows)])]


def examples_of(dataset: TokenDataset, labels: Sequence[str] = LABELS, **options: Any) -> Examples:
    return Examples(dataset, LabelColumn(dataset, "label"), labels, everything(dataset), **options)


def ids_of(examples: Examples) -> list[str]:
    return [doc_id for shard in examples.doc_ids() for doc_id in shard.to_pylist()]


@pytest.mark.parametrize("held_out", [False, True])
def test_examples_are_the_labelled_documents_of_the_selection_in_order(
    make_labelled: MakeLabelled, held_out: bool
) -> None:
    rows = documents()
    dataset = make_labelled(cut(rows, 0, 120, 120, 121))
    selection = select(dataset, fraction=0.4, seed=1, held_out=held_out)
    taken = np.concatenate([selection.takes(table) for table in dataset.tables()])
    selected = [row for row, is_taken in zip(rows, taken, strict=True) if is_taken]
    expected = [row for row in selected if row[2] is not None]
    examples = Examples(dataset, LabelColumn(dataset, "label"), LABELS, selection)
    assert 50 < len(examples) == len(expected)
    assert [examples.tokens(number).tolist() for number in range(len(examples))] == [[2, *row[1]] for row in expected]
    assert examples.lengths.tolist() == [1 + len(row[1]) for row in expected]
    assert examples.targets.dense(3).tolist() == [LABELS.index(row[2]) for row in expected]
    assert ids_of(examples) == [row[0] for row in expected]
    assert examples.num_unlabelled == len(selected) - len(expected) > 0


def test_tokens_are_read_in_the_memory_mapped_shard(make_labelled: MakeLabelled) -> None:
    dataset = make_labelled([[("a", range(10, 50_000), "few")], [("b", [7], "few")]])
    before = pa.total_allocated_bytes()
    examples = examples_of(dataset)
    assert pa.total_allocated_bytes() - before < 10_000
    assert len(examples.tokens(0)) == 49_991
    assert not examples.tokens(0).flags.owndata
    assert examples.tokens(0).dtype == np.uint16


def test_a_document_without_tokens_is_named_if_it_has_a_label_and_else_in_nobodys_way(
    make_labelled: MakeLabelled,
) -> None:
    dataset = make_labelled([[("a", [5], "few"), ("b", [6], None), ("c", [7], "some"), ("d", [8], "few")]])

    def examples(*tokens: list[int]) -> Examples:
        table = dataset.read(dataset.shards[0].shard)
        column = pa.array(tokens, pa.list_(pa.uint16()))
        rewrite(dataset, dataset.shards[0].shard, table.set_column(1, "tokens", column))
        return examples_of(dataset)

    found = examples([2, 5], [], [2, 7, 7], [2])
    assert [found.tokens(number).tolist() for number in range(3)] == [[2, 5], [2, 7, 7], [2]]
    assert ids_of(found) == ["a", "c", "d"]
    with pytest.raises(ValueError, match=r"document 'c' of .* has a label, but no tokens"):
        examples([2, 5], [], [], [2])


def test_few_labelled_documents_are_part_of_more_and_each_label_has_as_many_unless_there_are_no_more(
    make_labelled: MakeLabelled,
) -> None:
    dataset = make_labelled(cut(documents(), 100))
    there = Counter(examples_of(dataset).targets.values.tolist())
    before: set[str] = set()
    for at_most in (1, 2, 3, 10, 30, 31, 100, there.total()):
        few = examples_of(dataset, at_most=at_most)
        chosen, counts = set(ids_of(few)), Counter(few.targets.values.tolist())
        assert len(few) == len(chosen) == at_most
        assert before < chosen
        before = chosen
        most = max(counts.values())
        assert all(counts[label] >= min(most - 1, there[label]) for label in there)
    assert counts == there
    assert there[0] < 20
    assert there[1] > 150


@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.string()), pa.float64()])
def test_which_few_are_taken_depends_on_ids_and_seed_and_not_on_the_order_of_shards(
    make_labelled: MakeLabelled, kind: pa.DataType
) -> None:
    values = {pa.string(): str, pa.list_(pa.string()): lambda label: [label], pa.float64(): len}
    make = values[kind]
    rows = [(doc_id, tokens, None if label is None else make(label)) for doc_id, tokens, label in documents()]
    labels = () if kind == pa.float64() else LABELS
    dataset = make_labelled(cut(rows, 90, 200), kind)
    other = make_labelled([rows[200:], [], rows[90:200][::-1], rows[:90]], kind, name="other")
    chosen = {}
    for seed in range(3):
        few, same = (examples_of(each, labels, at_most=40, seed=seed) for each in (dataset, other))
        chosen[seed] = set(ids_of(few))
        assert set(ids_of(same)) == chosen[seed]
        by_id = dict(zip(ids_of(same), range(40), strict=True))
        for number, doc_id in enumerate(ids_of(few)):
            assert few.tokens(number).tolist() == same.tokens(by_id[doc_id]).tolist()
            assert few.targets.dense(3)[number].tolist() == same.targets.dense(3)[by_id[doc_id]].tolist()
    assert len(chosen[0] & chosen[1]) < 30
    assert len(chosen[1] & chosen[2]) < 30


def test_more_labelled_documents_than_there_are_are_refused(make_labelled: MakeLabelled) -> None:
    dataset = make_labelled([[("a", [5], "few"), ("b", [6], None)], [("c", [7], "some")]])
    assert len(examples_of(dataset, at_most=2)) == 2
    with pytest.raises(ValueError, match="only 2 documents have a label: 3 are too many to ask for"):
        examples_of(dataset, at_most=3)


def test_a_selection_without_labels_has_no_examples(make_labelled: MakeLabelled) -> None:
    examples = examples_of(make_labelled([[("a", [5], None)], []]))
    assert len(examples) == 0
    assert examples.num_unlabelled == 1
    assert ids_of(examples) == []
