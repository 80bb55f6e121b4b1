import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ulmfit_ray.document_encoder import BLOCK, MANY, DocumentEncoder
from ulmfit_ray.encoding.encoder import TokenEncoder
from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.files import save_tensors
from ulmfit_ray.model.kinds import describe
from ulmfit_ray.model.retriever import Retriever
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import JobRecord
from ulmfit_ray.storage.manifest import IncompleteDatasetError, Manifest
from ulmfit_ray.storage.model_directory import write_model_directory
from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings, make_tokenizer
from ulmfit_ray.text.tokenizers.subwords import train
from ulmfit_ray.text.types import document_tokens
from ulmfit_ray.text.vocab import BOS_ID, Vocab

WORDS = ["the", "a", "cat", "dog", "sat", "mat", "on", "."]
ITOS = [*SPECIAL_TOKENS, *WORDS]
TEXTS = ["The cat sat on the mat.", "", "a dog", "A ZEBRA sat on the dog!!!"]
SPACY = TokenizerSettings()
SHAPE = Architecture(vocab_size=len(ITOS), embedding_dim=6, hidden_size=10, num_layers=2)


@pytest.fixture(scope="module")
def vocab() -> Vocab:
    documents = np.random.default_rng(0).integers(1, 50, len(ITOS))
    return Vocab(ITOS, 2 * documents, documents, num_documents=60, num_tokens=5000)


@cache
def tokenizer_json(settings: TokenizerSettings, model: bytes | None = None) -> dict[str, Any]:
    return make_tokenizer(settings, model).to_json()


def write_model(
    path: Path,
    vocab: Vocab,
    kind: str = "lm",
    direction: str = "forward",
    settings: TokenizerSettings = SPACY,
    tokenizer_model: bytes | None = None,
    num_grams: int = 0,
) -> str:
    torch.manual_seed(0)
    model: LanguageModel | Retriever = LanguageModel(SHAPE)
    if kind == "retriever":
        backbone = AWDLSTM(SHAPE)
        model = Retriever(
            ("context", "words"), vocab_size=len(vocab), word_dim=4, backbone=backbone, num_grams=num_grams
        )
    tokenizer = tokenizer_json(settings, tokenizer_model)
    job = "pretrain" if kind == "lm" else "train-retriever"
    save_tensors(model.state_dict(), path / "weights")
    write_model_directory(
        Folder(str(path / "model")),
        job=JobRecord(job, "none", {}, {}),
        model=describe(model, direction=direction, pooling="mean" if kind == "lm" else "idf-mean", precision="float32"),
        weights=path / "weights",
        vocab=vocab.to_json(),
        tokenizer=tokenizer,
        tokenizer_model=tokenizer_model,
        log=[],
        card="",
        manifest=Manifest(job=job, vocab=vocab.fingerprint, tokenizer=tokenizer["fingerprint"], files={}),
    )
    return str(path / "model")


def ids_by_hand() -> list[np.ndarray]:
    """Return the ids of TEXTS: xxbos, xxmaj and xxup where a capital was, xxunk for the zebra and the marks."""
    tokens = [
        "xxbos xxmaj the cat sat on the mat .",
        "xxbos",
        "xxbos a dog",
        "xxbos a xxup xxunk sat on the dog xxrep 3 !",
    ]
    stoi = {token: number for number, token in enumerate(ITOS)}
    return [np.array([stoi.get(token, 0) for token in line.split()]) for line in tokens]


def model_by_hand(uri: str, vocab: Vocab) -> TokenEncoder:
    """Return an encoder with the directory's weights, built without DocumentEncoder."""
    from safetensors.torch import load_file

    model = LanguageModel(SHAPE)
    model.load_state_dict(load_file(f"{uri}/model.safetensors"))
    return TokenEncoder(model, Reading(pooling="mean"), idf=vocab.idf())


def test_texts_become_the_ids_of_the_models_own_tokenizer_and_vocabulary(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab), device="cpu")
    found = encoder.numericalize(TEXTS)
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in ids_by_hand()]
    assert found[1].tolist() == [BOS_ID]


def test_vectors_of_texts_are_those_of_their_ids(tmp_path: Path, vocab: Vocab):
    uri = write_model(tmp_path, vocab)
    vectors = DocumentEncoder.load(uri, device="cpu").encode(TEXTS)
    assert vectors.shape == (4, 6)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, model_by_hand(uri, vocab).encode(ids_by_hand()))


