from collections.abc import Iterator
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch

from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.encoding.engine import CPU_ROWS as MAX_ROWS
from ulmfit_ray.encoding.engine import CPU_WINDOW as WINDOW
from ulmfit_ray.model.description import Reading

KINDS = pytest.mark.parametrize("kind", ["lm", "retriever"])
POOLINGS = pytest.mark.parametrize("pooling", ["last", "mean", "idf-mean", "max", "concat"])
LONG = 5_000


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    """Documents of 1 to 100 tokens, those at the borders of a window among them; ids from 100 on are unknown."""
    random = np.random.default_rng(1)
    lengths = [1, WINDOW, WINDOW + 1, WINDOW - 1, 2 * WINDOW, 1, *random.integers(2, 101, 29).tolist()]
    return [random.integers(0, 120, length) for length in lengths]


@pytest.fixture(scope="module")
def long_document() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 120, LONG)


def alone(encoder: TokenEncoder, documents: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([encoder.encode([document]) for document in documents])


def in_batches(encoder: TokenEncoder, documents: list[np.ndarray], size: int) -> np.ndarray:
    return np.concatenate([encoder.encode(documents[start : start + size]) for start in range(0, len(documents), size)])


@KINDS
@POOLINGS
def test_a_vector_is_the_same_to_the_last_bit_in_whatever_company(make_encoder, documents, kind: str, pooling: str):
    encoder = make_encoder(kind, pooling)
    expected = alone(encoder, documents)
    assert np.array_equal(in_batches(encoder, documents, 32), expected)
    assert np.array_equal(encoder.encode(documents[::-1]), expected[::-1])
    order = np.random.default_rng(3).permutation(len(documents))
    assert np.array_equal(encoder.encode([documents[number] for number in order]), expected[order])
    assert np.array_equal(encoder.encode(documents[:9] + documents)[9:], expected)
    for max_rows in (1, 7, 1000):
        assert np.array_equal(make_encoder(kind, pooling, max_rows=max_rows).encode(documents), expected)


@KINDS
@POOLINGS
def test_a_vector_is_that_of_the_plain_recurrence(make_encoder, plain_vector, documents, kind: str, pooling: str):
    encoder = make_encoder(kind, pooling)
    expected = np.stack([plain_vector(encoder, document) for document in documents])
    found = encoder.encode(documents)
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (len(documents), encoder.dimension)
    assert np.abs(found - expected).max() < 1e-5
    assert len(np.unique(found.round(3), axis=0)) == len(documents)


@KINDS
@POOLINGS
@pytest.mark.parametrize("last_tokens", [1, 20, WINDOW, 2 * WINDOW + 3, LONG])
def test_only_the_last_tokens_are_pooled_if_asked_and_all_are_read(
    make_encoder, plain_vector, documents, kind: str, pooling: str, last_tokens: int
):
    encoder = make_encoder(kind, pooling, last_tokens=last_tokens)
    found = encoder.encode(documents)
    assert np.abs(found - np.stack([plain_vector(encoder, document) for document in documents])).max() < 1e-5
    assert np.array_equal(found, alone(encoder, documents))
    whole = make_encoder(kind, pooling).encode(documents)
    is_same = [np.array_equal(*pair) for pair in zip(found, whole, strict=True)]
    assert is_same == [len(document) <= last_tokens or pooling == "last" for document in documents]


@POOLINGS
@pytest.mark.parametrize(("layer", "width"), [(1, 28), (2, 28), (3, 20)])
def test_an_earlier_layers_outputs_are_pooled_if_asked(
    make_encoder, plain_vector, documents, pooling: str, layer: int, width: int
):
    encoder = make_encoder("lm", pooling, layer=layer)
    assert encoder.dimension == (3 * width if pooling == "concat" else width)
    expected = np.stack([plain_vector(encoder, document) for document in documents])
    found = encoder.encode(documents)
    assert np.abs(found - expected).max() < 1e-5
    assert np.array_equal(found, alone(encoder, documents))


@KINDS
@POOLINGS
def test_bfloat16_is_near_float32_and_the_same_in_whatever_company(make_encoder, documents, kind: str, pooling: str):
    encoder = make_encoder(kind, pooling, precision="bfloat16")
    found, exact = encoder.encode(documents), make_encoder(kind, pooling).encode(documents)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.02
    assert np.array_equal(found, alone(encoder, documents))
    assert np.array_equal(found, in_batches(encoder, documents, 5))


@pytest.mark.parametrize("pooling", ["mean", "concat"])
def test_the_mean_over_a_hundred_thousand_tokens_is_exact(make_encoder, plain_vector, pooling: str):
    document = np.random.default_rng(6).integers(0, 120, 100_000)
    encoder = make_encoder("lm", pooling)
    assert np.abs(encoder.encode([document])[0] - plain_vector(encoder, document)).max() < 1e-5


def test_documents_with_the_same_tokens_are_encoded_once(make_encoder, documents, monkeypatch):
    encoder = make_encoder("lm", "mean")
    expected, rows = encoder.encode(documents), []
    vectors = encoder.model.vectors
    monkeypatch.setattr(
        encoder.model, "vectors", lambda ids, *rest, **more: rows.append(len(ids)) or vectors(ids, *rest, **more)
    )
    found = encoder.encode([*documents, *(document.copy() for document in documents[::-1])])
    assert np.array_equal(found, np.concatenate([expected, expected[::-1]]))
    assert sum(rows) == len({tuple(document) for document in documents})


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_micro_batches_side_by_side_give_the_same_vectors_and_leave_torch_as_it_was(
    make_encoder, documents, monkeypatch
):
    encoder, many, threads = make_encoder("lm", "concat"), documents * 5, []
    many = [np.append(document, number) for number, document in enumerate(many)]
    expected = alone(encoder, many)
    meet = Barrier(3)
    vectors = encoder.model.vectors

    def together(*arguments: object, **options: object) -> torch.Tensor:
        threads.append(get_ident())
        if len(threads) <= 3:
            meet.wait(30)
        assert torch.get_num_threads() == 1
        return vectors(*arguments, **options)

    monkeypatch.setattr(encoder.model, "vectors", together)
    assert np.array_equal(encoder.encode(many), expected)
    assert len(set(threads)) == 3
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_one_thread_is_raised_and_leaves_torch_as_it_was(make_encoder, documents, monkeypatch):
    encoder = make_encoder("lm", "mean")

    def fail(*arguments: object, **options: object) -> torch.Tensor:
        raise ArithmeticError("no vectors today")

    monkeypatch.setattr(encoder.model, "vectors", fail)
    with pytest.raises(ArithmeticError, match="no vectors today"):
        encoder.encode([np.append(document, number) for number, document in enumerate(documents * 99)])
    assert torch.get_num_threads() == 3


def test_documents_of_the_same_bytes_but_other_types_are_no_twins(make_encoder):
    encoder = make_encoder("lm", "mean")
    pair = [np.array([5], np.int64), np.array([5, 0], np.int32)]
    assert np.array_equal(encoder.encode(pair), alone(encoder, pair))


def test_a_batch_that_does_not_fit_into_memory_is_halved_once_for_all(make_encoder, documents, monkeypatch, capsys):
    # So few that all threads work on one micro-batch.
    documents = documents[:30]
    encoder = make_encoder("lm", "mean", max_rows=16)
    expected, rows = encoder.encode(documents), []
    vectors = encoder.model.vectors

    def with_little_memory(ids: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        rows.append(len(ids))
        if len(ids) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return vectors(ids, *rest, **more)

    monkeypatch.setattr(encoder.model, "vectors", with_little_memory)
    assert np.array_equal(encoder.encode(documents), expected)
    assert encoder.max_rows == 4
    # The second half of the first batch is as large as its first one; after that nothing larger than 4 is tried.
    assert sorted(row for row in rows if row > 4) == [8, 8, 16]
    assert capsys.readouterr().out.splitlines() == [
        "out of memory with 16 documents at once: 8 from now on",
        "out of memory with 8 documents at once: 4 from now on",
    ]
    rows.clear()
    assert np.array_equal(encoder.encode(documents), expected)
    assert max(rows) == 4


def test_a_document_that_does_not_fit_into_memory_alone_is_an_error(make_encoder, documents, monkeypatch):
    encoder = make_encoder("lm", "mean")

    def without_memory(*args: object, **more: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder.model, "vectors", without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(documents)


@KINDS
@POOLINGS
def test_the_window_changes_a_vector_by_rounding_only(make_encoder, documents, kind: str, pooling: str):
    expected = make_encoder(kind, pooling).encode(documents)
    for window in (3, WINDOW + 1, 400):
        found = make_encoder(kind, pooling, window=window).encode(documents)
        assert np.abs(found - expected).max() < 1e-5


@KINDS
@pytest.mark.parametrize("pooling", ["idf-mean", "concat"])
def test_a_long_document_is_encoded_whole_alone_and_in_company(
    make_encoder, plain_vector, documents, long_document, kind: str, pooling: str
):
    encoder = make_encoder(kind, pooling)
    (vector,) = encoder.encode([long_document])
    assert np.abs(vector - plain_vector(encoder, long_document)).max() < 1e-5
    company = encoder.encode([*documents[:20], long_document, *documents[20:]])
    assert np.array_equal(company[20], vector)
    assert np.array_equal(np.delete(company, 20, axis=0), encoder.encode(documents))
    (shorter,) = encoder.encode([long_document[1:]])
    assert not np.array_equal(shorter, vector)


@KINDS
def test_an_empty_document_is_refused_by_its_number(make_encoder, documents, kind: str):
    with pytest.raises(ValueError, match="document 2 has no tokens, not even xxbos"):
        make_encoder(kind, "mean").encode([documents[0], documents[1], documents[0][:0], documents[2]])


@KINDS
def test_no_documents_give_no_vectors(make_encoder, kind: str):
    encoder = make_encoder(kind, "concat")
    assert encoder.encode([]).shape == (0, encoder.dimension)


@POOLINGS
def test_the_dimension_says_how_wide_vectors_are(make_encoder, documents, pooling: str):
    width = 60 if pooling == "concat" else 20
    assert make_encoder("lm", pooling).dimension == width
    assert make_encoder("retriever", pooling).dimension == width + 12
    assert make_encoder("retriever", pooling).encode(documents[:2]).shape == (2, width + 12)


@POOLINGS
def test_a_retrievers_vectors_have_length_one(make_encoder, documents, pooling: str):
    assert np.linalg.norm(make_encoder("retriever", pooling).encode(documents), axis=1) == pytest.approx(1)


def test_words_the_language_model_does_not_know_are_xxunk_to_it(make_encoder):
    encoder = make_encoder("lm", "last")
    strange, unknown = np.array([2, 100, 119, 5]), np.array([2, 0, 0, 5])
    assert np.array_equal(encoder.encode([strange]), encoder.encode([unknown]))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_ids_of_any_integer_type_give_the_same_vector(make_encoder, documents, dtype: type):
    encoder = make_encoder("lm", "mean")
    assert np.array_equal(encoder.encode([documents[7].astype(dtype)]), encoder.encode([documents[7]]))


def test_encoding_changes_neither_the_model_nor_the_documents(make_encoder, documents):
    encoder = make_encoder("lm", "concat")
    weights = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    copies = [document.copy() for document in documents]
    encoder.encode(documents)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.model.state_dict().items())
    assert all(np.array_equal(*pair) for pair in zip(documents, copies, strict=True))
    assert not encoder.model.training


def test_idf_mean_of_a_language_model_needs_the_vocabularys_weights(make_encoder, documents):
    encoder = TokenEncoder(make_encoder("lm", "mean").model, Reading(pooling="idf-mean"))
    with pytest.raises(AssertionError, match="idf-mean needs the vocabulary's weights"):
        encoder.encode(documents[:1])


def test_more_documents_than_a_micro_batch_keep_their_order(make_encoder):
    random = np.random.default_rng(4)
    documents = [random.integers(0, 120, 1 + number % 5) for number in range(2 * MAX_ROWS + 3)]
    encoder = make_encoder("lm", "mean")
    found = encoder.encode(documents)
    for number in (0, 1, MAX_ROWS - 1, MAX_ROWS, len(documents) - 1):
        assert np.array_equal(found[number], encoder.encode([documents[number]])[0])
