"""Pieces of words against fastai's own, and what is asked of a model."""

import gzip
import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from trap_texts import trap_texts

from ulmfit_ray.text.presets import NONE
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.tokenizers.kinds import ModelType, TokenizerSettings, load_tokenizer, make_tokenizer
from ulmfit_ray.text.tokenizers.subwords import SentencePieceTokenizer, _default_size, prepared, train
from ulmfit_ray.text.types import document_tokens

TESTS = Path(__file__).parents[2]
GOLDEN = json.loads((TESTS / "golden/fastai_pieces.json").read_text())
SETTINGS = TokenizerSettings(kind="sentencepiece")


@pytest.fixture(scope="module")
def abstracts() -> list[str]:
    """Return the texts that fastai's models of the golden file were trained on."""
    with gzip.open(TESTS.parent / "jobs/sample/scifact/corpus.jsonl.gz", "rt") as lines:
        return [json.loads(line)["text"][:3_000] for _, line in zip(range(40), lines, strict=False)]


@pytest.fixture(scope="module")
def models(abstracts: list[str]) -> dict[ModelType, bytes]:
    kinds: tuple[ModelType, ModelType] = ("unigram", "bpe")
    return {kind: train(abstracts, SETTINGS, model_type=kind, vocab_size=0) for kind in kinds}


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model_type(request: pytest.FixtureRequest) -> ModelType:
    return request.param


@pytest.fixture(scope="module")
def subwords(models: dict[ModelType, bytes], model_type: ModelType) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(SETTINGS, models[model_type])