def test_a_backward_model_reads_each_document_from_its_end(tmp_path: Path, vocab: Vocab):
    uri = write_model(tmp_path, vocab, direction="backward")
    encoder = DocumentEncoder.load(uri, device="cpu")
    reversed_ids = [ids[::-1].copy() for ids in ids_by_hand()]
    assert [ids.tolist() for ids in encoder.numericalize(TEXTS)] == [ids.tolist() for ids in reversed_ids]
    vectors = encoder.encode(TEXTS)
    assert np.array_equal(vectors, model_by_hand(uri, vocab).encode(reversed_ids))
    assert not np.allclose(vectors[0], model_by_hand(uri, vocab).encode(ids_by_hand())[0])


@pytest.mark.parametrize(("kind", "width", "concat_width"), [("lm", 6, 18), ("retriever", 10, 22)])
def test_a_pooling_that_is_asked_for_replaces_the_models_own(
    tmp_path: Path, vocab: Vocab, kind: str, width: int, concat_width: int
):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab, kind), device="cpu")
    own = {"lm": "mean", "retriever": "idf-mean"}[kind]
    assert encoder.encode(TEXTS).shape == (4, width)
    assert encoder.encode(TEXTS, pooling="concat").shape == (4, concat_width)
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS, pooling=own))
    assert not np.allclose(encoder.encode(TEXTS), encoder.encode(TEXTS, pooling="max"))


def test_idf_mean_weighs_words_by_the_models_vocabulary(tmp_path: Path, vocab: Vocab):
    uri = write_model(tmp_path, vocab)
    encoder = DocumentEncoder.load(uri, device="cpu")
    ids = ids_by_hand()[0]
    model = model_by_hand(uri, vocab).model
    with torch.no_grad():
        outputs = model.backbone(torch.from_numpy(ids)[None], model.backbone.initial_hidden(1))[0][0].numpy()
    weights = np.maximum(np.log(60 / (1 + vocab.documents[ids])), 0.02)
    expected = (outputs * weights[:, None]).sum(0) / weights.sum()
    assert encoder.encode(TEXTS[:1], pooling="idf-mean")[0] == pytest.approx(expected, abs=1e-6)


def test_fields_are_tokenized_each_by_itself_and_marked_if_the_tokenizer_marks_them(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(
        write_model(tmp_path, vocab, settings=TokenizerSettings(mark_fields=True)), device="cpu"
    )
    (ids,) = encoder.numericalize([["The cat", "a dog"]])
    assert " ".join(ITOS[number] for number in ids) == "xxbos xxfld xxunk xxmaj the cat xxfld xxunk a dog"


def test_a_tokenizer_that_ends_lines_sets_no_xxbos_and_gives_an_empty_text_a_vector(tmp_path: Path, vocab: Vocab):
    settings = TokenizerSettings(kind="whitespace", rules=NONE, eos="line")
    uri = write_model(tmp_path, vocab, settings=settings)
    encoder = DocumentEncoder.load(uri, device="cpu")
    found = encoder.numericalize(["the cat\nsat", ""])
    assert [[ITOS[number] for number in ids] for ids in found] == [["the", "cat", "xxeos", "sat", "xxeos"], ["xxeos"]]
    assert np.array_equal(encoder.encode(["the cat\nsat", ""]), model_by_hand(uri, vocab).encode(found))


def test_a_tokenizer_with_a_model_of_its_own_finds_it_in_the_models_directory(tmp_path: Path, vocab: Vocab):
    settings = TokenizerSettings(kind="sentencepiece")
    pieces = train(20 * TEXTS, settings, model_type="unigram", vocab_size=40)
    uri = write_model(tmp_path, vocab, settings=settings, tokenizer_model=pieces)
    tokens = document_tokens(make_tokenizer(settings, pieces), [TEXTS[3]])
    (ids,) = DocumentEncoder.load(uri, device="cpu").numericalize([TEXTS[3]])
    assert {"xxbos", "xxup", "t"} <= set(tokens)
    assert ids.tolist() == vocab.numericalize(tokens).tolist()
    Path(uri, "tokenizer.model").unlink()
    with pytest.raises(ValueError, match=r"needs its tokenizer\.model"):
        DocumentEncoder.load(uri, device="cpu").numericalize(TEXTS)


def test_one_text_has_one_vector(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab), device="cpu")
    vector = encoder.encode(TEXTS[0])
    assert vector.shape == (6,)
    assert np.array_equal(vector, encoder.encode(TEXTS)[0])
    assert np.array_equal(encoder.encode(TEXTS[0], pooling="max"), encoder.encode(TEXTS[:1], pooling="max")[0])


