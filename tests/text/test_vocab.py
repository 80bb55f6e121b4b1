"""Which tokens a vocabulary keeps, in which order, and what it says about them."""

import json
import math
import random

import numpy as np
import pyarrow as pa
import pytest

from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.vocab import Vocab, build_vocab, most_frequent


def types(*rows: tuple[str, int, int]) -> pa.Table:
    token, count, documents = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "token": pa.array(token, pa.string()),
            "count": pa.array(count, pa.int64()),
            "documents": pa.array(documents, pa.int64()),
        }
    )


def vocab_of(parts: list[pa.Table], max_vocab: int = 100, min_freq: int = 1) -> Vocab:
    return build_vocab(parts, max_vocab=max_vocab, min_freq=min_freq, num_documents=10, num_tokens=1000)


def vocab_of_size(size: int) -> Vocab:
    zeros = np.zeros(size, np.int64)
    return Vocab([str(number) for number in range(size)], zeros, zeros, 1, size)


def words(vocab: Vocab) -> list[str]:
    return vocab.itos[len(SPECIAL_TOKENS) :]


def random_types(seed: int, size: int = 300) -> list[tuple[str, int, int]]:
    draw = random.Random(seed)
    return [(f"w{number}", draw.randint(1, 12), draw.randint(1, 5)) for number in range(size)] + [
        ("xxbos", 50, 50),
        ("xxmaj", 7, 3),
        ("xxunk", 2, 1),
    ]


def test_special_tokens_come_first_then_words_by_falling_count() -> None:
    vocab = vocab_of([types(("rare", 1, 1), ("xxmaj", 5, 2), ("often", 9, 3), ("xxbos", 10, 10), ("some", 4, 4))])
    assert vocab.itos == [*SPECIAL_TOKENS, "often", "some", "rare"]


def test_equal_counts_go_by_code_point() -> None:
    tied = ["b", "a", "B", "\u00e4", "\U0001f600", "\uffee", "aa", "~"]
    assert words(vocab_of([types(*((token, 3, 1) for token in tied))])) == sorted(tied)


def test_min_freq_keeps_words_that_occur_exactly_so_often() -> None:
    table = types(("two", 2, 1), ("three", 3, 1), ("four", 4, 1), ("xxup", 1, 1))
    assert words(vocab_of([table], min_freq=3)) == ["four", "three"]


def test_special_tokens_stay_whatever_their_count() -> None:
    assert vocab_of([types(("a", 5, 1))], min_freq=3).itos == [*SPECIAL_TOKENS, "a"]
    assert vocab_of([types(("xxrep", 1, 1), ("a", 5, 1))], min_freq=3).counts.tolist()[5] == 1


def test_max_vocab_counts_the_special_tokens_in() -> None:
    table = types(("a", 9, 1), ("b", 8, 1), ("c", 7, 1), ("xxbos", 20, 10))
    assert vocab_of([table], max_vocab=11).itos == [*SPECIAL_TOKENS, "a", "b"]


def test_counts_go_with_their_tokens_and_xxunk_and_xxpad_have_none() -> None:
    vocab = vocab_of([types(("a", 9, 4), ("xxbos", 10, 10), ("xxunk", 3, 2), ("xxpad", 1, 1))])
    entries = dict(zip(vocab.itos, zip(vocab.counts.tolist(), vocab.documents.tolist(), strict=True), strict=True))
    assert entries["a"] == (9, 4)
    assert entries["xxbos"] == (10, 10)
    assert entries["xxunk"] == entries["xxpad"] == entries["xxeos"] == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_cutting_partitions_before_they_meet_gives_the_same_as_cutting_the_whole(seed: int) -> None:
    rows = random_types(seed)
    whole = vocab_of([types(*rows)], max_vocab=60, min_freq=3)
    random.Random(seed).shuffle(rows)
    parts = [types(*rows[start::7]) for start in range(7)]
    cut = [most_frequent(part, max_vocab=60, min_freq=3) for part in parts]
    merged = vocab_of(cut, max_vocab=60, min_freq=3)
    assert merged.itos == whole.itos
    assert merged.counts.tolist() == whole.counts.tolist()
    assert merged.documents.tolist() == whole.documents.tolist()
    assert len(merged) == 60


def test_most_frequent_gives_no_more_words_than_asked_for() -> None:
    cut = most_frequent(types(*random_types(0)), max_vocab=10, min_freq=1)
    assert sum(token not in SPECIAL_TOKENS for token in cut["token"].to_pylist()) == 10


def test_an_empty_corpus_has_the_special_tokens_alone() -> None:
    assert vocab_of([types()]).itos == list(SPECIAL_TOKENS)


@pytest.mark.parametrize(
    ("size", "expected"), [(10, pa.uint16()), (65_536, pa.uint16()), (65_537, pa.uint32()), (70_000, pa.uint32())]
)
def test_ids_fit_uint16_up_to_65536_entries(size: int, expected: pa.DataType) -> None:
    vocab = vocab_of_size(size)
    assert vocab.token_id_type() == expected
    assert pa.array([size - 1]).cast(vocab.token_id_type()).to_pylist() == [size - 1]


def test_unknown_tokens_become_xxunk() -> None:
    vocab = vocab_of([types(("a", 2, 1), ("b", 1, 1))])
    assert vocab.numericalize(["xxbos", "b", "c", "a"]).tolist() == [2, 10, 0, 9]
    assert vocab.ids_of(pa.array(["xxbos", "b", "c", "a"])).tolist() == [2, 10, 0, 9]
    assert vocab.numericalize([]).shape == (0,)
    assert vocab.ids_of(pa.array([], pa.string())).dtype == np.uint32


def test_idf_is_the_log_of_documents_over_those_with_the_word_and_never_nothing() -> None:
    vocab = vocab_of([types(("rare", 5, 1), ("half", 4, 5), ("all", 3, 10), ("xxbos", 10, 10))])
    weights = dict(zip(vocab.itos, vocab.idf().tolist(), strict=True))
    assert weights["rare"] == pytest.approx(math.log(10 / 2))
    assert weights["half"] == pytest.approx(math.log(10 / 6))
    assert weights["all"] == weights["xxbos"] == pytest.approx(0.02)
    assert weights["xxpad"] == pytest.approx(math.log(10))
    assert weights["xxunk"] == 3.0
    assert vocab.idf().dtype == np.float32


def test_json_round_trip_keeps_everything() -> None:
    vocab = vocab_of([types(("\u4f60", 3, 2), ("\n\u2581", 2, 1))])
    again = Vocab.from_json(json.loads(json.dumps(vocab.to_json())))
    assert again.to_json() == vocab.to_json()
    assert again.fingerprint == vocab.fingerprint
    assert again.counts.dtype == again.documents.dtype == np.int64
    assert (again.num_documents, again.num_tokens) == (10, 1000)


def test_fingerprint_is_of_the_tokens_in_order_and_of_nothing_else() -> None:
    first = vocab_of([types(("a", 3, 2), ("b", 2, 1))])
    other_counts = vocab_of([types(("a", 30, 9), ("b", 20, 8))])
    other_order = vocab_of([types(("b", 3, 2), ("a", 2, 1))])
    assert first.fingerprint == other_counts.fingerprint
    assert first.fingerprint != other_order.fingerprint
    assert first.fingerprint != vocab_of([types(("a", 3, 2))]).fingerprint