def foreign_model(texts: list[str], **options: Any) -> bytes:
    """Return a model that knows no marks."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=300, minloglevel=2, **options
    )
    return model.getvalue()


def at_once(tokenizer: SentencePieceTokenizer, texts: list[str]) -> list[list[str]]:
    found = tokenizer.tokenize(texts)
    assert [found.types[number] for number in dict.fromkeys(found.ids.tolist())] == found.types
    return [[found.types[number] for number in found.ids[start:end]] for start, end in pairwise(found.bounds)]


def test_the_model_has_fastais_pieces_with_fastais_scores(
    models: dict[ModelType, bytes], model_type: ModelType
) -> None:
    model = sentencepiece.SentencePieceProcessor(model_proto=models[model_type])
    found = [[model.id_to_piece(number), model.get_score(number)] for number in range(len(model))]
    assert found == GOLDEN[model_type]["pieces"]


def test_tokens_are_fastais_pieces_but_for_the_names_of_marks(
    subwords: SentencePieceTokenizer, model_type: ModelType
) -> None:
    rows = GOLDEN[model_type]["rows"]
    names = {f"\u2581{token}": token for token in SPECIAL_TOKENS}
    expected = [[names.get(piece, piece) for piece in row["tokens"]] for row in rows]
    assert len(rows) > 120
    assert [document_tokens(subwords, [row["text"]]) for row in rows] == expected
    assert at_once(subwords, [row["text"] for row in rows]) == [tokens[1:] for tokens in expected]


def test_all_texts_at_once_give_the_tokens_of_each(subwords: SentencePieceTokenizer, abstracts: list[str]) -> None:
    texts = [*abstracts, "", " ", "\n", *trap_texts(1000, seed=9)]
    assert at_once(subwords, texts) == [subwords(text) for text in texts]
    assert subwords.tokenize([]).bounds.tolist() == [0]


def test_half_a_surrogate_pair_is_refused(subwords: SentencePieceTokenizer) -> None:
    for tokenize in (subwords, lambda text: subwords.tokenize([text])):
        with pytest.raises(UnicodeEncodeError):
            tokenize("a \ud800 b")


def test_marks_keep_their_names_and_what_is_unknown_stays_as_it_is(subwords: SentencePieceTokenizer) -> None:
    tokens = subwords("NASA \u65e5\u672c\u8a9e \u65e5\u672c")
    assert (tokens[0], tokens[-1]) == ("xxup", "\u65e5\u672c")
    assert "\u65e5\u672c\u8a9e" in tokens
    assert at_once(subwords, ["\u65e5\u672c", "a \u65e5\u672c"])[1][-1] == "\u65e5\u672c"


def test_the_number_of_a_field_is_cut_like_any_word(subwords: SentencePieceTokenizer) -> None:
    marking = SentencePieceTokenizer(replace(SETTINGS, mark_fields=True), subwords._model.serialized_model_proto())
    assert document_tokens(marking, ["the", "of"]) == (
        ["xxbos", "xxfld", *subwords("1"), *subwords("the"), "xxfld", *subwords("2"), *subwords("of")]
    )


def test_the_same_texts_give_the_same_model(models: dict[ModelType, bytes], abstracts: list[str]) -> None:
    assert train(iter(abstracts), SETTINGS, model_type="unigram", vocab_size=0) == models["unigram"]


def test_a_line_of_any_length_is_read(abstracts: list[str]) -> None:
    long = [" ".join(abstracts).replace("\n", " ")]
    assert len(long[0]) > 50_000
    model = sentencepiece.SentencePieceProcessor(
        model_proto=train(long, SETTINGS, model_type="unigram", vocab_size=500)
    )
    assert "\u2581the" in [model.id_to_piece(number) for number in range(len(model))]


def test_rules_for_tokens_run_on_words_before_they_are_cut() -> None:
    assert prepared("NATO  Paris\nU.S. x", ("fastai-v1",)) == "xxup nato xxmaj paris xxup u.s. x"


@pytest.mark.parametrize(("num_words", "size"), [(0, 29), (99, 29), (100, 32), (131, 32), (132, 40), (4000, 1000)])
def test_a_model_has_a_quarter_as_many_pieces_as_there_are_words(num_words: int, size: int) -> None:
    assert _default_size(f"w{number} w{number}" for number in range(num_words)) == size


def test_a_model_has_30_000_pieces_at_most() -> None:
    assert _default_size(f"w{number}" for number in range(200_000)) == 30_000


def test_a_text_with_more_characters_than_pieces_is_refused(abstracts: list[str]) -> None:
    with pytest.raises(
        ValueError, match=r"cannot make a model of 20 pieces from .*another --tokenizer\.vocab-size\. Voc.*20 vs"
    ):
        train(abstracts, SETTINGS, model_type="unigram", vocab_size=20)


def test_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 lines of text: give it more text"):
        train([], SETTINGS, model_type="unigram", vocab_size=0)


def test_a_file_that_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"given as tokenizer\.model is no SentencePiece model"):
        make_tokenizer(SETTINGS, b"no model")


def test_a_tokenizer_without_its_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind sentencepiece needs its tokenizer\.model, which is missing"):
        make_tokenizer(SETTINGS)


def test_a_model_without_marks_serves_rules_that_write_none(abstracts: list[str]) -> None:
    model = foreign_model(abstracts)
    plain = sentencepiece.SentencePieceProcessor(model_proto=model)
    for rules in (NONE, ("lowercase",)):
        tokenizer = SentencePieceTokenizer(replace(SETTINGS, rules=rules), model)
        expected = [plain.encode(prepared(text, rules), out_type=str) for text in abstracts]
        assert at_once(tokenizer, abstracts) == expected == [tokenizer(text) for text in abstracts]


def test_a_model_without_marks_is_refused_by_rules_that_write_some(abstracts: list[str]) -> None:
    model = foreign_model(abstracts, user_defined_symbols=["\u2581xxup", "xxmaj"])
    with pytest.raises(
        ValueError, match="does not know \u2581xxunk, \u2581xxrep, \u2581xxwrep, \u2581xxmaj, which the"
    ):
        make_tokenizer(SETTINGS, model)
    with pytest.raises(ValueError, match="does not know \u2581xxmaj, which the rules write: use --rules none"):
        make_tokenizer(replace(SETTINGS, rules=("deal_caps",)), model)
    assert make_tokenizer(replace(SETTINGS, rules=("replace_all_caps_v1",)), model)("NASA")[0] == "xxup"


def test_a_description_and_its_model_rebuild_the_tokenizer_and_another_model_is_refused(
    models: dict[ModelType, bytes],
) -> None:
    first = make_tokenizer(SETTINGS, models["unigram"])
    described = json.loads(json.dumps(first.to_json()))
    second = load_tokenizer(described, models["unigram"])
    assert (second.fingerprint, second("Some abstracts")) == (first.fingerprint, first("Some abstracts"))
    with pytest.raises(ValueError, match="cuts text otherwise than the recorded one"):
        load_tokenizer(described, models["bpe"])