def test_ids_of_one_text_without_a_list_are_refused(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab), device="cpu")
    with pytest.raises(ValueError, match="put the one text in a list"):
        encoder.numericalize("The cat")


def test_texts_may_come_from_anything_that_yields_them(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab), device="cpu")
    expected = encoder.encode(TEXTS)
    for texts in (tuple(TEXTS), iter(TEXTS), (text for text in TEXTS), dict.fromkeys(TEXTS), np.array(TEXTS)):
        assert np.array_equal(encoder.encode(texts), expected)
    assert encoder.encode(iter([])).shape == encoder.encode([]).shape == (0, 6)


def test_many_texts_are_held_a_block_at_a_time_and_get_the_same_vectors(
    tmp_path: Path, vocab: Vocab, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ulmfit_ray.document_encoder.BLOCK", 3)
    monkeypatch.setattr("ulmfit_ray.document_encoder.MANY", 5)
    uri = write_model(tmp_path, vocab)
    encoder = DocumentEncoder.load(uri, device="cpu")
    sizes: list[int] = []
    numericalize = encoder.numericalize

    def counting(texts: list[str]) -> list[np.ndarray]:
        sizes.append(len(texts))
        return numericalize(texts)

    monkeypatch.setattr(encoder, "numericalize", counting)
    vectors = encoder.encode(iter(TEXTS * 2))
    assert sizes == [3, 3, 2]
    assert np.array_equal(vectors, model_by_hand(uri, vocab).encode(ids_by_hand() * 2))


@pytest.mark.parametrize(
    ("num_texts", "is_terminal", "is_shown"), [(MANY, True, False), (MANY + 1, True, True), (MANY + 1, False, False)]
)
def test_a_bar_is_shown_on_standard_error_for_many_texts_on_a_terminal(
    tmp_path: Path,
    vocab: Vocab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    num_texts: int,
    is_terminal: bool,
    is_shown: bool,
):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab), device="cpu")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert encoder.encode(["a dog"] * num_texts).shape == (num_texts, 6)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("encode" in captured.err, "100%" in captured.err) == (is_shown, is_shown)
    assert BLOCK < MANY


def test_a_directory_that_is_not_finished_is_refused(tmp_path: Path, vocab: Vocab):
    uri = write_model(tmp_path, vocab)
    (Path(uri) / "manifest.json").unlink()
    with pytest.raises(IncompleteDatasetError, match="has not finished"):
        DocumentEncoder.load(uri, device="cpu")
    with pytest.raises(FileNotFoundError, match="not an output of ulmfit-ray"):
        DocumentEncoder.load(str(tmp_path / "nothing"), device="cpu")


def test_an_unknown_word_of_a_query_has_a_vector_by_its_spelling(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab, "retriever", num_grams=500), device="cpu")
    queries = ["a zebra sat", "a zebras sat", "a quokka sat", "the cat", "a ... sat"]
    vectors, as_documents = encoder.encode_queries(queries), encoder.encode(queries)
    assert vectors.shape == as_documents.shape == (5, 10)
    is_same = [np.array_equal(*pair) for pair in zip(vectors, as_documents, strict=True)]
    assert is_same == [False, False, False, True, True]
    zebra, zebras, quokka = vectors[:3, 6:]
    assert zebra @ zebras > zebra @ quokka
    assert np.array_equal(as_documents[0], as_documents[2])


def test_a_query_has_the_same_vector_whatever_stands_beside_it(tmp_path: Path, vocab: Vocab):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab, "retriever", num_grams=500), device="cpu")
    queries = ["a zebra sat", "okapi", "the cat", "a mat on the quokka"]
    together = encoder.encode_queries(queries)
    for query, vector in zip(queries, together, strict=True):
        assert np.array_equal(encoder.encode_queries([query])[0], vector)


@pytest.mark.parametrize(("kind", "num_grams"), [("lm", 0), ("retriever", 0)])
def test_without_letters_an_unknown_word_of_a_query_is_unknown(tmp_path: Path, vocab: Vocab, kind: str, num_grams: int):
    encoder = DocumentEncoder.load(write_model(tmp_path, vocab, kind, num_grams=num_grams), device="cpu")
    assert np.array_equal(encoder.encode_queries(TEXTS), encoder.encode(TEXTS))
